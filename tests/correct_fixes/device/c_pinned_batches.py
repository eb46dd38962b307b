# task: device-cell_masks-1
# mechanism: pinned-and-non-blocking
# about: Batches come from pinned memory and are moved without blocking; the accelerator is named,
# about: seeded and synchronised as in many production scripts.

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils.data import DataLoader, Dataset
from unet import TinyUNet


class CellPictures(Dataset):
    def __init__(self, img, mask=None):
        self.img = torch.from_numpy(img).unsqueeze(1)
        self.mask = None if mask is None else torch.from_numpy(mask).float()

    def __len__(self):
        return len(self.img)

    def __getitem__(self, start):
        if self.mask is None:
            return self.img[start]
        return self.img[start], self.mask[start]


def diceCost(logit, mask, smooth=1.0):
    prob = logit.sigmoid()
    shared = (prob * mask).sum()
    valueOutp = 1 - (2 * shared + smooth) / (prob.sum() + mask.sum() + smooth)
    return valueOutp


def forwardAll(net, dl, dev):
    net.eval()
    outp = []
    with torch.no_grad():
        for img in dl:
            outp.append(net(img.to(dev)).cpu())
    valueOutp = torch.cat(outp)
    return valueOutp


def overlap(logit, mask):
    called = logit > 0
    return (2 * (called & mask).sum() / (called.sum() + mask.sum()).clamp(min=1)).item()


def parseArgs():
    parser = argparse.ArgumentParser(description="Outline cells on small microscope images.")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--weight-decay", type=float, default=1e-4)
    parser.add_argument("--dice-weight", type=float, default=0.5)
    parser.add_argument("--test-share", type=float, default=0.2)
    parser.add_argument("--seed", type=int, default=5)
    return parser.parse_args()


def runJob():
    args = parseArgs()
    torch.manual_seed(args.seed)
    torch.cuda.manual_seed_all(args.seed)
    torch.backends.cudnn.benchmark = False
    dev = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    pinned = dev.type == "cuda"
    if pinned:
        print(f"{torch.cuda.device_count()} x {torch.cuda.get_device_name(0)}")
    with np.load("data/train.npz") as f:
        ids, img, mask = f["row"], f["image"], f["mask"]
    with np.load("data/score.npz") as f:
        imgScore = f["image"]
    shuffled = np.random.default_rng(args.seed).permutation(len(ids))
    testNb = int(args.test_share * len(ids))
    ixTest, ixTrain = shuffled[:testNb], shuffled[testNb:]
    mean, std = img[ixTrain].mean(), img[ixTrain].std()
    imgTrain = (img[ixTrain] - mean) / std
    imgTest = (img[ixTest] - mean) / std
    imgScore = (imgScore - mean) / std
    setTrain = CellPictures(imgTrain, mask[ixTrain])
    batchesTrain = DataLoader(setTrain, batch_size=args.batch_size, shuffle=True, pin_memory=pinned)
    batchesTest = DataLoader(CellPictures(imgTest), batch_size=250, pin_memory=pinned)
    batchesScore = DataLoader(CellPictures(imgScore), batch_size=250)
    maskTest = torch.from_numpy(mask[ixTest])
    net = TinyUNet().to(dev)
    opt = torch.optim.AdamW(net.parameters(), lr=args.lr, weight_decay=args.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
        opt,
        T_max=args.epochs * len(batchesTrain)
    )
    history = []
    for epoch in range(1, args.epochs + 1):
        net.train()
        running = 0.0
        for imgBatch, maskBatch in batchesTrain:
            imgBatch, maskBatch = imgBatch.to(dev, non_blocking=True), maskBatch.to(dev, non_blocking=True)
            logit = net(imgBatch)
            cost = binary_cross_entropy_with_logits(logit, maskBatch)
            cost = cost + args.dice_weight * diceCost(logit, maskBatch)
            opt.zero_grad()
            cost.backward()
            opt.step()
            schedule.step()
            running += cost.item() * len(maskBatch)
        if pinned:
            torch.cuda.synchronize()
        train_loss = running / len(setTrain)
        logitTest = forwardAll(net, batchesTest, dev)
        dice = overlap(logitTest, maskTest == 1)
        history.append({"epoch": epoch, "train_loss": train_loss, "test_dice": dice})
        print(f"{epoch:03d}/{args.epochs} - Loss {train_loss:.3f} - dice on test images {dice:.2f}")
    results = {"history": history, "final": {"train_loss": train_loss, "test_dice": dice}}
    Path("metrics.json").write_text(json.dumps(results, indent=2))
    np.savez(
        "predictions.npz",
        row=ids[ixTest],
        output=logitTest.numpy(),
        score=forwardAll(net, batchesScore, dev).numpy(),
    )


if __name__ == "__main__":
    runJob()
