"""Three small complete scripts that the examples of manifestations start from, and a way to change a line."""

from __future__ import annotations

from .base import Example

CLASSIFIER = """\
import torch
from torch import nn

device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
x = torch.randn(100, 8)
y = torch.randint(0, 3, (100,))
model = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3)).to(device)
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for epoch in range(5):
    model.train()
    order = torch.randperm(100)
    for i in range(0, 100, 16):
        pick = order[i : i + 16]
        xb, yb = x[pick].to(device), y[pick].to(device)
        optimizer.zero_grad()
        logits = model(xb)
        loss = criterion(logits, yb)
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        accuracy = (model(x.to(device)).argmax(dim=1).cpu().numpy() == y.numpy()).mean()
    print(f"epoch {epoch}: accuracy {accuracy:.3f}")
"""
"""Slices over a permutation, an in-place Sequential, cross entropy, Adam."""

IMAGES = """\
import torch
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4 * 6 * 6, 10)

    def forward(self, x):
        x = torch.relu(self.norm(self.conv(x)))
        x = torch.flatten(x, 1)
        return self.fc(x)


device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
pixels, labels = torch.rand(100, 8, 8), torch.randint(0, 10, (100,))
train_set = torch.utils.data.TensorDataset(pixels.unsqueeze(1), labels)
loader = torch.utils.data.DataLoader(train_set, batch_size=32, shuffle=True)
model = Net()
model.to(device)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
for epoch in range(5):
    for images, targets in loader:
        images = images.to(device)
        targets = targets.to(device)
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), targets)
        loss.backward()
        optimizer.step()
    print(f"epoch {epoch}: loss {loss.item():.4f}")
"""
"""A module class with a convolution, a DataLoader, functional cross entropy, SGD."""

SEQUENCES = """\
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, n_inputs, hidden=16):
        super().__init__()
        self.hidden = hidden
        self.register_buffer("offset", torch.zeros(n_inputs))
        self.rnn = nn.GRU(n_inputs, hidden, batch_first=True)
        self.head = nn.Linear(hidden, 1)

    def forward(self, x):
        h0 = torch.zeros(1, x.size(0), self.hidden, device=x.device)
        out, _ = self.rnn(x - self.offset, h0)
        pooled = out.mean(dim=1)
        return self.head(pooled).squeeze(-1)


device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
batch_size = 16
x, y = torch.randn(100, 12, 5).to(device), torch.randn(100).to(device)
model = Net(x.shape[2]).to(device)
criterion = nn.MSELoss()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.5)
for epoch in range(5):
    for i in range(0, 100, batch_size):
        xb, yb = x[i : i + batch_size], y[i : i + batch_size]
        optimizer.zero_grad()
        loss = criterion(model(xb), yb)
        loss.backward()
        optimizer.step()
    scheduler.step()
    print(f"epoch {epoch}: loss {loss.item():.4f}")
"""
"""A recurrent regression with an explicit first state, a schedule and a squeezed output."""


def example(before: str, *changes: tuple[str, str], choice: int = 0) -> Example:
    """An example whose `after` is `before` with some pieces of text replaced, each of which occurs once.

    Raises:
        ValueError: a piece does not occur exactly once.
    """
    after = before
    for old, new in changes:
        if after.count(old) != 1:
            raise ValueError(f"the example must contain {old!r} once, it does {after.count(old)} times")
        after = after.replace(old, new)
    return Example(before, after, choice)
