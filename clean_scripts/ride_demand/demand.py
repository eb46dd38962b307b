"""Hours of a city as a data set, and the network that tells how many rides each of them will see."""

import torch
from torch import nn
from torch.utils.data import Dataset


class ZoneHours(Dataset):
    """Triples of (zone, conditions, rides)."""

    def __init__(self, zone, conditions, rides):
        self.zone = torch.from_numpy(zone)
        self.conditions = torch.from_numpy(conditions)
        self.rides = torch.from_numpy(rides)

    def __len__(self):
        return len(self.rides)

    def __getitem__(self, i):
        return self.zone[i], self.conditions[i], self.rides[i]


class DemandNet(nn.Module):
    """Zones (batch,) and conditions (batch, columns) to the logarithm of a rate each, (batch,)."""

    def __init__(self, zones, columns, zone_dim, hidden, dropout):
        super().__init__()
        self.zone = nn.Embedding(zones, zone_dim)
        self.mix = nn.Linear(zone_dim + columns, hidden)
        self.norm = nn.BatchNorm1d(hidden)
        self.hidden = nn.Linear(hidden, hidden)
        self.drop = nn.Dropout(dropout)
        self.log_rate = nn.Linear(hidden, 1)

    def forward(self, zone, conditions):
        x = torch.cat([self.zone(zone), conditions], dim=1)
        x = torch.relu(self.norm(self.mix(x)))
        x = torch.relu(self.hidden(self.drop(x)))
        return self.log_rate(x).squeeze(1)
