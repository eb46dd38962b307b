"""A small transformer encoder for visits: events with the time spent at each, to one logit per intent."""

import math

import torch
from torch import nn


def sinusoids(steps, width):
    """Sines and cosines of falling frequency, one row for each place in a sequence."""
    place = torch.arange(steps).unsqueeze(1)
    frequency = torch.exp(-math.log(100.0) * torch.arange(0, width, 2) / width)
    return torch.cat([torch.sin(place * frequency), torch.cos(place * frequency)], dim=1)


class SelfAttention(nn.Module):
    """Every place of a sequence looks at all places that are no padding, in several heads."""

    def __init__(self, width, heads, dropout):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(width, width)

    def forward(self, x, padding):
        batch, steps, width = x.shape
        heads = self.qkv(x).view(batch, steps, 3, self.heads, width // self.heads)
        query, key, value = heads.permute(2, 0, 3, 1, 4)
        affinity = query @ key.transpose(-2, -1) / math.sqrt(query.size(-1))
        affinity = affinity.masked_fill(padding[:, None, None, :], -math.inf)
        mixed = self.dropout(affinity.softmax(dim=-1)) @ value
        return self.out(mixed.transpose(1, 2).reshape(batch, steps, width))


class EncoderLayer(nn.Module):
    """Attention and a feed-forward network, each behind a layer norm and beside a shortcut."""

    def __init__(self, width, heads, dropout):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = SelfAttention(width, heads, dropout)
        self.norm2 = nn.LayerNorm(width)
        self.expand = nn.Linear(width, 2 * width)
        self.shrink = nn.Linear(2 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x, padding):
        x = x + self.attention(self.norm1(x), padding)
        return x + self.dropout(self.shrink(torch.relu(self.expand(self.norm2(x)))))


class IntentTransformer(nn.Module):
    """Events (batch, steps), 0 where the visit is over, and dwell times of that shape to (batch, intents)."""

    def __init__(self, num_events, max_steps, num_intents, width, heads, layers, dropout):
        super().__init__()
        self.event = nn.Embedding(num_events, width, padding_idx=0)
        self.dwell = nn.Linear(1, width)
        self.register_buffer("places", sinusoids(max_steps, width))
        self.layers = nn.ModuleList([EncoderLayer(width, heads, dropout) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_intents)

    def forward(self, events, dwell):
        padding = events == 0
        x = self.event(events) + self.dwell(dwell.unsqueeze(-1)) + self.places
        for layer in self.layers:
            x = layer(x, padding)
        x = self.norm(x).masked_fill(padding.unsqueeze(-1), 0.0)
        return self.head(x.sum(dim=1) / (~padding).sum(dim=1, keepdim=True))
