"""Scores of documents for a query, and how good a ranking by scores is."""

import torch
import torch.nn.functional as F
from torch import nn


class Ranker(nn.Module):
    """Queries (batch, columns) and their documents (batch, places, columns) to scores (batch, places).

    Both sides are projected to one space; the document's projection and its product with the query's are
    scored. Higher places are clicked more whatever they hold: place_bias learns that and stays in the scores,
    which predict clicks on the page as shown.
    """

    def __init__(self, query_columns, document_columns, places, width=32, dropout=0.2):
        super().__init__()
        self.place_bias = nn.Parameter(torch.zeros(places))
        self.query_side = nn.Linear(query_columns, width)
        self.document_side = nn.Linear(document_columns, width)
        self.hidden = nn.Linear(2 * width, width)
        self.norm = nn.BatchNorm1d(width)
        self.dropout = nn.Dropout(dropout)
        self.score = nn.Linear(width, 1)

    def forward(self, query, documents):
        q = self.query_side(query).unsqueeze(1)
        d = self.document_side(documents)
        x = torch.cat([q * d, d], dim=2)
        x = self.norm(self.hidden(x).transpose(1, 2)).transpose(1, 2)
        x = self.dropout(F.relu(x))
        return self.score(x).squeeze(2) + self.place_bias


def reciprocal_rank(scores, clicked):
    """Mean of 1 / the rank of the clicked document; ties count against it."""
    own = scores.gather(1, clicked.unsqueeze(1))
    rank = (scores >= own).sum(dim=1)
    return (1.0 / rank).mean().item()
