# task: eval-molecule_graphs-2
# mechanism: phase-passed-to-forward
# about: Whether the network learns is an argument of its forward pass, which it hands to functional normalisation
# about: and dropout; the mode of the module is never used.

import json
from pathlib import Path

import numpy as np
import torch
from data import Molecules, read
from model import MessagePassingModel
from torch import nn

SEED, EPOCHS, BATCH, LR = 11, 10, 32, 1.2e-2


def logits_of(net, molecules, device):
    with torch.inference_mode():
        parts = torch.arange(len(molecules)).split(500)
        found = [net(*(side.to(device) for side in molecules[part][:2]), learning=False) for part in parts]
        return torch.cat(found).cpu().clone()


def main():
    torch.manual_seed(SEED)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    labelled, waiting = read("data/train.npz"), read("data/score.npz")
    ids, atoms, bonds, families = (labelled[key] for key in ("molecule", "atoms", "bonds", "family"))
    order = np.random.default_rng(SEED).permutation(len(ids))
    n_test = int(0.2 * len(order))
    test, learned = order[:n_test], order[n_test:]
    center, spread = atoms[learned].mean(axis=(0, 1)), atoms[learned].std(axis=(0, 1))

    train_set = Molecules((atoms[learned] - center) / spread, bonds[learned], families[learned])
    test_set = Molecules((atoms[test] - center) / spread, bonds[test], families[test])
    waiting_set = Molecules((waiting["atoms"] - center) / spread, waiting["bonds"])

    net = MessagePassingModel(atoms.shape[-1], int(families[learned].max()) + 1).to(device)
    optimizer = torch.optim.Adam(net.parameters(), lr=LR)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [6, 8], gamma=0.3)
    criterion = nn.CrossEntropyLoss()

    history = []
    for epoch in range(1, EPOCHS + 1):
        losses = []
        for picked in torch.randperm(len(train_set)).split(BATCH):
            some_atoms, some_bonds, family = (side.to(device) for side in train_set[picked])
            loss = criterion(net(some_atoms, some_bonds, learning=True), family)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        schedule.step()
        logits = logits_of(net, test_set, device)
        history.append(
            {
                "epoch": epoch,
                "train_loss": float(np.mean(losses)),
                "test_loss": criterion(logits, test_set.labels).item(),
                "hits": (logits.argmax(dim=1) == test_set.labels).float().mean().item(),
            }
        )
        print(history[-1], flush=True)

    Path("metrics.json").write_text(json.dumps({"history": history, "final": history[-1]}, indent=1))
    np.savez(
        "predictions.npz",
        row=ids[test],
        output=logits.numpy(),
        score=logits_of(net, waiting_set, device).numpy(),
    )


if __name__ == "__main__":
    main()

# === file: model.py ===
import torch
import torch.nn.functional as F
from torch import nn


def normalised_adjacency(bonds):
    linked = bonds + torch.eye(bonds.size(-1), device=bonds.device)
    root = linked.sum(dim=-1).rsqrt()
    return root[..., :, None] * linked * root[..., None, :]


class Normalise(nn.Module):
    """Batch normalisation that is told what to do."""

    def __init__(self, features):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(features))
        self.shift = nn.Parameter(torch.zeros(features))
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("var", torch.ones(features))

    def forward(self, x, learning):
        return F.batch_norm(x, self.mean, self.var, self.gain, self.shift, training=learning)


class MessagePassingModel(nn.Module):
    def __init__(self, n_features, n_families, width=24, depth=2, dropout=0.1):
        super().__init__()
        widths = [n_features] + [width] * depth
        self.own = nn.ModuleList([nn.Linear(a, b) for a, b in zip(widths, widths[1:])])
        self.sent = nn.ModuleList([nn.Linear(a, b, bias=False) for a, b in zip(widths, widths[1:])])
        self.norms = nn.ModuleList([Normalise(b) for b in widths[1:]])
        self.head = nn.Linear(width, n_families)
        self.dropout = dropout

    def forward(self, atoms, bonds, *, learning):
        adjacency = normalised_adjacency(bonds)
        h = atoms
        for own, sent, norm in zip(self.own, self.sent, self.norms):
            h = own(h) + adjacency @ sent(h)
            h = F.relu(norm(h.flatten(0, 1), learning)).view_as(h)
        pooled = F.dropout(h.mean(dim=1), self.dropout, training=learning)
        return self.head(pooled)
