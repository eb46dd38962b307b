"""A network for field trials: one trunk for what all crops share, and a head for each crop."""

import torch
from torch import nn


class SeasonEncoder(nn.Module):
    """Weekly weather (plots, weeks, channels) to one flat description of the season."""

    def __init__(self, channels, filters, kernel_size=3):
        super().__init__()
        self.conv = nn.Conv1d(channels, filters, kernel_size, padding=kernel_size // 2)
        self.norm = nn.BatchNorm1d(filters)

    def forward(self, season):
        weekly = torch.relu(self.norm(self.conv(season.transpose(1, 2))))
        return weekly.flatten(1)


class YieldNet(nn.Module):
    """Soil (plots, measurements) and season (plots, weeks, channels) to yields (plots, crops)."""

    def __init__(self, soil_columns, weeks, channels, crops, filters, width, dropout):
        super().__init__()
        self.season = SeasonEncoder(channels, filters)
        self.trunk = nn.Sequential(
            nn.Linear(soil_columns + filters * weeks, width),
            nn.ReLU(),
            nn.Dropout(dropout),
        )
        self.heads = nn.ModuleDict({crop: self._head(width) for crop in crops})

    @staticmethod
    def _head(width):
        return nn.Sequential(nn.Linear(width, width // 2), nn.ReLU(), nn.Linear(width // 2, 1))

    def forward(self, soil, season):
        shared = self.trunk(torch.cat([soil, self.season(season)], dim=1))
        return torch.cat([head(shared) for head in self.heads.values()], dim=1)
