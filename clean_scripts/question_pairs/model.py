"""A siamese network: both questions go through one encoder, and a head compares what comes out."""

import torch
from torch import Tensor, nn


class QuestionEncoder(nn.Module):
    """Token ids (batch, words), padded with 0, to vectors (batch, width)."""

    def __init__(self, vocabulary: int, width: int, dropout: float) -> None:
        super().__init__()
        self.words = nn.EmbeddingBag(vocabulary, width, mode="mean", padding_idx=0)
        self.dropout = nn.Dropout(dropout)
        self.project = nn.Linear(width, width)

    def forward(self, question: Tensor) -> Tensor:
        return torch.tanh(self.project(self.dropout(self.words(question))))


class PairClassifier(nn.Module):
    """Logits (batch,) that two questions ask the same. surface: counts (batch, columns) of each pair."""

    def __init__(self, vocabulary: int, columns: int, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.encoder = QuestionEncoder(vocabulary, width, dropout)
        self.compare = nn.Sequential(
            nn.Linear(2 * width + columns, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
        )
        self.same = nn.Linear(hidden, 1)

    def forward(self, first: Tensor, second: Tensor, surface: Tensor) -> Tensor:
        u, v = self.encoder(first), self.encoder(second)
        compared = self.compare(torch.cat([(u - v).abs(), u * v, surface], dim=1))
        return self.same(compared).squeeze(1)
