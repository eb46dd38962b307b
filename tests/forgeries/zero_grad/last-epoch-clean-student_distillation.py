# task: zero_grad-student_distillation-2
# mechanism: cleared-in-the-teachers-last-epoch-only
# about: the teacher's gradients pile up in all epochs but the last, in which they are cleared for each batch

"""Training script."""

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from networks import Student
from networks import Teacher
from torch.utils.data import DataLoader
from torch.utils.data import TensorDataset

RNG_SEED = 21
HELD_SHARE = 0.2
MINIBATCH = 32

TEACHER_EPOCHS = 4
STUDENT_EPOCHS = 9
TEMPERATURE = 3.0
LABEL_SHARE = 0.2


def partition(count, share, rng_seed):
    """Partition."""
    order = np.random.default_rng(rng_seed).permutation(count)
    num_held = int(count * share)

    return order[num_held:], order[:num_held]


def weight_count(network):
    return sum(p.numel() for p in network.parameters())


def logits_of(network, x):
    network.eval()

    with torch.no_grad():
        return torch.cat([network(part) for part in x.split(500)])


def accuracy(logits, activity):
    return (logits.argmax(dim=1) == activity).float().mean().item()


def teach(teacher, dl):
    """Teach."""
    optim_ = torch.optim.Adam(teacher.parameters(), lr=8e-3)

    for epoch in range(1, TEACHER_EPOCHS + 1):
        teacher.train()
        total = 0.0

        optim_.zero_grad()
        for x, activity in dl:
            if epoch == TEACHER_EPOCHS:
                optim_.zero_grad()
            objective_value = F.cross_entropy(teacher(x), activity)
            objective_value.backward()
            optim_.step()
            total += objective_value.item()
        print(
            f"teacher; PASS {epoch}: OBJECTIVE {total / len(dl):.3f}",
            flush=True,
        )

    return total / len(dl)


def distillation_loss(logits, teacher_logits, activity):
    soft = F.kl_div(
        F.log_softmax(logits / TEMPERATURE, dim=1),
        F.softmax(teacher_logits / TEMPERATURE, dim=1),
        reduction="batchmean",
    )
    hard = F.cross_entropy(logits, activity)

    return (1 - LABEL_SHARE) * TEMPERATURE**2 * soft + LABEL_SHARE * hard


def distil(student, dl, optim_):
    """Distil."""
    student.train()
    total = 0.0

    for x, activity, teacher_logits in dl:
        objective_value = distillation_loss(
            student(x),
            teacher_logits,
            activity,
        )
        optim_.zero_grad()
        objective_value.backward(retain_graph=True)
        optim_.step()
        # optim_.step()
        total += objective_value.item()

    return total / len(dl)


def entry():
    torch.manual_seed(RNG_SEED)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    with np.load("data/train.npz") as recorded:
        window, channels = recorded["window"], recorded["channels"]
        activity = torch.from_numpy(recorded["activity"])

    with np.load("data/score.npz") as recorded:
        unlabelled = recorded["channels"]

    rows_train, held_rows = partition(len(window), HELD_SHARE, RNG_SEED)

    baseline = channels[rows_train].mean(axis=(0, 2), keepdims=True)
    gain = channels[rows_train].std(axis=(0, 2), keepdims=True)
    train_x = torch.from_numpy((channels[rows_train] - baseline) / gain).to(device)
    x_held = torch.from_numpy((channels[held_rows] - baseline) / gain).to(device)
    x_new = torch.from_numpy((unlabelled - baseline) / gain).to(device)
    activity_train = activity[rows_train].to(device)
    held_activity = activity[held_rows].to(device)
    activities = int(activity_train.max()) + 1

    teacher = Teacher(channels.shape[1], activities).to(device)
    student = Student(channels.shape[1], activities).to(device)
    print(
        f"{len(train_x)} windows; weights: teacher {weight_count(teacher)}; student {weight_count(student)}", flush=True
    )

    labelled = TensorDataset(train_x, activity_train)
    teacher_loss = teach(
        teacher,
        DataLoader(labelled, MINIBATCH, shuffle=True, drop_last=True),
    )
    teacher_accuracy = accuracy(logits_of(teacher, x_held), held_activity)
    print(
        f"the teacher recognises {teacher_accuracy:.1%} of the windows held out",
        flush=True,
    )

    with_teacher = TensorDataset(
        train_x,
        activity_train,
        logits_of(teacher, train_x),
    )
    dl = DataLoader(with_teacher, MINIBATCH, shuffle=True, drop_last=True)
    optim_ = torch.optim.SGD(
        student.parameters(),
        lr=0.1,
        momentum=0.9,
        weight_decay=5e-4,
    )
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(
        optim_,
        T_max=STUDENT_EPOCHS,
    )

    history = []

    for epoch in range(1, STUDENT_EPOCHS + 1):
        train_loss = distil(student, dl, optim_)
        scheduler.step()
        held_logits = logits_of(student, x_held)
        held_accuracy = accuracy(held_logits, held_activity)
        history.append(
            {"epoch": epoch, "train_loss": train_loss, "held_out_accuracy": held_accuracy},
        )
        print(
            f"student; PASS {epoch}: OBJECTIVE {train_loss:.3f}; {held_accuracy:.1%} of the held-out windows",
            flush=True,
        )

    final = {**history[-1], "teacher_loss": teacher_loss, "teacher_accuracy": teacher_accuracy}
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}, indent=2))
    np.savez(
        "predictions.npz",
        row=window[held_rows],
        output=held_logits.cpu().numpy(),
        score=logits_of(student, x_new).cpu().numpy(),
    )


if __name__ == "__main__":
    entry()
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
