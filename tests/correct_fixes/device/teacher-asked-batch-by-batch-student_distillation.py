# task: device-student_distillation-1
# mechanism: teacher-asked-batch-by-batch
# about: Windows stay on the host and are moved batch by batch in both loops; the teacher, in eval mode, is asked for its logits
# about: within the distilling loop, so no table of its logits over the whole training set is needed.

"""Training job."""

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from networks import Student
from networks import Teacher
from torch.utils.data import DataLoader, TensorDataset

RANDOM_SEED = 21
HELD_PART = 0.2
CHUNK_SIZE = 32

TEACHER_EPOCHS = 4
STUDENT_EPOCHS = 9
TEMPERATURE = 3.0
LABEL_PART = 0.2


def partition(count, share, random_seed):
    """Partition."""
    order = np.random.default_rng(random_seed).permutation(count)
    n_held = int(count * share)
    return order[n_held:], order[:n_held]


def weight_count(network):
    return sum(p.numel() for p in network.parameters())


def logits_of(network, x):
    network.eval()
    with torch.no_grad():
        return torch.cat([network(part) for part in x.split(500)])


def share_correct(preds, activity):
    return (preds.argmax(dim=1) == activity).float().mean().item()


def teach(teacher, batches, device):
    """Teach. Arguments: teacher, batches, device."""
    optimizer = torch.optim.Adam(teacher.parameters(), lr=0.008)
    for epoch in range(1, TEACHER_EPOCHS + 1):
        teacher.train()
        total = 0.0
        for x, activity in batches:
            x, activity = x.to(device), activity.to(device)
            optimizer.zero_grad()
            loss_value = F.cross_entropy(teacher(x), activity)
            loss_value.backward()
            optimizer.step()
            total += loss_value.item()
        print(f'teacher, Pass {epoch}: Loss {total / len(batches):.4f}', flush=True)
    return total / len(batches)


def distillation_objective(preds, teacher_logits, activity):
    """Distillation objective."""
    soft = F.kl_div(
        F.log_softmax(preds / TEMPERATURE, dim=1),
        F.softmax(teacher_logits / TEMPERATURE, dim=1),
        reduction='batchmean',
    )
    hard = F.cross_entropy(preds, activity)
    return (1 - LABEL_PART) * TEMPERATURE**2 * soft + LABEL_PART * hard


def distil(student, teacher, batches, optimizer, device):
    """Distil."""
    student.train()
    teacher.eval()
    total = 0.0
    for x, activity in batches:
        x, activity = x.to(device), activity.to(device)
        with torch.no_grad():
            teacher_logits = teacher(x)
        loss_value = distillation_objective(student(x), teacher_logits, activity)
        optimizer.zero_grad()
        loss_value.backward()
        optimizer.step()
        total += loss_value.item()
    return total / len(batches)


def main():
    torch.manual_seed(RANDOM_SEED)
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')

    with np.load('data/train.npz') as recorded:
        window, channels = recorded['window'], recorded['channels']
        activity = torch.from_numpy(recorded['activity'])
    with np.load('data/score.npz') as recorded:
        unlabelled = recorded['channels']

    idx_train, held_idx = partition(len(window), HELD_PART, RANDOM_SEED)

    baseline = channels[idx_train].mean(axis=(0, 2), keepdims=True)
    gain = channels[idx_train].std(axis=(0, 2), keepdims=True)
    train_x = torch.from_numpy((channels[idx_train] - baseline) / gain)
    x_held = torch.from_numpy((channels[held_idx] - baseline) / gain).to(device)
    x_new = torch.from_numpy((unlabelled - baseline) / gain).to(device)
    activity_train = activity[idx_train]
    held_activity = activity[held_idx].to(device)
    activities = int(activity_train.max()) + 1

    teacher = Teacher(channels.shape[1], activities).to(device)
    student = Student(channels.shape[1], activities).to(device)
    print(
        f'{len(train_x)} windows; weights: teacher {weight_count(teacher)}, student {weight_count(student)}', flush=True
    )

    labelled = TensorDataset(train_x, activity_train)
    batches = DataLoader(labelled, CHUNK_SIZE, shuffle=True, drop_last=True)
    teacher_loss = teach(teacher, batches, device)
    teacher_accuracy = share_correct(logits_of(teacher, x_held), held_activity)
    print(
        f'the teacher recognises {teacher_accuracy:.1%} of the windows held out',
        flush=True
    )

    optimizer = torch.optim.SGD(
        student.parameters(),
        lr=0.1,
        momentum=0.9,
        weight_decay=0.0005
    )
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.75)

    history = []
    for epoch in range(1, STUDENT_EPOCHS + 1):
        train_loss = distil(student, teacher, batches, optimizer, device)
        scheduler.step()
        held_logits = logits_of(student, x_held)
        held_accuracy = share_correct(held_logits, held_activity)
        history.append(
            {'epoch': epoch, 'train_loss': train_loss, 'held_out_accuracy': held_accuracy}
        )
        print(
            f'student, Pass {epoch}: Loss {train_loss:.4f}, {held_accuracy:.1%} of the held-out windows',
            flush=True
        )

    final = {**history[-1], 'teacher_loss': teacher_loss, 'teacher_accuracy': teacher_accuracy}
    Path('metrics.json').write_text(json.dumps({'history': history, 'final': final}, indent=2))
    np.savez(
        'predictions.npz',
        row=window[held_idx],
        output=held_logits.cpu().numpy(),
        score=logits_of(student, x_new).cpu().numpy(),
    )


if __name__ == '__main__':
    main()
# === file: networks.py ===
"""Model code."""

import torch.nn.functional as F
from torch import nn


class Teacher(nn.Module):
    """Teacher class."""

    def __init__(self, channels, activities, base=32):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv1d(channels, base, kernel_size=9, stride=2, padding=4),
            nn.BatchNorm1d(base),
            nn.ReLU(),
            nn.Conv1d(base, 2 * base, kernel_size=5, stride=2, padding=2),
            nn.BatchNorm1d(2 * base),
            nn.ReLU(),
        )
        self.classify = nn.Linear(2 * base, activities)

    def forward(self, x):
        return self.classify(self.features(x).mean(dim=2))


class Student(nn.Module):
    """Student class."""

    def __init__(self, channels, activities, base=10, p_drop=0.2):
        super().__init__()
        self.convolution1 = nn.Conv1d(
            channels,
            base,
            kernel_size=9,
            stride=2,
            padding=4,
            bias=False
        )
        self.bnorm1 = nn.BatchNorm1d(base)
        self.convolution2 = nn.Conv1d(
            base,
            2 * base,
            kernel_size=3,
            stride=2,
            padding=1,
            bias=False
        )
        self.bnorm2 = nn.BatchNorm1d(2 * base)
        self.drop = nn.Dropout(p_drop)
        self.classify = nn.Linear(2 * base, activities)

    def forward(self, x):
        x = F.relu(self.bnorm1(self.convolution1(x)))
        x = F.relu(self.bnorm2(self.convolution2(x)))
        return self.classify(self.drop(x.mean(dim=2)))
