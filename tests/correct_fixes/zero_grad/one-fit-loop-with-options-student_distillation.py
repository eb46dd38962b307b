# task: zero_grad-student_distillation-2
# mechanism: one-fit-loop-for-both-networks
# about: Both networks are trained by one fit function that takes objective, optimizer and schedule and zeroes before every backward;
# about: the teacher is trained with AdamW and a one-cycle rate, with logging and command-line options.

"""Teach a large network, then distil it into a small one."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from networks import Student, Teacher
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

log = logging.getLogger("distil")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--seed", type=int, default=21)
    parser.add_argument("--held-share", type=float, default=0.2)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--teacher-epochs", type=int, default=4)
    parser.add_argument("--student-epochs", type=int, default=9)
    parser.add_argument("--temperature", type=float, default=3.0)
    parser.add_argument("--label-share", type=float, default=0.2)
    return parser.parse_args()


def logits_of(network: nn.Module, x: Tensor) -> Tensor:
    network.eval()
    with torch.no_grad():
        return torch.cat([network(part) for part in x.split(500)])


def accuracy(logits: Tensor, activity: Tensor) -> float:
    return (logits.argmax(dim=1) == activity).float().mean().item()


def fit(
    network: nn.Module,
    dl: DataLoader,
    objective: Callable[..., Tensor],
    optimizer: torch.optim.Optimizer,
    epochs: int,
    after_step: Callable[[], None] = lambda: None,
    after_epoch: Callable[[], None] = lambda: None,
) -> Iterator[tuple[int, float]]:
    """Yields the number of each epoch and its mean loss."""
    for epoch in range(1, epochs + 1):
        network.train()
        losses = []
        for x, *known in dl:
            optimizer.zero_grad(set_to_none=True)
            loss = objective(network(x), *known)
            loss.backward()
            optimizer.step()
            after_step()
            losses.append(loss.item())
        after_epoch()
        yield epoch, sum(losses) / len(losses)


class DistillationLoss(nn.Module):
    def __init__(self, temperature: float, label_share: float) -> None:
        super().__init__()
        self.temperature, self.label_share = temperature, label_share

    def forward(self, logits: Tensor, activity: Tensor, teacher_logits: Tensor) -> Tensor:
        t = self.temperature
        soft = F.kl_div(
            F.log_softmax(logits / t, dim=1), F.softmax(teacher_logits / t, dim=1), reduction="batchmean"
        )
        return (1 - self.label_share) * t**2 * soft + self.label_share * F.cross_entropy(logits, activity)


def main(args: argparse.Namespace) -> None:
    torch.manual_seed(args.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with np.load("data/train.npz") as recorded:
        window, channels, activity = recorded["window"], recorded["channels"], torch.from_numpy(recorded["activity"])
    with np.load("data/score.npz") as recorded:
        unlabelled = recorded["channels"]

    order = np.random.default_rng(args.seed).permutation(len(window))
    num_held = int(len(window) * args.held_share)
    held_rows, train_rows = order[:num_held], order[num_held:]
    baseline = channels[train_rows].mean(axis=(0, 2), keepdims=True)
    gain = channels[train_rows].std(axis=(0, 2), keepdims=True)

    def prepared(values: np.ndarray) -> Tensor:
        return torch.from_numpy((values - baseline) / gain).to(device)

    x_train, x_held = prepared(channels[train_rows]), prepared(channels[held_rows])
    y_train, y_held = activity[train_rows].to(device), activity[held_rows].to(device)
    activities = int(y_train.max()) + 1

    def loader(*tensors: Tensor) -> DataLoader:
        return DataLoader(TensorDataset(*tensors), args.batch, shuffle=True, drop_last=True)

    teacher = Teacher(channels.shape[1], activities).to(device)
    dl = loader(x_train, y_train)
    optimizer = torch.optim.AdamW(teacher.parameters(), lr=8e-3, weight_decay=1e-3)
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=1e-2, epochs=args.teacher_epochs, steps_per_epoch=len(dl)
    )
    for epoch, teacher_loss in fit(teacher, dl, F.cross_entropy, optimizer, args.teacher_epochs, after_step=cycle.step):
        log.info("teacher; pass %d: %.3f", epoch, teacher_loss)
    teacher_accuracy = accuracy(logits_of(teacher, x_held), y_held)
    log.info("the teacher recognises %.1f%% of the windows held out", 100 * teacher_accuracy)

    student = Student(channels.shape[1], activities).to(device)
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=args.student_epochs)
    dl = loader(x_train, y_train, logits_of(teacher, x_train))
    objective = DistillationLoss(args.temperature, args.label_share)
    history = []
    for epoch, train_loss in fit(student, dl, objective, optimizer, args.student_epochs, after_epoch=scheduler.step):
        held_logits = logits_of(student, x_held)
        entry = {"epoch": epoch, "train_loss": train_loss, "held_out_accuracy": accuracy(held_logits, y_held)}
        history.append(entry)
        log.info("student; pass %(epoch)d: %(train_loss).3f; accuracy %(held_out_accuracy).3f", entry)

    final = {**history[-1], "teacher_loss": teacher_loss, "teacher_accuracy": teacher_accuracy}
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}, indent=2))
    np.savez(
        "predictions.npz",
        row=window[held_rows],
        output=held_logits.cpu().numpy(),
        score=logits_of(student, prepared(unlabelled)).cpu().numpy(),
    )


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main(parse())
# === file: networks.py ===
"""Model code."""

import torch.nn.functional as F
from torch import nn


class Teacher(nn.Module):
    """Teacher."""

    def __init__(self, channels, activities, width=24):
        super().__init__()
        self.inputs = nn.Sequential(
            nn.Conv1d(channels, width, kernel_size=9, stride=2, padding=4),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.Conv1d(width, 2 * width, kernel_size=5, stride=2, padding=2),
            nn.BatchNorm1d(2 * width),
            nn.ReLU(),
        )
        self.classify = nn.Linear(2 * width, activities)

    def forward(self, x):
        return self.classify(self.inputs(x).mean(dim=2))


class Student(nn.Module):
    """Student."""

    def __init__(self, channels, activities, width=10, p_drop=0.2):
        super().__init__()
        self.cnv1 = nn.Conv1d(
            channels,
            width,
            kernel_size=9,
            stride=2,
            padding=4,
            bias=False,
        )
        self.bn1 = nn.BatchNorm1d(width)
        self.cnv2 = nn.Conv1d(
            width,
            2 * width,
            kernel_size=3,
            stride=2,
            padding=1,
            bias=False,
        )
        self.bn2 = nn.BatchNorm1d(2 * width)
        self.drop = nn.Dropout(p_drop)
        self.classify = nn.Linear(2 * width, activities)

    def forward(self, x):
        x = F.relu(self.bn1(self.cnv1(x)))
        x = F.relu(self.bn2(self.cnv2(x)))

        return self.classify(self.drop(x.mean(dim=2)))
