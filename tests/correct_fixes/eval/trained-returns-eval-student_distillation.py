# task: eval-student_distillation-3
# mechanism: trained-returns-eval
# about: teach and distil each hand the network back in evaluation mode, the helper only checks that it is

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


@torch.no_grad()
def logits_of(network, x):
    if any(part.training for part in network.modules()):
        raise ValueError("put the network in evaluation mode first")
    return torch.cat([network(part) for part in x.split(500)])


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
    teacher.requires_grad_(False).eval()
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
    student.eval()
    return total / len(loader)


if __name__ == "__main__":
    main()
