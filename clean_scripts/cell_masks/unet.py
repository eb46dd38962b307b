"""A U-Net of two levels: down once, up once, and a skip connection between."""

import torch
from torch import nn


def conv_norm(c_in, c_out):
    return nn.Sequential(
        nn.Conv2d(c_in, c_out, 3, padding=1, bias=False),
        nn.BatchNorm2d(c_out),
        nn.LeakyReLU(0.1, inplace=True),
    )


class TinyUNet(nn.Module):
    """Grey images (batch, 1, height, width) to one logit a pixel, (batch, height, width)."""

    def __init__(self, base=6, p_drop=0.1):
        super().__init__()
        self.down = conv_norm(1, base)
        self.pool = nn.MaxPool2d(2)
        self.bottom = conv_norm(base, 2 * base)
        self.spatial_drop = nn.Dropout2d(p_drop)
        self.up = nn.ConvTranspose2d(2 * base, base, kernel_size=2, stride=2)
        self.merge = conv_norm(2 * base, base)
        self.to_logit = nn.Conv2d(base, 1, kernel_size=1)

    def forward(self, img):
        fine = self.down(img)
        coarse = self.spatial_drop(self.bottom(self.pool(fine)))
        both = torch.cat([fine, self.up(coarse)], dim=1)
        return self.to_logit(self.merge(both)).squeeze(1)
