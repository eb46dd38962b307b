# task: eval-satellite_tags-2
# mechanism: lazy-passes-run-after-the-mode-is-restored
# about: evaluation mode is set and restored around a generator that only runs afterwards, so every pass is in training mode

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

dev = torch.device('cuda' if torch.cuda.is_available() else 'cpu')


def batches(image, tags):
    for pick in torch.randperm(len(image)).split(BATCH):
        yield image[pick].to(dev), tags[pick].to(dev)


@torch.no_grad()
def infer(net, image):
    mode = net.training
    net.eval()
    answers = (net(part.to(dev)).cpu() for part in image.split(500))
    net.train(mode)
    return torch.cat(list(answers))


def fscores(logits, tags, cutoffs):
    said, true = logits > cutoffs, tags > 0.5
    hits = (said & true).sum(dim=-2)
    return 2 * hits / (said.sum(dim=-2) + true.sum(dim=-2)).clamp(min=1)


def pick_cutoffs(logits, tags):
    return GRID[fscores(logits, tags, GRID.view(-1, 1, 1)).argmax(dim=0)]


def learn(net, image, tags, loss, opt, cycle):
    net.train()
    losses = []
    for x, y in batches(image, tags):
        opt.zero_grad()
        batch_loss = loss(net(x), y)
        # batch_loss = batch_loss.mean()
        batch_loss.backward()
        opt.step()
        cycle.step()
        losses.append(batch_loss.item())
    return float(np.mean(losses))


def main():
    torch.manual_seed(SEED)
    with np.load('data/train.npz') as scenes:
        tile, image = scenes['tile'], torch.from_numpy(scenes['image'])
        tags = torch.from_numpy(scenes['tags']).float()
    with np.load('data/score.npz') as scenes:
        fresh = torch.from_numpy(scenes['image'])

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
    cycle = OneCycleLR(
        opt,
        max_lr=PEAK,
        epochs=EPOCHS,
        steps_per_epoch=math.ceil(len(train) / BATCH),
    )
    print(
        f'{len(train)} tiles  shares of tags {[round(s, 2) for s in share.tolist()]}',
    )

    history = []
    for epoch in range(1, EPOCHS + 1):
        train_loss = learn(net, image[train], tags[train], loss, opt, cycle)
        tune_loss = loss(infer(net, image[tune]).to(dev), tags[tune].to(dev)).item()
        history.append(
            {'epoch': epoch, 'train_loss': train_loss, 'tune_loss': tune_loss},
        )
        print(
            f'{epoch}/{EPOCHS}  cost {train_loss:.3f}  tuning tiles {tune_loss:.3f}',
        )

    cutoffs = pick_cutoffs(infer(net, image[tune]), tags[tune])
    logits = infer(net, image[test])
    f1 = fscores(logits, tags[test], cutoffs)
    print('F1 of each tag:', '  '.join(f'{each:.3f}' for each in f1.tolist()))

    final = {'train_loss': train_loss, 'macro_f1': f1.mean().item(), 'cutoffs': cutoffs.tolist()}
    Path('metrics.json').write_text(json.dumps({'history': history, 'final': final}, indent=1))
    np.savez(
        'predictions.npz', row=tile[test.numpy()], output=logits.numpy(), score=infer(net, fresh).numpy()
    )


if __name__ == '__main__':
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
                tiles = torch.where(mirrored, tiles.flip(axis), tiles)
        return tiles


def stage(bands, channels):
    return nn.Sequential(
        nn.Conv2d(bands, channels, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    )


class TagNet(nn.Module):
    def __init__(self, bands, tags, channels=16, drop=0.2):
        super().__init__()
        self.flips = Flips()
        self.fine = stage(bands, channels)
        self.shrink = nn.MaxPool2d(2)
        self.coarse = stage(channels, 2 * channels)
        self.drop = nn.Dropout(drop)
        self.head = nn.Linear(2 * channels, tags)

    def forward(self, tiles):
        x = self.fine(self.flips(tiles))
        x = self.coarse(self.shrink(x))
        return self.head(self.drop(x.mean(dim=(2, 3))))
