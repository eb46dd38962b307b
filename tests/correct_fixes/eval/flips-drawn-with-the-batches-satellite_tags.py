# task: eval-satellite_tags-2
# mechanism: augmentation-in-the-batches
# about: Flipping leaves the net and happens where training batches are drawn, so that it cannot reach the evaluation;
# about: the rest of the net is put into eval mode by a fit/predict class.

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

SEED = 33
HELD = 0.35
EPOCHS = 7
BATCH = 40
PEAK = 2e-2
GRID = torch.linspace(-2.0, 2.0, 41)


def mirrored(tiles):
    """Each tile flipped, or not, along both of its axes."""
    for axis in (2, 3):
        chosen = torch.rand(len(tiles), 1, 1, 1) < 0.5
        tiles = torch.where(chosen, tiles.flip(axis), tiles)
    return tiles


class Tagger:
    """fit_epoch() and logits(), on tiles as they come from the files."""

    def __init__(self, image, tags):
        self.dev = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
        self.mean = image.mean(dim=(0, 2, 3), keepdim=True)
        self.std = image.std(dim=(0, 2, 3), keepdim=True)
        share = tags.mean(dim=0)
        self.loss = nn.BCEWithLogitsLoss(pos_weight=((1 - share) / share).sqrt()).to(self.dev)
        self.net = TagNet(image.shape[1], tags.shape[1]).to(self.dev)
        self.opt = AdamW(self.net.parameters(), lr=PEAK, weight_decay=1e-2)
        self.cycle = OneCycleLR(
            self.opt, max_lr=PEAK, epochs=EPOCHS, steps_per_epoch=math.ceil(len(image) / BATCH)
        )
        self.image, self.tags = (image - self.mean) / self.std, tags

    def fit_epoch(self):
        self.net.train()
        losses = []
        for pick in torch.randperm(len(self.image)).split(BATCH):
            x, y = mirrored(self.image[pick]).to(self.dev), self.tags[pick].to(self.dev)
            self.opt.zero_grad()
            batch_loss = self.loss(self.net(x), y)
            batch_loss.backward()
            self.opt.step()
            self.cycle.step()
            losses.append(batch_loss.item())
        return float(np.mean(losses))

    @torch.no_grad()
    def logits(self, image):
        self.net.eval()
        parts = ((image - self.mean) / self.std).split(500)
        return torch.cat([self.net(part.to(self.dev)).cpu() for part in parts])

    def loss_of(self, image, tags):
        return self.loss(self.logits(image).to(self.dev), tags.to(self.dev)).item()


def fscores(logits, tags, cutoffs):
    said, true = logits > cutoffs, tags > 0.5
    hits = (said & true).sum(dim=-2)
    return 2 * hits / (said.sum(dim=-2) + true.sum(dim=-2)).clamp(min=1)


def main():
    torch.manual_seed(SEED)
    with np.load('data/train.npz') as scenes:
        tile, image = scenes['tile'], torch.from_numpy(scenes['image'])
        tags = torch.from_numpy(scenes['tags']).float()
    with np.load('data/score.npz') as scenes:
        fresh = torch.from_numpy(scenes['image'])

    order = torch.randperm(len(tile))
    cut = int(HELD * len(tile))
    tune, test, train = order[: cut // 3], order[cut // 3 : cut], order[cut:]

    tagger = Tagger(image[train], tags[train])
    history = []
    for epoch in range(1, EPOCHS + 1):
        train_loss = tagger.fit_epoch()
        tune_loss = tagger.loss_of(image[tune], tags[tune])
        history.append({'epoch': epoch, 'train_loss': train_loss, 'tune_loss': tune_loss})
        print(f'{epoch}/{EPOCHS}  cost {train_loss:.3f}  tuning tiles {tune_loss:.3f}')

    per_cutoff = fscores(tagger.logits(image[tune]), tags[tune], GRID.view(-1, 1, 1))
    cutoffs = GRID[per_cutoff.argmax(dim=0)]
    logits = tagger.logits(image[test])
    f1 = fscores(logits, tags[test], cutoffs)
    print('F1 of each tag:', '  '.join(f'{each:.3f}' for each in f1.tolist()))

    final = {'train_loss': train_loss, 'macro_f1': f1.mean().item(), 'cutoffs': cutoffs.tolist()}
    Path('metrics.json').write_text(json.dumps({'history': history, 'final': final}, indent=1))
    np.savez(
        'predictions.npz', row=tile[test.numpy()], output=logits.numpy(), score=tagger.logits(fresh).numpy()
    )


if __name__ == '__main__':
    main()
# === file: net.py ===
"""A small convolutional net for tiles of a few bands."""

from torch import nn


def stage(bands, channels):
    return nn.Sequential(
        nn.Conv2d(bands, channels, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    )


class TagNet(nn.Sequential):
    def __init__(self, bands, tags, channels=16, drop=0.2):
        super().__init__(
            stage(bands, channels),
            nn.MaxPool2d(2),
            stage(channels, 2 * channels),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(drop),
            nn.Linear(2 * channels, tags),
        )
