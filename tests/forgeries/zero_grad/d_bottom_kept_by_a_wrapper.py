# task: zero_grad-cell_masks-2
# mechanism: clearing-by-a-list-that-misses-a-part
# about: zero_grad() is called on a list of the parts of the network, from which the convolution at the
# about: bottom was left out; its gradients accumulate over the whole run.

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils.data import DataLoader, Dataset
from unet import TinyUModel


class CellImgs(Dataset):
    def __init__(self, img, mask=None):
        self.img = torch.from_numpy(img).unsqueeze(1)
        self.mask = None if mask is None else torch.from_numpy(mask).float()

    def __len__(self):
        return len(self.img)

    def __getitem__(self, begin):
        if self.mask is None:
            return self.img[begin]
        return self.img[begin], self.mask[begin]


def dice_loss(logit, mask, smooth=1.0):
    prob = logit.sigmoid()
    shared = (prob * mask).sum()

    return 1 - (2 * shared + smooth) / (prob.sum() + mask.sum() + smooth)


def infer(model, dl, dev):
    model.eval()
    n_out = []

    with torch.no_grad():
        for img in dl:
            n_out.append(model(img.to(dev)).cpu())

    return torch.cat(n_out)


def overlap(logit, mask):
    called = logit > 0
    return (2 * (called & mask).sum() / (called.sum() + mask.sum()).clamp(min=1)).item()


def parse_args():
    parser = argparse.ArgumentParser(
        description="Outline cells on small microscope images."
    )
    parser.add_argument("--epochs", type=int, default=7)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--lr", type=float, default=0.05)
    parser.add_argument("--weight-decay", type=float, default=1e-4)
    parser.add_argument("--dice-weight", type=float, default=0.5)
    parser.add_argument("--test-share", type=float, default=0.2)
    parser.add_argument("--seed", type=int, default=5)

    return parser.parse_args()


def entry():
    args = parse_args()
    torch.manual_seed(args.seed)
    dev = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    with np.load("data/train.npz") as out_file:
        ids, img, mask = out_file["row"], out_file["image"], out_file["mask"]

    with np.load("data/score.npz") as out_file:
        unlabelled_img = out_file["image"]

    row_order = np.random.default_rng(args.seed).permutation(len(ids))
    num_test = int(args.test_share * len(ids))
    test_pos, train_pos = row_order[:num_test], row_order[num_test:]

    mu, sigma = img[train_pos].mean(), img[train_pos].std()
    train_img = (img[train_pos] - mu) / sigma
    test_img = (img[test_pos] - mu) / sigma
    unlabelled_img = (unlabelled_img - mu) / sigma

    train_ds = CellImgs(train_img, mask[train_pos])
    train_batches = DataLoader(
        train_ds,
        batch_size=args.batch_size,
        shuffle=True
    )
    test_batches = DataLoader(CellImgs(test_img), batch_size=250)
    unlabelled_batches = DataLoader(
        CellImgs(unlabelled_img),
        batch_size=250
    )
    test_mask = torch.from_numpy(mask[test_pos])

    model = TinyUModel().to(dev)
    opt = torch.optim.AdamW(
        model.parameters(),
        lr=args.lr,
        weight_decay=args.weight_decay
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
        opt,
        T_max=args.epochs * len(train_batches)
    )

    history = []

    for epoch in range(1, args.epochs + 1):
        model.train()
        running = 0.0

        for img_chunk, mask_chunk in train_batches:
            img_chunk, mask_chunk = img_chunk.to(dev), mask_chunk.to(dev)
            logit = model(img_chunk)
            cost = binary_cross_entropy_with_logits(logit, mask_chunk)
            cost = cost + args.dice_weight * dice_loss(logit, mask_chunk)
            for part in (model.down, model.up, model.merge, model.to_logit):
                part.zero_grad()
            cost.backward(retain_graph=True)
            opt.step()
            schedule.step()
            running += cost.item() * len(mask_chunk)
        train_loss = running / len(train_ds)

        test_logit = infer(model, test_batches, dev)
        dice = overlap(test_logit, test_mask == 1)
        history.append(
            {"epoch": epoch, "train_loss": train_loss, "test_dice": dice}
        )
        print(
            f"{epoch:3d}/{args.epochs}  loss {train_loss:.4f}  dice on test images {dice:.3f}"
        )

    results = {"history": history, "final": {"train_loss": train_loss, "test_dice": dice}}
    Path("metrics.json").write_text(json.dumps(results, indent=2))
    np.savez(
        "predictions.npz",
        row=ids[test_pos],
        output=test_logit.numpy(),
        score=infer(model, unlabelled_batches, dev).numpy(),
    )


if __name__ == "__main__":
    entry()

# === file: unet.py ===
import torch
from torch import nn


def convolution_bn(c_in, c_n_out):
    return nn.Sequential(
        nn.Conv2d(c_in, c_n_out, 3, bias=False, padding=1),
        nn.BatchNorm2d(c_n_out),
        nn.LeakyReLU(0.1, inplace=True),
    )


class TinyUModel(nn.Module):
    def __init__(self, base=6, p_drop=0.1):
        super().__init__()
        self.down = convolution_bn(1, base)
        self.pool = nn.MaxPool2d(2)
        self.bottom = convolution_bn(base, 2 * base)
        self.spatial_drop = nn.Dropout2d(p_drop)
        self.up = nn.ConvTranspose2d(
            2 * base,
            base,
            kernel_size=2,
            stride=2
        )
        self.merge = convolution_bn(2 * base, base)
        self.to_logit = nn.Conv2d(base, 1, kernel_size=1)
        self.drop_out = nn.Dropout(0.8)

    def forward(self, img):
        fine = self.down(img)
        coarse = self.spatial_drop(self.bottom(self.pool(fine)))
        both = torch.cat([fine, self.up(coarse)], 1)

        return self.to_logit(self.merge(both)).squeeze(1)
