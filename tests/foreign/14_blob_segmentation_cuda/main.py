import os

import torch
from torch.utils.data import DataLoader

from data import BlobDataset, channel_stats, generate
from model import MiniUNet
from utils import AverageMeter, DiceBCELoss, IoUCounter, adjust_learning_rate, seed_everything

EPOCHS = 10
BATCH_SIZE = 32
LR = 0.1
CKPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'best.pth')


def train(loader, model, criterion, optimizer):
    model.train()
    losses = AverageMeter()
    for images, masks in loader:
        images = images.cuda(non_blocking=True)
        masks = masks.cuda(non_blocking=True)
        logits = model(images)
        loss = criterion(logits, masks)
        model.zero_grad()
        loss.backward()
        optimizer.step()
        losses.update(loss.item(), images.size(0))
    return losses.avg


def evaluate(loader, model, criterion):
    model.eval()
    losses = AverageMeter()
    iou = IoUCounter()
    with torch.no_grad():
        for images, masks in loader:
            images = images.cuda(non_blocking=True)
            masks = masks.cuda(non_blocking=True)
            logits = model(images)
            losses.update(criterion(logits, masks).item(), images.size(0))
            iou.add(logits, masks)
    return losses.avg, iou.value()


def main():
    seed_everything(99)

    images, masks = generate(640, seed=5)
    train_images, train_masks = images[:480], masks[:480]
    val_images, val_masks = images[480:560], masks[480:560]
    test_images, test_masks = images[560:], masks[560:]
    mean, std = channel_stats(train_images)

    train_loader = DataLoader(BlobDataset(train_images, train_masks, mean, std, flip=True),
                              batch_size=BATCH_SIZE, shuffle=True, pin_memory=True, drop_last=True)
    val_loader = DataLoader(BlobDataset(val_images, val_masks, mean, std),
                            batch_size=80, pin_memory=True)
    test_loader = DataLoader(BlobDataset(test_images, test_masks, mean, std),
                             batch_size=80, pin_memory=True)

    model = MiniUNet().cuda()
    frac = float(train_masks.mean())
    criterion = DiceBCELoss(pos_weight=min((1 - frac) / frac, 3.0)).cuda()
    optimizer = torch.optim.SGD(model.parameters(), lr=LR, momentum=0.9,
                                weight_decay=1e-4, nesterov=True)

    best_iou = 0.
    for epoch in range(EPOCHS):
        lr = adjust_learning_rate(optimizer, LR, epoch, EPOCHS)
        train_loss = train(train_loader, model, criterion, optimizer)
        val_loss, val_iou = evaluate(val_loader, model, criterion)
        print('[{:02d}] lr {:.4f}  train {:.4f}  val {:.4f}  val IoU {:.4f}'.format(
            epoch, lr, train_loss, val_loss, val_iou))
        if val_iou > best_iou:
            best_iou = val_iou
            torch.save({'epoch': epoch, 'iou': val_iou, 'state_dict': model.state_dict()}, CKPT)

    checkpoint = torch.load(CKPT)
    model.load_state_dict(checkpoint['state_dict'])
    test_loss, test_iou = evaluate(test_loader, model, criterion)
    print('best epoch {}, test loss {:.4f}, test IoU {:.4f}'.format(
        checkpoint['epoch'], test_loss, test_iou))


if __name__ == '__main__':
    main()
