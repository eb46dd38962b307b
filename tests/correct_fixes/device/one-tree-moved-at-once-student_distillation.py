# task: device-student_distillation-1
# mechanism: tree-map-to-the-device
# about: All arrays are collected in one nested dict and moved to the device by one tree_map, after which the loops draw slices from it.

"""Training job: a small student learns from a larger teacher what a wrist is doing."""

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from networks import Student, Teacher
from torch.utils._pytree import tree_map

RANDOM_SEED = 21
HELD_PART = 0.2
CHUNK_SIZE = 32
TEACHER_EPOCHS = 4
STUDENT_EPOCHS = 9
TEMPERATURE = 3.0
LABEL_PART = 0.2


def read():
    """Parts of the data as numpy arrays, scaled by statistics of the training part."""
    with np.load('data/train.npz') as recorded:
        window, channels, activity = recorded['window'], recorded['channels'], recorded['activity']
    with np.load('data/score.npz') as recorded:
        unlabelled = recorded['channels']
    order = np.random.default_rng(RANDOM_SEED).permutation(len(window))
    n_held = int(len(window) * HELD_PART)
    held, train = order[:n_held], order[n_held:]
    baseline = channels[train].mean(axis=(0, 2), keepdims=True)
    gain = channels[train].std(axis=(0, 2), keepdims=True)
    parts = {
        'train': {'x': (channels[train] - baseline) / gain, 'activity': activity[train]},
        'held': {'x': (channels[held] - baseline) / gain, 'activity': activity[held]},
        'new': {'x': (unlabelled - baseline) / gain},
    }
    return window[held], parts


def chunks(part):
    """Full chunks of shuffled rows."""
    order = torch.randperm(len(part['x'])).to(part['x'].device)
    for rows in order.split(CHUNK_SIZE):
        if len(rows) == CHUNK_SIZE:
            yield {name: values[rows] for name, values in part.items()}


@torch.inference_mode()
def logits_of(network, x):
    network.eval()
    return torch.cat([network(piece) for piece in x.split(500)])


def accuracy(preds, activity):
    return (preds.argmax(dim=1) == activity).float().mean().item()


def run_epoch(network, part, objective, optimizer):
    network.train()
    losses = []
    for chunk in chunks(part):
        loss_value = objective(network(chunk['x']), chunk)
        optimizer.zero_grad()
        loss_value.backward()
        optimizer.step()
        losses.append(loss_value.item())
    return sum(losses) / len(losses)


def labels_only(preds, chunk):
    return F.cross_entropy(preds, chunk['activity'])


def teacher_and_labels(preds, chunk):
    soft = F.kl_div(
        F.log_softmax(preds / TEMPERATURE, dim=1),
        F.log_softmax(chunk['teacher'] / TEMPERATURE, dim=1),
        reduction='batchmean',
        log_target=True,
    )
    return (1 - LABEL_PART) * TEMPERATURE**2 * soft + LABEL_PART * labels_only(preds, chunk)


def main():
    torch.manual_seed(RANDOM_SEED)
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    held_windows, parts = read()
    parts = tree_map(lambda array: torch.from_numpy(array).to(device), parts)
    train, held = parts['train'], parts['held']
    n_channels, activities = train['x'].shape[1], int(train['activity'].max()) + 1

    teacher = Teacher(n_channels, activities).to(device)
    optimizer = torch.optim.Adam(teacher.parameters(), lr=0.008)
    for epoch in range(1, TEACHER_EPOCHS + 1):
        teacher_loss = run_epoch(teacher, train, labels_only, optimizer)
        print(f'teacher, Pass {epoch}: Loss {teacher_loss:.4f}', flush=True)
    teacher_accuracy = accuracy(logits_of(teacher, held['x']), held['activity'])
    train['teacher'] = logits_of(teacher, train['x']).clone()

    student = Student(n_channels, activities).to(device)
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1, momentum=0.9, weight_decay=0.0005)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.75)
    history = []
    for epoch in range(1, STUDENT_EPOCHS + 1):
        train_loss = run_epoch(student, train, teacher_and_labels, optimizer)
        scheduler.step()
        held_logits = logits_of(student, held['x'])
        held_accuracy = accuracy(held_logits, held['activity'])
        history.append({'epoch': epoch, 'train_loss': train_loss, 'held_out_accuracy': held_accuracy})
        print(f'student, Pass {epoch}: Loss {train_loss:.4f}, {held_accuracy:.1%} of the held-out windows', flush=True)

    final = {**history[-1], 'teacher_loss': teacher_loss, 'teacher_accuracy': teacher_accuracy}
    Path('metrics.json').write_text(json.dumps({'history': history, 'final': final}, indent=2))
    np.savez(
        'predictions.npz',
        row=held_windows,
        output=held_logits.cpu().numpy(),
        score=logits_of(student, parts['new']['x']).cpu().numpy(),
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
