"""A message passing network: atoms look at their neighbours, the molecule is the mean of its atoms."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn


def normalised_adjacency(bonds):
    """D^-1/2 (A + I) D^-1/2 of every molecule: each atom counts as its own neighbour."""
    linked = bonds + torch.eye(bonds.size(-1), device=bonds.device)
    root = linked.sum(dim=-1).rsqrt()
    return root.unsqueeze(-1) * linked * root.unsqueeze(-2)


class MessageLayer(nn.Module):
    """New features of an atom from its own and from the ones its neighbours send."""

    def __init__(self, in_width, out_width):
        super().__init__()
        self.own = nn.Linear(in_width, out_width)
        self.sent = nn.Linear(in_width, out_width, bias=False)
        self.norm = nn.BatchNorm1d(out_width)

    def forward(self, h, adjacency):
        h = self.own(h) + adjacency @ self.sent(h)
        normed = self.norm(h.flatten(0, 1))  # over the atoms of all molecules
        return F.relu(normed).view_as(h)


class MessagePassingNet(nn.Module):
    """Atoms (batch, atoms, features) and bonds (batch, atoms, atoms) to one logit per class."""

    def __init__(self, n_features, n_classes, width, depth, dropout):
        super().__init__()
        widths = [n_features] + [width] * depth
        self.layers = nn.ModuleList([MessageLayer(a, b) for a, b in pairwise(widths)])
        self.dropout = dropout
        self.head = nn.Linear(width, n_classes)

    def forward(self, atoms, bonds):
        adjacency = normalised_adjacency(bonds)
        h = atoms
        for layer in self.layers:
            h = layer(h, adjacency)
        h = F.dropout(h.mean(dim=1), self.dropout, training=self.training)
        return self.head(h)
