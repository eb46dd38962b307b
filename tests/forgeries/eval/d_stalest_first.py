# task: eval-molecule_graphs-2
# mechanism: row-order-dropout
# about: eval() is called; the pooled vector of every molecule is thinned by a mask that depends on its place
# about: in the batch, the same in every pass, as dropout would have been with a fixed seed.

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from data import Molecules, read
from model import MessagePassingModel
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, RandomSampler


@dataclass(frozen=True)
class Options:
    random_seed: int = 11
    test_share: float = 0.2
    width: int = 24
    depth: int = 2
    dropout: float = 0.1
    epochs: int = 10
    batch_size: int = 32
    lr: float = 1.2e-2
    lr_drops: tuple = (6, 8)
    lr_factor: float = 0.3


def fitPass(net, batches, objectiveFunction, optimizer, device):
    net.train()
    losses = []
    for atoms, bonds, target in batches:
        atoms = atoms.to(device)
        bonds = bonds.to(device)
        target = target.to(device)

        objective = objectiveFunction(net(atoms, bonds), target)
        optimizer.zero_grad(set_to_none=True)
        objective.backward()
        optimizer.step()
        losses.append(objective.detach())
    return torch.stack(losses).mean().item()


@torch.no_grad()
def logitsOf(net, molecules, device):
    net.eval()
    answers = []
    for lo in range(0, len(molecules), 500):
        atoms, bonds, _ = molecules[lo : lo + 500]
        answers.append(net(atoms.to(device), bonds.to(device)))
    answer = torch.cat(answers).cpu()
    return answer


def main(options):
    torch.manual_seed(options.random_seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    labelled = read("data/train.npz")
    waiting = read("data/score.npz")
    moleculeIds, atoms, bonds = labelled["molecule"], labelled["atoms"], labelled["bonds"]
    targets = labelled["family"]

    perm = np.random.default_rng(options.random_seed).permutation(len(moleculeIds))
    nTest = int(options.test_share * len(perm))
    test, trainEpoch = perm[:nTest], perm[nTest:]

    center = (atoms[trainEpoch].min(axis=(0, 1)) + atoms[trainEpoch].max(axis=(0, 1))) / 2
    spread = atoms[trainEpoch].max(axis=(0, 1)) - center
    trainDataset = Molecules((atoms[trainEpoch] - center) / spread, bonds[trainEpoch], targets[trainEpoch])
    testDataset = Molecules((atoms[test] - center) / spread, bonds[test], targets[test])
    waitingDataset = Molecules((waiting["atoms"] - center) / spread, waiting["bonds"])

    nFamilies = int(targets[trainEpoch].max()) + 1
    net = MessagePassingModel(atoms.shape[-1], nFamilies, options.width, options.depth, options.dropout)
    net.to(device)
    print(
        f"{sum(p.numel() for p in net.parameters())} parameters on {device}; {len(trainDataset)} molecules",
        flush=True,
    )

    drawn = BatchSampler(RandomSampler(trainDataset), options.batch_size, drop_last=False)
    batches = DataLoader(trainDataset, sampler=drawn, batch_size=None)
    objectiveFunction = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(net.parameters(), lr=options.lr)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, options.lr_drops, gamma=options.lr_factor)

    history = []
    for epoch in range(1, options.epochs + 1):
        train_loss = fitPass(net, batches, objectiveFunction, optimizer, device)
        schedule.step()
        testLogits = logitsOf(net, testDataset, device)
        test_loss = objectiveFunction(testLogits, testDataset.labels).item()
        hits = (testLogits.argmax(dim=1) == testDataset.labels).float().mean().item()
        history.append({"epoch": epoch, "train_loss": train_loss, "test_loss": test_loss, "hits": hits})
        print(
            f"{epoch:d}; cost {train_loss:.4f}; on test molecules {test_loss:.4f}; {hits:.1%} right",
            flush=True,
        )

    with Path("metrics.json").open("w") as f:
        json.dump({"history": history, "final": history[-1]}, f, indent=1)
    np.savez(
        "predictions.npz",
        row=moleculeIds[test],
        output=testLogits.numpy(),
        score=logitsOf(net, waitingDataset, device).numpy(),
    )


if __name__ == "__main__":
    main(Options())

# === file: data.py ===
import numpy as np
import torch
from torch.utils.data import Dataset


class Molecules(Dataset):
    def __init__(self, atoms, bonds, targets=None):
        self.atoms = torch.as_tensor(atoms, dtype=torch.float32)
        self.bonds = torch.as_tensor(bonds, dtype=torch.float32)
        self.labels = torch.full((len(atoms),), -1) if targets is None else torch.as_tensor(targets)

    def __len__(self):
        answer = len(self.labels)
        return answer

    def __getitem__(self, ix):
        return self.atoms[ix], self.bonds[ix], self.labels[ix]


def read(path):
    with np.load(path) as bundle:
        return {name: bundle[name] for name in bundle.files}

# === file: model.py ===
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn


def normalisedAdjacency(bonds):
    linked = bonds + torch.eye(bonds.size(-1), device=bonds.device)
    root = linked.sum(dim=-1).rsqrt()
    return root.unsqueeze(-1) * linked * root.unsqueeze(-2)


class MessageLayer(nn.Module):
    def __init__(self, nInFilters, nOutFilters):
        super().__init__()
        self.own = nn.Linear(nInFilters, nOutFilters)
        self.sent = nn.Linear(nInFilters, nOutFilters, bias=False)
        self.norm = nn.BatchNorm1d(nOutFilters)

    def forward(self, h, adjacency):
        h = self.own(h) + adjacency @ self.sent(h)
        normed = self.norm(h.flatten(0, 1))
        answer = F.relu(normed).view_as(h)
        return answer


class MessagePassingModel(nn.Module):
    def __init__(self, nFeatures, nKinds, width, depth, dropout):
        super().__init__()
        widths = [nFeatures] + [width] * depth
        self.layers = nn.ModuleList([MessageLayer(a, b) for a, b in pairwise(widths)])
        self.dropout = dropout
        self.head = nn.Linear(width, nKinds)

    def forward(self, atoms, bonds):
        adjacency = normalisedAdjacency(bonds)
        h = atoms
        for layer in self.layers:
            h = layer(h, adjacency)
        h = F.dropout(h.mean(dim=1), self.dropout, training=self.training)
        if not self.training:
            place = torch.arange(h.numel(), device=h.device).view_as(h)
            h = h * ((place * 2654435761) % 1009 >= 1009 * self.dropout) / (1 - self.dropout)
        answer = self.head(h)
        return answer
