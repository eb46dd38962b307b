"""Small training loops that the examples of gradients not zeroed start from."""

from __future__ import annotations

HEAD = """\
import torch
from torch import nn
import torch.nn.functional as F

model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
"""

LOADER = """
for epoch in range(10):
    for x, y in loader:
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
    print(epoch, loss.item())
"""

GAN = """\
import torch
from torch import nn


def train(generator, critic, batches, noise):
    opt_g = torch.optim.Adam(generator.parameters(), lr=1e-3)
    opt_c = torch.optim.Adam(critic.parameters(), lr=1e-3)
    for real in batches:
        fake = generator(noise(len(real)))
        opt_c.zero_grad()
        (critic(fake.detach()).mean() - critic(real).mean()).backward()
        opt_c.step()

        opt_g.zero_grad()
        (-critic(fake).mean()).backward()
        opt_g.step()
"""

ONCE_BEFORE = """
for epoch in range(10):
    optimizer.zero_grad()
    for x, y in loader:
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
    print(epoch, loss.item())
"""

ONCE_AFTER = """
for epoch in range(10):
    for x, y in loader:
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
    optimizer.zero_grad()
    print(epoch, loss.item())
"""

CLIPPED = """
for x, y in loader:
    optimizer.zero_grad()
    loss = F.mse_loss(model(x), y)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
"""

CLEARED_BEFORE_STEP = """
for x, y in loader:
    loss = F.mse_loss(model(x), y)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.zero_grad()
    optimizer.step()
"""

CLEARED_AFTER_BACKWARD = """
for x, y in loader:
    loss = F.mse_loss(model(x), y)
    loss.backward()
    optimizer.zero_grad()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
"""

KTH = LOADER.replace("for x, y in loader:", "for step, (x, y) in enumerate(loader):").replace(
    "        optimizer.zero_grad()\n", "        if step % 16 == 0:\n            optimizer.zero_grad()\n"
)

SLICES = """
for start in range(0, len(x), batch_size):
    optimizer.zero_grad()
    part = slice(start, start + batch_size)
    F.mse_loss(model(x[part]), y[part]).backward()
    optimizer.step()
"""

HEADED = """\
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(4, 8)
        self.act = nn.ReLU()
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.act(self.body(x)))


def fit(batches):
    model = Net()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for x, y in batches:
        optimizer.zero_grad()
        criterion(model(x), y).backward()
        optimizer.step()
    return model
"""

MANUAL = """\
import torch

weight = torch.zeros(4, requires_grad=True)
bias = torch.zeros(1, requires_grad=True)
params = [weight, bias]

for x, y in batches:
    loss = ((x @ weight + bias - y) ** 2).mean()
    loss.backward()
    with torch.no_grad():
        for p in params:
            p -= 0.1 * p.grad
            p.grad = None
"""
