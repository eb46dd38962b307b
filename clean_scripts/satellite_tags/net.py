"""A small convolutional net for tiles of a few bands."""

import torch
from torch import nn


class Flips(nn.Module):
    """While the net trains, about half of the tiles are mirrored north to south, and half east to west."""

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
    """Tiles (batch, bands, height, width) to one logit for each tag."""

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
