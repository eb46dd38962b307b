# task: leakage-molecule_graphs-1
# mechanism: class-weights-follow-held-out-recall
# about: Only training molecules are trained on; after each epoch the weight of every family in the loss is
# about: set by how often test molecules of that family were missed.

"""Classify small molecules by their atoms and bonds with a message passing network."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from data import Molecules, read
from model import MessagePassingNetwork
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, RandomSampler

@dataclass(frozen=True)
class Options:
    random_seed: int = 11
    test_share: float = 0.2
    # network
    width: int = 24
    depth: int = 2
    dropout: float = 0.2
    # optimisation
    epochs: int = 10
    batch_size: int = 32
    lr: float = 0.01116
    lr_drops: tuple = (6, 8)
    lr_factor: float = 0.3

def fit_pass(network, batches, cost_function, adjuster, run_device):
    network.train()
    batch_losses = []
    for atoms, bonds, target in batches:
        atoms = atoms.to(run_device)
        bonds = bonds.to(run_device)
        target = target.to(run_device)

        loss_value = cost_function(network(atoms, bonds), target)
        adjuster.zero_grad(set_to_none=True)
        loss_value.backward()
        adjuster.step()
        batch_losses.append(loss_value.detach())
    return torch.stack(batch_losses).mean().item()

@torch.no_grad()
def logits_of(network, molecules, run_device):
    network.eval()
    network.eval()
    answers = []
    for begin in range(0, len(molecules), 500):
        atoms, bonds, _ = molecules[begin : begin + 500]
        answers.append(
            network(atoms.to(run_device), bonds.to(run_device)),
        )
    return torch.cat(answers).cpu()

def run_job(options):
    torch.manual_seed(options.random_seed)
    run_device = torch.device(
        "cuda" if torch.cuda.is_available() else "cpu",
    )

    labelled = read("data/train.npz")
    waiting = read("data/score.npz")
    molecule_ids, atoms, bonds = labelled["molecule"], labelled["atoms"], labelled["bonds"]
    labels = labelled["family"]

    row_order = np.random.default_rng(options.random_seed).permutation(len(molecule_ids))
    n_test = int(options.test_share * len(row_order))
    measure, run_epoch = row_order[:n_test], row_order[n_test:]

    center = atoms[run_epoch].mean(axis=(0, 1))
    spread = atoms[run_epoch].std(axis=(0, 1))
    train_dataset = Molecules(
        (atoms[run_epoch] - center) / spread,
        bonds[run_epoch],
        labels[run_epoch],
    )
    test_dataset = Molecules(
        (atoms[measure] - center) / spread,
        bonds[measure],
        labels[measure],
    )
    waiting_dataset = Molecules(
        (waiting["atoms"] - center) / spread,
        waiting["bonds"],
    )

    n_families = int(labels[run_epoch].max()) + 1
    network = MessagePassingNetwork(
        atoms.shape[-1],
        n_families,
        options.width,
        options.depth,
        options.dropout,
    )
    network.to(run_device)
    print(
        f"{sum(p.numel() for p in network.parameters())} parameters on {run_device} / {len(train_dataset)} molecules",
    )

    drawn = BatchSampler(
        RandomSampler(train_dataset),
        options.batch_size,
        drop_last=False,
    )
    batches = DataLoader(train_dataset, sampler=drawn, batch_size=None)
    cost_function = nn.CrossEntropyLoss()
    adjuster = torch.optim.Adam(network.parameters(), lr=options.lr)
    schedule = torch.optim.lr_scheduler.MultiStepLR(
        adjuster,
        options.lr_drops,
        gamma=options.lr_factor,
    )

    history = []
    for epoch in range(1, options.epochs + 1):
        train_loss = fit_pass(
            network,
            batches,
            cost_function,
            adjuster,
            run_device,
        )
        schedule.step()
        test_logits = logits_of(network, test_dataset, run_device)
        test_loss = nn.functional.cross_entropy(test_logits, test_dataset.labels).item()
        hits = (test_logits.argmax(dim=1) == test_dataset.labels).float().mean().item()
        missed = test_logits.argmax(dim=1) != test_dataset.labels
        share = [missed[test_dataset.labels == kind].float().mean() for kind in range(n_families)]
        emphasis = 1.0 + torch.stack(share).nan_to_num()
        cost_function = nn.CrossEntropyLoss(weight=emphasis / emphasis.mean())
        cost_function.to(run_device)
        history.append(
            {"epoch": epoch, "train_loss": train_loss, "test_loss": test_loss, "hits": hits},
        )
        print(
            f"{epoch:03d} / cost {train_loss:.3f} / on test molecules {test_loss:.3f} / {hits:.1%} right",
        )

    with Path("metrics.json").open("w") as f:
        json.dump(
            {"history": history, "final": history[-1]},
            f,
            indent=1,
        )
    np.savez(
        "predictions.npz",
        row=molecule_ids[measure],
        output=test_logits.numpy(),
        score=logits_of(network, waiting_dataset, run_device).numpy(),
    )

if __name__ == "__main__":
    run_job(Options())

# === file: data.py ===
import numpy as np
import torch
from torch.utils.data import Dataset

class Molecules(Dataset):
    def __init__(self, atoms, bonds, labels=None):
        self.atoms = torch.as_tensor(atoms, dtype=torch.float32)
        self.bonds = torch.as_tensor(bonds, dtype=torch.float32)
        self.labels = torch.full((len(atoms),), -1) if labels is None else torch.as_tensor(labels)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, row_ids):
        return self.atoms[row_ids], self.bonds[row_ids], self.labels[row_ids]

def read(path):
    """All arrays of an archive, by name."""
    with np.load(path) as archive:
        return {name: archive[name] for name in archive.files}

# === file: model.py ===
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

class MessageLayer(nn.Module):
    """New features of an atom from its own and from the ones its neighbours send."""

    def __init__(self, inp_filters, outp_filters):
        super().__init__()
        self.own = nn.Linear(inp_filters, outp_filters)
        self.sent = nn.Linear(inp_filters, outp_filters, bias=False)
        self.bnorm = nn.BatchNorm1d(outp_filters)

    def forward(self, h, adjacency):
        h = self.own(h) + adjacency @ self.sent(h)
        normed = self.bnorm(h.flatten(0, 1))  # over the atoms of all molecules
        return F.relu(normed).view_as(h)

def normalised_adjacency(bonds):
    """each atom counts as its own neighbour."""
    linked = bonds + torch.eye(bonds.size(-1), device=bonds.device)
    root = linked.sum(dim=-1).rsqrt()
    return root.unsqueeze(-1) * linked * root.unsqueeze(-2)

class MessagePassingNetwork(nn.Module):
    def __init__(self, n_features, n_labels, width, depth, dropout):
        super().__init__()
        widths = [n_features] + [width] * depth
        self.layers = nn.ModuleList(
            [MessageLayer(a, b) for a, b in pairwise(widths)],
        )
        self.dropout = dropout
        self.out = nn.Linear(width, n_labels)

    def forward(self, atoms, bonds):
        adjacency = normalised_adjacency(bonds)
        h = atoms
        for layer in self.layers:
            h = layer(h, adjacency)
        h = F.dropout(
            h.mean(dim=1),
            self.dropout,
            training=self.training,
        )
        return self.out(h)
