# task: leakage-satellite_tags-1
# mechanism: role-for-every-tile
# about: Each tile has exactly one role (fit, tune or test) in an array of roles, shuffled; parts are cut by role into datasets of their own,
# about: and statistics of bands and shares of tags come from the fit part only.

"""Which land covers show on a satellite tile? Any number of tags, from none to all."""

from __future__ import annotations

import json
import math
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from net import TagNet
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR

RANDOM_STATE = 33
SHARES = {"TUNE": 0.35 / 3, "TEST": 0.35 * 2 / 3}  # the rest is fitted on
NUM_EPOCHS = 7
CHUNK = 40
PEAK = 2.5e-2
GRID = torch.linspace(-2.0, 2.0, 41)

class Role(IntEnum):
    FIT = 0
    TUNE = 1
    TEST = 2

class Tiles(NamedTuple):
    name: Tensor
    image: Tensor
    tags: Tensor

    def only(self, chosen: Tensor) -> Tiles:
        return Tiles(*(values[chosen] for values in self))

def roles(count: int) -> Tensor:
    role = torch.full((count,), int(Role.FIT))
    start = 0
    for name, share in SHARES.items():
        stop = start + int(share * count)
        role[start:stop] = Role[name]
        start = stop
    return role[torch.randperm(count)]

@torch.no_grad()
def infer(net: nn.Module, image: Tensor, dev: torch.device) -> Tensor:
    net.eval()
    return torch.cat([net(chunk.to(dev)).cpu() for chunk in image.split(500)])

def fscores(scores: Tensor, tags: Tensor, cutoffs: Tensor) -> Tensor:
    said, true = scores > cutoffs, tags > 0.5
    hits = (said & true).sum(dim=-2)
    return 2 * hits / (said.sum(dim=-2) + true.sum(dim=-2)).clamp(min=1)

def learn(net, part, loss_value, opt, cycle, dev) -> float:
    net.train()
    losses = []
    for take in torch.randperm(len(part.image)).split(CHUNK):
        opt.zero_grad()
        cost = loss_value(net(part.image[take].to(dev)), part.tags[take].to(dev))
        cost.backward()
        opt.step()
        cycle.step()
        losses.append(cost.item())
    return sum(losses) / len(losses)

def main() -> None:
    torch.manual_seed(RANDOM_STATE)
    dev = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with np.load("data/train.npz") as scenes:
        known = Tiles(*(torch.from_numpy(scenes[key]) for key in ("tile", "image", "tags")))
    with np.load("data/score.npz") as scenes:
        fresh = torch.from_numpy(scenes["image"])
    known = known._replace(tags=known.tags.float())

    role = roles(len(known.name))
    fit, tune, test = (known.only(role == each) for each in Role)
    sigma, mu = torch.std_mean(fit.image, dim=(0, 2, 3), keepdim=True)
    fit, tune, test = (part._replace(image=(part.image - mu) / sigma) for part in (fit, tune, test))
    fresh = (fresh - mu) / sigma

    frac = fit.tags.mean(dim=0)
    loss_value = nn.BCEWithLogitsLoss(pos_weight=((1 - frac) / frac).sqrt()).to(dev)
    net = TagNet(fit.image.shape[1], fit.tags.shape[1]).to(dev)
    opt = AdamW(net.parameters(), lr=PEAK, weight_decay=1e-2)
    steps = math.ceil(len(fit.image) / CHUNK)
    cycle = OneCycleLR(opt, max_lr=PEAK, epochs=NUM_EPOCHS, steps_per_epoch=steps)
    print(f"{len(fit.name)} tiles to fit / {len(tune.name)} to tune / {len(test.name)} to test")

    history = []
    for epoch in range(1, NUM_EPOCHS + 1):
        train_loss = learn(net, fit, loss_value, opt, cycle, dev)
        tune_scores = infer(net, tune.image, dev)
        tune_loss = loss_value(tune_scores.to(dev), tune.tags.to(dev)).item()
        history.append({"epoch": epoch, "train_loss": train_loss, "tune_loss": tune_loss})
        print(f"{epoch}/{NUM_EPOCHS} / LOSS {train_loss:.3f} / tuning tiles {tune_loss:.3f}")

    cutoffs = GRID[fscores(tune_scores, tune.tags, GRID.view(-1, 1, 1)).argmax(dim=0)]
    scores = infer(net, test.image, dev)
    f1 = fscores(scores, test.tags, cutoffs)
    final = {"train_loss": train_loss, "macro_f1": f1.mean().item(), "cutoffs": cutoffs.tolist()}
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}, indent=1))
    np.savez(
        "predictions.npz",
        row=test.name.numpy(),
        output=scores.numpy(),
        score=infer(net, fresh, dev).numpy(),
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
