"""A temporal convolution network: residual blocks whose view of the past doubles from one to the next."""

import torch.nn.functional as F
from torch import nn


class ResidualBlock(nn.Module):
    """A dilated convolution without padding: of the steps it keeps those that have all their past."""

    def __init__(self, channels, kernel_size, dilation, dropout):
        super().__init__()
        self.conv = nn.Conv1d(channels, channels, kernel_size, dilation=dilation)
        self.norm = nn.BatchNorm1d(channels)
        self.drop = nn.Dropout(dropout)

    def forward(self, x):
        out = self.drop(F.relu(self.norm(self.conv(x))))
        return x[:, :, -out.size(2) :] + out


class LoadTCN(nn.Module):
    """Windows (batch, steps, channels) to the next loads (batch, horizon)."""

    def __init__(self, in_channels, horizon, channels=24, kernel_size=3, depth=3, dropout=0.05):
        super().__init__()
        self.stem = nn.Conv1d(in_channels, channels, kernel_size=1)
        self.blocks = nn.ModuleList(
            [ResidualBlock(channels, kernel_size, 2**level, dropout) for level in range(depth)]
        )
        self.head = nn.Linear(channels, horizon)

    def forward(self, window):
        x = self.stem(window.transpose(1, 2))
        for block in self.blocks:
            x = block(x)
        return self.head(x[:, :, -1])
