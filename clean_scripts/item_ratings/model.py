"""A rating model: who rates, what is rated, and under which circumstances."""

import torch
import torch.nn.functional as F
from torch import nn


class RatingModel(nn.Module):
    """(user, item) codes (batch, 2) and context (batch, columns) to one rating each, (batch,).

    A rating is a bias of the user, one of the item, how well their vectors agree, and what a small network
    makes of both and the context.
    """

    def __init__(self, users, items, columns, size, hidden, dropout):
        super().__init__()
        self.users = nn.Embedding(users, size)
        self.items = nn.Embedding(items, size)
        self.user_bias = nn.Embedding(users, 1)
        self.item_bias = nn.Embedding(items, 1)
        self.layers = nn.ModuleList([nn.Linear(2 * size + columns, hidden), nn.Linear(hidden, hidden)])
        self.last = nn.Linear(hidden, 1)
        self.dropout = dropout
        for table in (self.users, self.items):
            nn.init.normal_(table.weight, std=0.3)
        for table in (self.user_bias, self.item_bias):
            nn.init.zeros_(table.weight)

    def forward(self, pairs, context):
        user, item = pairs[:, 0], pairs[:, 1]
        u, i = self.users(user), self.items(item)
        h = torch.cat([u, i, context], dim=1)
        for layer in self.layers:
            h = F.dropout(F.relu(layer(h)), self.dropout, training=self.training)
        rating = self.last(h) + (u * i).sum(dim=1, keepdim=True) + self.user_bias(user) + self.item_bias(item)
        return rating.squeeze(1)
