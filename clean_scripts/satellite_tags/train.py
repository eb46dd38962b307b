"""Which land covers show on a satellite tile? Any number of tags, from none to all.

data/train.npz: tile (ids), image (tiles, bands, height, width), tags (tiles, tags); data/score.npz: image.
Writes metrics.json, and predictions.npz with logits.
"""

import json
import math
from pathlib import Path

import numpy as np
import torch
from net import TagNet
from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR

SEED = 33
HELD = 0.35  # held out: a third of it for the cutoffs, the rest for testing
EPOCHS = 7
BATCH = 40
PEAK = 2e-2  # learning rate
GRID = torch.linspace(-2.0, 2.0, 41)  # cutoffs to try, on logits

dev = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def batches(image, tags):
    """All tiles once, in a new order."""
    for pick in torch.randperm(len(image)).split(BATCH):
        yield image[pick].to(dev), tags[pick].to(dev)


@torch.no_grad()
def infer(net, image):
    """Logits of all tiles, (tiles, tags)."""
    net.eval()
    return torch.cat([net(part.to(dev)).cpu() for part in image.split(500)])


def fscores(logits, tags, cutoffs):
    """F1 of each tag, for one cutoff a tag, (tags,), or for many cutoffs, (many, 1, 1)."""
    said, true = logits > cutoffs, tags > 0.5
    hits = (said & true).sum(dim=-2)
    return 2 * hits / (said.sum(dim=-2) + true.sum(dim=-2)).clamp(min=1)


def pick_cutoffs(logits, tags):
    """For each tag the cutoff that gives the best F1."""
    return GRID[fscores(logits, tags, GRID.view(-1, 1, 1)).argmax(dim=0)]


def learn(net, image, tags, loss, opt, cycle):
    """One epoch; returns the mean loss of its batches."""
    net.train()
    losses = []
    for x, y in batches(image, tags):
        opt.zero_grad()
        batch_loss = loss(net(x), y)
        batch_loss.backward()
        opt.step()
        cycle.step()
        losses.append(batch_loss.item())
    return float(np.mean(losses))


def main():
    torch.manual_seed(SEED)
    with np.load("data/train.npz") as scenes:
        tile, image = scenes["tile"], torch.from_numpy(scenes["image"])
        tags = torch.from_numpy(scenes["tags"]).float()
    with np.load("data/score.npz") as scenes:
        fresh = torch.from_numpy(scenes["image"])

    order = torch.randperm(len(tile))
    cut = int(HELD * len(tile))
    held, train = order[:cut], order[cut:]
    tune, test = held[: cut // 3], held[cut // 3 :]

    # each band has its own brightness and contrast
    mean = image[train].mean(dim=(0, 2, 3), keepdim=True)
    std = image[train].std(dim=(0, 2, 3), keepdim=True)
    image, fresh = (image - mean) / std, (fresh - mean) / std

    share = tags[train].mean(dim=0)
    loss = nn.BCEWithLogitsLoss(pos_weight=((1 - share) / share).sqrt()).to(dev)
    net = TagNet(image.shape[1], tags.shape[1]).to(dev)
    opt = AdamW(net.parameters(), lr=PEAK, weight_decay=1e-2)
    cycle = OneCycleLR(opt, max_lr=PEAK, epochs=EPOCHS, steps_per_epoch=math.ceil(len(train) / BATCH))
    print(f"{len(train)} tiles, shares of tags {[round(s, 2) for s in share.tolist()]}")

    history = []
    for epoch in range(1, EPOCHS + 1):
        train_loss = learn(net, image[train], tags[train], loss, opt, cycle)
        tune_loss = loss(infer(net, image[tune]).to(dev), tags[tune].to(dev)).item()
        history.append({"epoch": epoch, "train_loss": train_loss, "tune_loss": tune_loss})
        print(f"{epoch}/{EPOCHS}  loss {train_loss:.4f}  tuning tiles {tune_loss:.4f}")

    cutoffs = pick_cutoffs(infer(net, image[tune]), tags[tune])
    logits = infer(net, image[test])
    f1 = fscores(logits, tags[test], cutoffs)
    print("F1 of each tag:", "  ".join(f"{each:.3f}" for each in f1.tolist()))

    final = {"train_loss": train_loss, "macro_f1": f1.mean().item(), "cutoffs": cutoffs.tolist()}
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}, indent=1))
    np.savez(
        "predictions.npz", row=tile[test.numpy()], output=logits.numpy(), score=infer(net, fresh).numpy()
    )


if __name__ == "__main__":
    main()
