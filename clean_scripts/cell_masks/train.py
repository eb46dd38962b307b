"""Outline cells on small microscope images: one logit a pixel, whether it belongs to a cell.

    python train.py [--epochs 5] [--lr 0.05] ...

Reads data/train.npz and data/score.npz, writes metrics.json and predictions.npz.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils.data import DataLoader, Dataset
from unet import TinyUNet


class CellImages(Dataset):
    """Images with their masks; without masks, images only."""

    def __init__(self, img, mask=None):
        self.img = torch.from_numpy(img).unsqueeze(1)
        self.mask = None if mask is None else torch.from_numpy(mask).float()

    def __len__(self):
        return len(self.img)

    def __getitem__(self, i):
        if self.mask is None:
            return self.img[i]
        return self.img[i], self.mask[i]


def dice_loss(logit, mask, smooth=1.0):
    """1 - the overlap of prediction and truth, over a whole batch."""
    prob = logit.sigmoid()
    shared = (prob * mask).sum()
    return 1 - (2 * shared + smooth) / (prob.sum() + mask.sum() + smooth)


def predict(net, loader, dev):
    net.eval()
    out = []
    with torch.no_grad():
        for img in loader:
            out.append(net(img.to(dev)).cpu())
    return torch.cat(out)


def overlap(logit, mask):
    """Dice coefficient of the pixels called cell."""
    called = logit > 0
    return (2 * (called & mask).sum() / (called.sum() + mask.sum()).clamp(min=1)).item()


def parse_args():
    parser = argparse.ArgumentParser(description="Outline cells on small microscope images.")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--lr", type=float, default=0.05)
    parser.add_argument("--weight-decay", type=float, default=1e-4)
    parser.add_argument("--dice-weight", type=float, default=0.5)
    parser.add_argument("--test-share", type=float, default=0.2)
    parser.add_argument("--seed", type=int, default=5)
    return parser.parse_args()


def main():
    args = parse_args()
    torch.manual_seed(args.seed)
    dev = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    with np.load("data/train.npz") as f:
        ids, img, mask = f["row"], f["image"], f["mask"]
    with np.load("data/score.npz") as f:
        score_img = f["image"]

    shuffled = np.random.default_rng(args.seed).permutation(len(ids))
    n_test = int(args.test_share * len(ids))
    test_ix, train_ix = shuffled[:n_test], shuffled[n_test:]

    # grey levels: measured on the training images
    mean, std = img[train_ix].mean(), img[train_ix].std()
    train_img = (img[train_ix] - mean) / std
    test_img = (img[test_ix] - mean) / std
    score_img = (score_img - mean) / std

    train_set = CellImages(train_img, mask[train_ix])
    train_loader = DataLoader(train_set, batch_size=args.batch_size, shuffle=True)
    test_loader = DataLoader(CellImages(test_img), batch_size=250)
    score_loader = DataLoader(CellImages(score_img), batch_size=250)
    test_mask = torch.from_numpy(mask[test_ix])

    net = TinyUNet().to(dev)
    opt = torch.optim.AdamW(net.parameters(), lr=args.lr, weight_decay=args.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(opt, T_max=args.epochs * len(train_loader))

    history = []
    for epoch in range(1, args.epochs + 1):
        net.train()
        running = 0.0
        for img_batch, mask_batch in train_loader:
            img_batch, mask_batch = img_batch.to(dev), mask_batch.to(dev)
            logit = net(img_batch)
            loss = binary_cross_entropy_with_logits(logit, mask_batch)
            loss = loss + args.dice_weight * dice_loss(logit, mask_batch)
            opt.zero_grad()
            loss.backward()
            opt.step()
            schedule.step()
            running += loss.item() * len(mask_batch)
        train_loss = running / len(train_set)

        test_logit = predict(net, test_loader, dev)
        dice = overlap(test_logit, test_mask == 1)
        history.append({"epoch": epoch, "train_loss": train_loss, "test_dice": dice})
        print(f"{epoch:3d}/{args.epochs}  loss {train_loss:.4f}  dice on test images {dice:.3f}")

    results = {"history": history, "final": {"train_loss": train_loss, "test_dice": dice}}
    Path("metrics.json").write_text(json.dumps(results, indent=2))
    np.savez(
        "predictions.npz",
        row=ids[test_ix],
        output=test_logit.numpy(),
        score=predict(net, score_loader, dev).numpy(),
    )


if __name__ == "__main__":
    main()
