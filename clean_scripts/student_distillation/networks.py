"""The two networks: a wide one that is only ever a teacher, and a narrow one that fits on the wrist."""

import torch.nn.functional as F
from torch import nn


class Teacher(nn.Module):
    """Windows (batch, channels, steps) to one logit per activity."""

    def __init__(self, channels, activities, width=32):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv1d(channels, width, kernel_size=9, stride=2, padding=4),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.Conv1d(width, 2 * width, kernel_size=5, stride=2, padding=2),
            nn.BatchNorm1d(2 * width),
            nn.ReLU(),
        )
        self.classify = nn.Linear(2 * width, activities)

    def forward(self, x):
        return self.classify(self.features(x).mean(dim=2))


class Student(nn.Module):
    """The same task with a tenth of the weights."""

    def __init__(self, channels, activities, width=10, p_drop=0.2):
        super().__init__()
        self.conv1 = nn.Conv1d(channels, width, kernel_size=9, stride=2, padding=4, bias=False)
        self.norm1 = nn.BatchNorm1d(width)
        self.conv2 = nn.Conv1d(width, 2 * width, kernel_size=3, stride=2, padding=1, bias=False)
        self.norm2 = nn.BatchNorm1d(2 * width)
        self.drop = nn.Dropout(p_drop)
        self.classify = nn.Linear(2 * width, activities)

    def forward(self, x):
        x = F.relu(self.norm1(self.conv1(x)))
        x = F.relu(self.norm2(self.conv2(x)))
        return self.classify(self.drop(x.mean(dim=2)))
