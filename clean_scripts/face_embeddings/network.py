"""An embedding network, the loss that trains it and the batches that the loss needs."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import Sampler


def block(n_in, n_out, p_drop):
    return [nn.Linear(n_in, n_out, bias=False), nn.BatchNorm1d(n_out), nn.ReLU(), nn.Dropout(p_drop)]


class FaceEmbedding(nn.Module):
    """Flat thumbnails (batch, pixels) to points on the unit sphere (batch, dim)."""

    def __init__(self, pixels, hidden=48, dim=8, p_drop=0.1):
        super().__init__()
        self.body = nn.Sequential(*block(pixels, hidden, p_drop), *block(hidden, hidden, p_drop))
        self.project = nn.Linear(hidden, dim)
        self.log_scale = nn.Parameter(torch.tensor(2.3))  # similarities count ten times at the start

    def forward(self, x):
        return F.normalize(self.project(self.body(x)), dim=-1)


def supervised_contrastive(z, who, scale):
    """Every image of a batch shall find the other images of its person among all others."""
    similarity = scale * z @ z.T
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    positive = (who.unsqueeze(0) == who.unsqueeze(1)) & ~itself
    everyone_else = similarity.masked_fill(itself, float("-inf")).logsumexp(dim=1, keepdim=True)
    log_share = (similarity - everyone_else).masked_fill(~positive, 0.0)
    return -(log_share.sum(dim=1) / positive.sum(dim=1)).mean()


class BalancedBatches(Sampler):
    """Row numbers of batches that hold equally many images of each of some people."""

    def __init__(self, who, people, images, seed):
        self.rows_of = [np.flatnonzero(who == one) for one in np.unique(who)]
        self.people = min(people, len(self.rows_of))
        self.images = images
        self.batches = len(who) // (people * images)
        self.rng = np.random.default_rng(seed)

    def __len__(self):
        return self.batches

    def __iter__(self):
        for _ in range(self.batches):
            chosen = self.rng.permutation(len(self.rows_of))[: self.people]
            yield [row for one in chosen for row in self.rng.permutation(self.rows_of[one])[: self.images]]
