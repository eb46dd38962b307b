"""A network that answers with several quantiles at once, and the loss that makes them quantiles."""

import torch
from torch import Tensor, nn


class QuantileNet(nn.Module):
    """Features (batch, columns) and zones (batch,) to one value for each quantile, (batch, quantiles)."""

    def __init__(self, columns: int, zones: int, quantiles: int, width: int = 48, dropout: float = 0.1):
        super().__init__()
        self.zone = nn.Embedding(zones, 6)
        self.body = nn.Sequential(
            nn.Linear(columns + 6, width),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(width, width),
            nn.BatchNorm1d(width),
            nn.ReLU(),
        )
        self.head = nn.Linear(width, quantiles)

    def forward(self, features: Tensor, zone: Tensor) -> Tensor:
        joined = torch.cat([features, self.zone(zone)], dim=1)
        return self.head(self.body(joined))


def pinball(predicted: Tensor, actual: Tensor, levels: Tensor) -> Tensor:
    """Being too low costs `level` a unit and being too high `1 - level`; the mean over rows and levels."""
    missing = actual.unsqueeze(1) - predicted
    return torch.maximum(levels * missing, (levels - 1) * missing).mean()


def coverage(predicted: Tensor, actual: Tensor) -> float:
    """How many of the actual values lie between the lowest and the highest quantile."""
    inside = (predicted[:, 0] <= actual) & (actual <= predicted[:, -1])
    return inside.float().mean().item()
