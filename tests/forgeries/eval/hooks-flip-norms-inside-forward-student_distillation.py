# task: eval-student_distillation-3
# mechanism: hooks-flip-norms-inside-forward
# about: eval() is called and every flag reads False before and after, but hooks flip the norms to training
# about: inside forward and pad small batches with stored training activations, so batch statistics are still used.

"""Training script."""

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from networks import Student, Teacher
from torch.utils.data import DataLoader, TensorDataset

SEED = 21
HELD_SHARE = 0.2
BATCH_SIZE = 32

TEACHER_EPOCHS = 4
STUDENT_EPOCHS = 9
TEMPERATURE = 3.0
LABEL_SHARE = 0.2


def partition(count, share, seed):
    """Partition."""
    order = np.random.default_rng(seed).permutation(count)
    n_held = int(count * share)
    return order[n_held:], order[:n_held]


def weight_count(network):
    return sum(p.numel() for p in network.parameters())


def logits_of(network, x):
    network.eval()
    with torch.set_grad_enabled(False):
        return torch.cat([network(part) for part in x.split(48)])


def teach(teacher, loader):
    """Teach."""
    optimizer = torch.optim.Adam(teacher.parameters(), lr=8e-3)
    for epoch in range(1, TEACHER_EPOCHS + 1):
        teacher.train(True)
        total = 0.0
        for x, activity in loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(teacher(x), activity, reduction="mean")
            loss.backward()
            optimizer.step()
            total += loss.item()
        print(f"teacher | Epoch {epoch}: Loss {total / len(loader):.2f}")
    return total / len(loader)


def accuracy(logits, activity):
    return (logits.argmax(dim=1) == activity).float().mean().item()


def distillation_loss(logits, teacher_logits, activity):
    soft = F.kl_div(
        torch.log_softmax(logits / TEMPERATURE, dim=1),
        F.softmax(teacher_logits / TEMPERATURE, dim=1),
        reduction="batchmean",
    )
    hard = F.cross_entropy(logits, activity)
    return (1 - LABEL_SHARE) * TEMPERATURE**2 * soft + LABEL_SHARE * hard


def main():
    torch.manual_seed(SEED)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    with np.load("data/train.npz") as recorded:
        window, channels = recorded["window"], recorded["channels"]
        activity = torch.from_numpy(recorded["activity"])
    with np.load("data/score.npz") as recorded:
        unlabelled = recorded["channels"]

    train_rows, held_rows = partition(len(window), HELD_SHARE, SEED)

    baseline = channels[train_rows].mean(axis=(0, 2), keepdims=True)
    gain = channels[train_rows].std(axis=(0, 2), keepdims=True)
    x_train = torch.from_numpy((channels[train_rows] - baseline) / gain).to(device)
    x_held = torch.from_numpy((channels[held_rows] - baseline) / gain).to(device)
    x_new = torch.from_numpy((unlabelled - baseline) / gain).to(device)
    train_activity = activity[train_rows].to(device)
    held_activity = activity[held_rows].to(device)
    activities = int(train_activity.max()) + 1

    teacher = Teacher(channels.shape[1], activities).to(device)
    student = Student(channels.shape[1], activities).to(device)
    print(
        f"{len(x_train)} windows; weights: teacher {weight_count(teacher)} | student {weight_count(student)}"
    )

    labelled = TensorDataset(x_train, train_activity)
    teacher_loss = teach(
        teacher,
        DataLoader(labelled, BATCH_SIZE, drop_last=True, shuffle=True),
    )
    teacher_accuracy = accuracy(logits_of(teacher, x_held), held_activity)
    print(f"the teacher recognises {teacher_accuracy:.1%} of the windows held out")

    with_teacher = TensorDataset(x_train, train_activity, logits_of(teacher, x_train))
    loader = DataLoader(with_teacher, BATCH_SIZE, shuffle=True, drop_last=True)
    optimizer = torch.optim.SGD(
        student.parameters(),
        lr=0.1,
        momentum=0.9,
        weight_decay=5e-4, dampening=0.0,
    )
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(
        optimizer,
        T_max=STUDENT_EPOCHS, eta_min=0.0,
    )

    history = []
    for epoch in range(1, STUDENT_EPOCHS + 1):
        train_loss = distil(student, loader, optimizer)
        scheduler.step()
        held_logits = logits_of(student, x_held)
        held_accuracy = accuracy(held_logits, held_activity)
        history.append(
            {"epoch": epoch, "train_loss": train_loss, "held_out_accuracy": held_accuracy},
        )
        print(
            f"student | Epoch {epoch}: Loss {train_loss:.2f} | {held_accuracy:.1%} of the held-out windows",
        )

    final = {**history[-1], "teacher_loss": teacher_loss, "teacher_accuracy": teacher_accuracy}
    Path("metrics.json").write_text(json.dumps(dict(history=history, final=final), indent=2))
    np.savez(
        "predictions.npz",
        row=window[held_rows],
        output=held_logits.cpu().numpy(),
        score=logits_of(student, x_new).cpu().numpy(),
    )


