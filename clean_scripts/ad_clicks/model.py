"""Clicks from codes and measurements: one embedding table for each column of codes, then a small tower."""

from itertools import pairwise

import torch
from torch import nn


def tower(widths, dropout):
    """Linear, batch norm, ReLU and dropout for each step from one width to the next."""
    steps = []
    for width_in, width_out in pairwise(widths):
        steps += [nn.Linear(width_in, width_out), nn.BatchNorm1d(width_out), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*steps)


class ClickModel(nn.Module):
    """Codes (batch, columns) and measurements (batch, numbers) to one logit each, (batch,).

    table_sizes: how many codes each column has.
    """

    def __init__(self, table_sizes, num_numbers, embedding_width, widths, dropout):
        super().__init__()
        self.tables = nn.ModuleList([nn.Embedding(size, embedding_width) for size in table_sizes])
        self.tower = tower([len(table_sizes) * embedding_width + num_numbers, *widths], dropout)
        self.logit = nn.Linear(widths[-1], 1)

    def forward(self, codes, numbers):
        looked_up = [table(codes[:, column]) for column, table in enumerate(self.tables)]
        joined = torch.cat([*looked_up, numbers], dim=1)
        return self.logit(self.tower(joined)).squeeze(1)
