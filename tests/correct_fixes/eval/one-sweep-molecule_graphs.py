# task: eval-molecule_graphs-3
# mechanism: one-sweep
# about: one function passes over batches and sets mode and gradients from whether it is given a step

"""Training script."""

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
    width: int = 24
    depth: int = 2
    dropout: float = 0.1
    epochs: int = 10
    batch_size: int = 32
    lr: float = 1.2e-2
    lr_drops: tuple = (6, 8)
    lr_factor: float = 0.3


def sweep(network, batches, target_device, step=None):
    learning = step is not None
    network.train(mode=learning)
    results = []
    with torch.set_grad_enabled(learning):
        for atoms, bonds, target in batches:
            logits = network(atoms.to(target_device), bonds.to(target_device))
            results.append(step(logits, target.to(target_device)) if learning else logits)
    return results


def make_step(loss_function, optimiser):
    def step(logits, target):
        cost = loss_function(logits, target)
        optimiser.zero_grad(set_to_none=True)
        cost.backward()
        optimiser.step()
        return cost.detach()

    return step


def portions(molecules, size=500):
    return [molecules[lo : lo + size] for lo in range(0, len(molecules), size)]


def logits_of(network, molecules, target_device):
    return torch.cat(sweep(network, portions(molecules), target_device)).cpu()


def run_job(options):
    torch.manual_seed(options.random_seed)
    target_device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    labelled = read("data/train.npz")
    waiting = read("data/score.npz")
    molecule_ids, atoms, bonds = labelled["molecule"], labelled["atoms"], labelled["bonds"]
    y_true = labelled["family"]

    perm = np.random.default_rng(options.random_seed).permutation(len(molecule_ids))
    test_n = int(options.test_share * len(perm))
    check, one_epoch = perm[:test_n], perm[test_n:]

    center = atoms[one_epoch].mean(axis=(0, 1))
    spread = atoms[one_epoch].std(axis=(0, 1))
    ds_train = Molecules((atoms[one_epoch] - center) / spread, bonds[one_epoch], y_true[one_epoch])
    ds_test = Molecules((atoms[check] - center) / spread, bonds[check], y_true[check])
    waiting_ds = Molecules((waiting["atoms"] - center) / spread, waiting["bonds"])

    n_families = int(y_true[one_epoch].max()) + 1
    network = MessagePassingNetwork(
        atoms.shape[-1],
        n_families,
        options.width,
        options.depth,
        options.dropout,
    )
    network.to(target_device)
    print(
        f"{sum(p.numel() for p in network.parameters())} parameters on {target_device}, "
        f"{len(ds_train)} molecules",
    )

    drawn = BatchSampler(RandomSampler(ds_train), options.batch_size, drop_last=False)
    batches = DataLoader(ds_train, sampler=drawn, batch_size=None)
    loss_function = nn.CrossEntropyLoss(reduction="mean")
    optimiser = torch.optim.Adam(network.parameters(), lr=options.lr, eps=1e-8)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, options.lr_drops, gamma=options.lr_factor)

    step = make_step(loss_function, optimiser)

    history = []
    for epoch in range(1, options.epochs + 1):
        step_losses = sweep(network, batches, target_device, step)
        train_loss = torch.stack(step_losses).mean().item()
        schedule.step()
        logits_test = logits_of(network, ds_test, target_device)
        test_loss = loss_function(logits_test, ds_test.labels).item()
        hits = (logits_test.argmax(dim=1) == ds_test.labels).float().mean().item()
        history.append(dict(epoch=epoch, train_loss=train_loss, test_loss=test_loss, hits=hits))
        print(f"{epoch:3d}  loss {train_loss:.3f}  on test molecules {test_loss:.3f}, {hits:.1%} right")

    with Path("metrics.json").open("w") as f:
        json.dump(dict(history=history, final=history[-1]), f, indent=1)
    np.savez(
        "predictions.npz",
        row=molecule_ids[check],
        output=logits_test.numpy(),
        score=logits_of(network, waiting_ds, target_device).numpy(),
    )


if __name__ == "__main__":
    run_job(Options())
