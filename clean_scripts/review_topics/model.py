"""A review classifier: embedded words, pooled by attention, and a small head."""

import torch
from torch import nn


class AttentionPool(nn.Module):
    """One learned question to a sequence: (batch, words, width) to (batch, width)."""

    def __init__(self, width, heads):
        super().__init__()
        self.query = nn.Parameter(torch.randn(1, 1, width) / width**0.5)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)

    def forward(self, x, padding):
        query = self.query.expand(x.size(0), -1, -1)
        pooled, _ = self.attention(query, x, x, key_padding_mask=padding, need_weights=False)
        return pooled.squeeze(1)


class TopicClassifier(nn.Module):
    """Word indices (batch, words), 0 where a review has ended, to one logit per topic.

    rarity: one weight per index; words that stand in nearly every review count for less.
    """

    def __init__(self, rarity, max_words, num_topics, width, heads, dropout):
        super().__init__()
        self.register_buffer("rarity", rarity)
        self.embedding = nn.Embedding(len(rarity), width, padding_idx=0)
        self.place = nn.Embedding(max_words, width)
        self.norm = nn.LayerNorm(width)
        self.pool = AttentionPool(width, heads)
        self.hidden = nn.Linear(width, 2 * width)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(2 * width, num_topics)

    def forward(self, words):
        places = torch.arange(words.size(1), device=words.device)
        x = self.embedding(words) * self.rarity[words].unsqueeze(-1) + self.place(places)
        x = self.pool(self.norm(x), words == 0)
        x = self.dropout(torch.relu(self.hidden(x)))
        return self.output(x)