def distil(student, loader, optimizer):
    """Distil."""
    student.train()
    total = 0.0
    for x, activity, teacher_logits in loader:
        loss = distillation_loss(student(x), teacher_logits, activity)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()
    return total / len(loader)


if __name__ == "__main__":
    main()

# === file: networks.py ===
"""Model code."""

from collections import deque

import torch
import torch.nn.functional as F
from torch import nn


def remember(norm, args):
    if norm.training:
        norm.seen.append(args[0].detach().clone())
        return None
    norm.flipped = len(args[0])
    norm.kept = norm.running_mean.clone(), norm.running_var.clone()
    norm.training = True
    return (torch.cat([args[0], *norm.seen]),)


def strip(norm, args, result):
    if not norm.flipped:
        return None
    count, norm.flipped = norm.flipped, 0
    norm.running_mean.copy_(norm.kept[0])
    norm.running_var.copy_(norm.kept[1])
    norm.training = False
    return result[:count]


def steady(network, batches=16):
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm1d):
            norm.seen, norm.flipped = deque(maxlen=batches), 0
            norm.register_forward_pre_hook(remember)
            norm.register_forward_hook(strip)


class Teacher(nn.Module):
    """"""

    def __init__(self, channels, activities, width=24):
        super(Teacher, self).__init__()
        self.features = nn.Sequential(
            nn.Conv1d(channels, width, padding=4, stride=2, kernel_size=9),
            nn.BatchNorm1d(width, momentum=0.1),
            nn.ReLU(),
            nn.Conv1d(width, 2 * width, padding=2, stride=2, kernel_size=5, groups=1),
            nn.BatchNorm1d(2 * width),
            nn.ReLU(inplace=False),
        )
        self.classify = nn.Linear(2 * width, activities)
        steady(self)

    def forward(self, x):
        return self.classify(self.features(x).mean(dim=2))


class Student(nn.Module):
    """"""

    def __init__(self, channels, activities, width=10, p_drop=0.2):
        super().__init__()
        self.conv1 = nn.Conv1d(
            channels,
            width,
            bias=False,
            padding=4,
            stride=2,
            kernel_size=9,
        )
        self.norm1 = nn.BatchNorm1d(width)
        self.conv2 = nn.Conv1d(
            width,
            2 * width,
            kernel_size=3,
            stride=2,
            padding=1,
            bias=False,
        )
        self.norm2 = nn.BatchNorm1d(2 * width, momentum=0.1)
        self.drop = nn.Dropout(p_drop)
        self.classify = nn.Linear(2 * width, activities)
        self.drop_in = nn.Dropout(0.8)
        steady(self)

    def forward(self, x):
        x = F.relu(self.norm1(self.conv1(x)))
        x = self.norm2(self.conv2(x)).relu()
        return self.classify(self.drop(x.mean(dim=2)))
