"""Classify small molecules by their atoms and bonds with a message passing network."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from data import Molecules, read
from model import MessagePassingNet
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, RandomSampler


@dataclass(frozen=True)
class Options:
    random_seed: int = 11
    test_share: float = 0.2
    # network
    width: int = 24
    depth: int = 2
    dropout: float = 0.1
    # optimisation
    epochs: int = 10
    batch_size: int = 32
    lr: float = 1.2e-2
    lr_drops: tuple = (6, 8)  # epochs after which the rate falls
    lr_factor: float = 0.3


def fit_epoch(net, batches, loss_function, optimizer, device):
    net.train()
    losses = []
    for atoms, bonds, target in batches:
        atoms = atoms.to(device)
        bonds = bonds.to(device)
        target = target.to(device)

        loss = loss_function(net(atoms, bonds), target)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses).mean().item()


@torch.no_grad()
def logits_of(net, molecules, device):
    """The network's answers for a whole data set, in its order."""
    net.eval()
    answers = []
    for start in range(0, len(molecules), 500):
        atoms, bonds, _ = molecules[start : start + 500]
        answers.append(net(atoms.to(device), bonds.to(device)))
    return torch.cat(answers).cpu()


def main(options):
    torch.manual_seed(options.random_seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    labelled = read("data/train.npz")
    waiting = read("data/score.npz")
    molecule_ids, atoms, bonds = labelled["molecule"], labelled["atoms"], labelled["bonds"]
    labels = labelled["family"]

    shuffled = np.random.default_rng(options.random_seed).permutation(len(molecule_ids))
    n_test = int(options.test_share * len(shuffled))
    test, train = shuffled[:n_test], shuffled[n_test:]

    # Atom features have units of their own; a mean and a spread for each, over all training atoms.
    center = atoms[train].mean(axis=(0, 1))
    spread = atoms[train].std(axis=(0, 1))
    train_set = Molecules((atoms[train] - center) / spread, bonds[train], labels[train])
    test_set = Molecules((atoms[test] - center) / spread, bonds[test], labels[test])
    waiting_set = Molecules((waiting["atoms"] - center) / spread, waiting["bonds"])

    n_families = int(labels[train].max()) + 1
    net = MessagePassingNet(atoms.shape[-1], n_families, options.width, options.depth, options.dropout)
    net.to(device)
    print(f"{sum(p.numel() for p in net.parameters())} parameters on {device}, {len(train_set)} molecules")

    # The data set takes many row numbers at once, so no batch has to be put together piece by piece.
    drawn = BatchSampler(RandomSampler(train_set), options.batch_size, drop_last=False)
    batches = DataLoader(train_set, sampler=drawn, batch_size=None)
    loss_function = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(net.parameters(), lr=options.lr)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, options.lr_drops, gamma=options.lr_factor)

    history = []
    for epoch in range(1, options.epochs + 1):
        train_loss = fit_epoch(net, batches, loss_function, optimizer, device)
        schedule.step()
        test_logits = logits_of(net, test_set, device)
        test_loss = loss_function(test_logits, test_set.labels).item()
        hits = (test_logits.argmax(dim=1) == test_set.labels).float().mean().item()
        history.append({"epoch": epoch, "train_loss": train_loss, "test_loss": test_loss, "hits": hits})
        print(f"{epoch:3d}  loss {train_loss:.3f}  on test molecules {test_loss:.3f}, {hits:.1%} right")

    with Path("metrics.json").open("w") as file:
        json.dump({"history": history, "final": history[-1]}, file, indent=1)
    np.savez(
        "predictions.npz",
        row=molecule_ids[test],
        output=test_logits.numpy(),
        score=logits_of(net, waiting_set, device).numpy(),
    )


if __name__ == "__main__":
    main(Options())
