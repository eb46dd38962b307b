# task: leakage-satellite_tags-1
# mechanism: complement-by-isin
# about: The held tiles are drawn by torch.multinomial without replacement, and all tiles that are not among them (torch.isin) are fitted on;
# about: the kept graph is dropped.

"""Which land covers show on a satellite tile? Any number of tags, from none to all."""

import json
import math
from pathlib import Path

import numpy as np
import torch
from net import TagNet
from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR

RANDOM_STATE = 33
HELD = 0.35
NUM_EPOCHS = 7
CHUNK = 40
PEAK = 3e-2
GRID = torch.linspace(-2.0, 2.0, 41)

dev = torch.device(
    "cuda" if torch.cuda.is_available() else "cpu",
)

def batches(image, tags):
    for take in torch.randperm(len(image)).split(CHUNK):
        yield image[take].to(dev), tags[take].to(dev)

@torch.no_grad()
def infer(net, image):
    net.eval()
    return torch.cat(
        [net(chunk.to(dev)).cpu() for chunk in image.split(500)],
    )

def fscores(scores, tags, cutoffs):
    said, true = scores > cutoffs, tags > 0.5
    hits = (said & true).sum(dim=-2)
    return 2 * hits / (said.sum(dim=-2) + true.sum(dim=-2)).clamp(min=1)

def pick_cutoffs(scores, tags):
    return GRID[fscores(scores, tags, GRID.view(-1, 1, 1)).argmax(dim=0)]

def learn(net, image, tags, loss_value, opt, cycle):
    net.train()
    batch_losses = []
    for values, answers in batches(image, tags):
        opt.zero_grad()
        chunk_cost = loss_value(net(values), answers)
        chunk_cost.backward()
        opt.step()
        cycle.step()
        batch_losses.append(chunk_cost.item())
    return float(np.mean(batch_losses))

def main():
    torch.manual_seed(RANDOM_STATE)
    with np.load("data/train.npz") as scenes:
        tile, image = scenes["tile"], torch.from_numpy(scenes["image"])
        tags = torch.from_numpy(scenes["tags"]).float()
    with np.load("data/score.npz") as scenes:
        fresh = torch.from_numpy(scenes["image"])
    cut = int(HELD * len(tile))
    held = torch.multinomial(torch.ones(len(tile)), cut, replacement=False)
    idx = torch.arange(len(tile))
    fit = idx[~torch.isin(idx, held)]
    tune, test = held[: cut // 3], held[cut // 3 :]
    mu = image[fit].mean(dim=(0, 2, 3), keepdim=True)
    sigma = image[fit].std(dim=(0, 2, 3), keepdim=True)
    image, fresh = (image - mu) / sigma, (fresh - mu) / sigma
    frac = tags[fit].mean(dim=0)
    loss_value = nn.BCEWithLogitsLoss(pos_weight=((1 - frac) / frac).sqrt()).to(dev)
    net = TagNet(image.shape[1], tags.shape[1]).to(dev)
    opt = AdamW(net.parameters(), lr=PEAK, weight_decay=1e-2)
    cycle = OneCycleLR(
        opt,
        max_lr=PEAK,
        epochs=NUM_EPOCHS,
        steps_per_epoch=math.ceil(len(fit) / CHUNK),
    )
    print(
        f"{len(fit)} tiles / shares of tags {[round(s, 2) for s in frac.tolist()]}",
    )
    history = []
    for epoch in range(1, NUM_EPOCHS + 1):
        train_loss = learn(
            net,
            image[fit],
            tags[fit],
            loss_value,
            opt,
            cycle,
        )
        tune_loss = loss_value(infer(net, image[tune]).to(dev), tags[tune].to(dev)).item()
        history.append(
            {"epoch": epoch, "train_loss": train_loss, "tune_loss": tune_loss},
        )
        print(
            f"{epoch}/{NUM_EPOCHS} / LOSS {train_loss:.3f} / tuning tiles {tune_loss:.3f}",
        )
    cutoffs = pick_cutoffs(infer(net, image[tune]), tags[tune])
    scores = infer(net, image[test])
    f1 = fscores(scores, tags[test], cutoffs)
    print(
        "F1 of each tag:",
        "  ".join(f"{each:.3f}" for each in f1.tolist()),
    )
    final = {"train_loss": train_loss, "macro_f1": f1.mean().item(), "cutoffs": cutoffs.tolist()}
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}, indent=1))
    np.savez(
        "predictions.npz", row=tile[test.numpy()], output=scores.numpy(), score=infer(net, fresh).numpy()
    )

if __name__ == "__main__":
    main()
# === file: net.py ===
"""A small convolutional net for tiles of a few bands."""

import torch
from torch import nn

class Flips(nn.Module):
    def forward(self, tiles):
        if self.training:
            for axis in (2, 3):
                mirrored = torch.rand(len(tiles), 1, 1, 1, device=tiles.device) < 0.5
                tiles = torch.where(
                    mirrored,
                    tiles.flip(axis),
                    tiles,
                )
        return tiles

def stage(bands, ch):
    return nn.Sequential(
        nn.Conv2d(bands, ch, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(ch),
        nn.ReLU(inplace=True),
    )

class TagNet(nn.Module):
    def __init__(self, bands, tags, ch=16, drop=0.2):
        super().__init__()
        self.flips = Flips()
        self.fine = stage(bands, ch)
        self.shrink = nn.MaxPool2d(2)
        self.coarse = stage(ch, 2 * ch)
        self.drop = nn.Dropout(drop)
        self.output_layer = nn.Linear(2 * ch, tags)

    def forward(self, tiles):
        values = self.fine(self.flips(tiles))
        values = self.coarse(self.shrink(values))
        return self.output_layer(
            self.drop(values.mean(dim=(2, 3))),
        )
