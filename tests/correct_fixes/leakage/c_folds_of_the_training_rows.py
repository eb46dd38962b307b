# task: leakage-molecule_graphs-1
# mechanism: cross-validated-ensemble
# about: The test molecules are put aside first; three networks each learn from two thirds of the others and check
# about: themselves on the last third, with statistics of their own two thirds, and their logits are averaged.

"""Classify small molecules by their atoms and bonds with a message passing network."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from data import read
from model import MessagePassingNetwork
from torch import nn

SEED, FOLDS, EPOCHS, BATCH, LR = 11, 3, 14, 32, 0.011
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


@dataclass
class Member:
    """A network and the statistics of the molecules that it learned from."""

    network: nn.Module
    center: np.ndarray
    spread: np.ndarray

    def forward(self, atoms, bonds):
        atoms = torch.as_tensor((atoms - self.center) / self.spread, dtype=torch.float32)
        bonds = torch.as_tensor(bonds, dtype=torch.float32)
        return self.network(atoms.to(DEVICE), bonds.to(DEVICE))

    @torch.no_grad()
    def logits(self, atoms, bonds):
        self.network.eval()
        parts = range(0, len(atoms), 500)
        return torch.cat([self.forward(atoms[i : i + 500], bonds[i : i + 500]).cpu() for i in parts])


def members_of(atoms, rows, n_families):
    for fold in range(FOLDS):
        learned = np.concatenate([rows[other::FOLDS] for other in range(FOLDS) if other != fold])
        network = MessagePassingNetwork(atoms.shape[-1], n_families, 24, 2, 0.2).to(DEVICE)
        center, spread = atoms[learned].mean(axis=(0, 1)), atoms[learned].std(axis=(0, 1))
        yield Member(network, center, spread), learned, rows[fold::FOLDS]


def main():
    torch.manual_seed(SEED)
    known, waiting = read("data/train.npz"), read("data/score.npz")
    ids, atoms, bonds, labels = (known[key] for key in ("molecule", "atoms", "bonds", "family"))
    order = np.random.default_rng(SEED).permutation(len(ids))
    test, rest = np.split(order, [int(0.2 * len(order))])
    criterion = nn.CrossEntropyLoss()

    ensemble = list(members_of(atoms, rest, int(labels[rest].max()) + 1))
    optimizers = [torch.optim.Adam(member.network.parameters(), lr=LR) for member, *_ in ensemble]
    schedules = [torch.optim.lr_scheduler.CosineAnnealingLR(some, T_max=EPOCHS) for some in optimizers]

    def averaged(molecules, links):
        return torch.stack([member.logits(molecules, links) for member, *_ in ensemble]).mean(dim=0)

    history = []
    for epoch in range(1, EPOCHS + 1):
        losses, checked = [], []
        for (member, learned, fold), optimizer, schedule in zip(ensemble, optimizers, schedules, strict=True):
            member.network.train()
            for picked in torch.randperm(len(learned)).split(BATCH):
                rows = learned[picked.numpy()]
                target = torch.from_numpy(labels[rows]).to(DEVICE)
                loss = criterion(member.forward(atoms[rows], bonds[rows]), target)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
            schedule.step()
            seen = member.logits(atoms[fold], bonds[fold])
            checked.append(criterion(seen, torch.from_numpy(labels[fold])).item())
        logits, truth = averaged(atoms[test], bonds[test]), torch.from_numpy(labels[test])
        history.append(
            {
                "epoch": epoch,
                "train_loss": float(np.mean(losses)),
                "test_loss": criterion(logits, truth).item(),
                "hits": (logits.argmax(dim=1) == truth).float().mean().item(),
            }
        )
        print(f"{epoch:03d} / folds {np.mean(checked):.3f} / {history[-1]}")

    Path("metrics.json").write_text(json.dumps({"history": history, "final": history[-1]}, indent=1))
    np.savez(
        "predictions.npz",
        row=ids[test],
        output=logits.numpy(),
        score=averaged(waiting["atoms"], waiting["bonds"]).numpy(),
    )


if __name__ == "__main__":
    main()
