"""A correct job computes on the simulated accelerator, bit for bit, what it computes on the CPU."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from mldebug.grader.device import simulated_accelerator

Run = tuple[list[float], list[torch.Tensor]]


def tabular(device: torch.device) -> Run:
    model = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 3))
    model.to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2, weight_decay=1e-3)
    data = TensorDataset(torch.randn(200, 8), torch.randint(3, (200,)))
    losses = []
    for _ in range(3):
        for rows, labels in DataLoader(data, batch_size=32, shuffle=True):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(rows.to(device)), labels.to(device))
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    model.eval()
    with torch.no_grad():
        losses.append(model(data.tensors[0].to(device)).sum().item())
    return losses, [*model.state_dict().values()]


def images(device: torch.device) -> Run:
    model = nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3),
        nn.ReLU(), nn.Dropout2d(0.2), nn.Flatten(), nn.Linear(128, 4),
    ).to(device)  # fmt: skip
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True)
    pictures, labels = torch.randn(96, 1, 12, 12).to(device), torch.randint(4, (96,)).to(device)
    losses = []
    for _ in range(3):
        order = torch.randperm(96, device=device)
        for chosen in order.split(32):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(pictures[chosen]), labels[chosen], label_smoothing=0.1)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return losses, [*model.state_dict().values()]


class Sensor(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.GRU(5, 12, num_layers=2, batch_first=True, dropout=0.1)
        self.head = nn.Linear(12, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        start = torch.zeros(2, x.shape[0], 12, device=x.device)
        out, _ = self.layer(x, start)
        return self.head(F.dropout(out[:, -1], 0.2, self.training)).squeeze(-1)


def recurrent(device: torch.device) -> Run:
    model = Sensor().to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 6)
    windows, target = torch.randn(96, 10, 5).to(device), torch.randn(96).to(device)
    losses = []
    for _ in range(6):
        for start in range(0, 96, 32):
            optimizer.zero_grad(set_to_none=False)
            loss = F.mse_loss(model(windows[start : start + 32]), target[start : start + 32])
            loss.backward()
            losses.append(nn.utils.clip_grad_norm_(model.parameters(), 0.5).item())
            optimizer.step()
            losses.append(loss.item())
        schedule.step()
    return losses, [*model.state_dict().values()]


def attention(device: torch.device) -> Run:
    layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.1, batch_first=True)
    model = nn.ModuleDict({"encoder": nn.TransformerEncoder(layer, 2), "head": nn.Linear(16, 1)}).to(device)
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3)
    tokens, target = torch.randn(48, 7, 16).to(device), torch.randn(48).to(device)
    padding = torch.zeros(48, 7, dtype=torch.bool, device=device)
    padding[:, 5:] = True
    losses = []
    for _ in range(4):
        model.train()
        optimizer.zero_grad()
        seen = model["encoder"](tokens, src_key_padding_mask=padding).mean(1)
        loss = F.smooth_l1_loss(model["head"](seen).squeeze(-1), target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        model.eval()
        with torch.no_grad():
            losses.append(model["encoder"](tokens, src_key_padding_mask=padding).sum().item())
    return losses, [*model.state_dict().values()]


def accumulation(device: torch.device) -> Run:
    model = nn.Sequential(nn.Embedding(30, 8), nn.LayerNorm(8), nn.Flatten(), nn.Linear(32, 5)).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    scaler = torch.amp.GradScaler(device.type, init_scale=128.0)
    tokens, labels = torch.randint(30, (64, 4)), torch.randint(5, (64,))
    losses = []
    for step in range(12):
        chosen = torch.randint(64, (16,))
        with torch.autocast(device.type, enabled=False):
            loss = F.cross_entropy(model(tokens[chosen].to(device)), labels[chosen].to(device)) / 2
        scaler.scale(loss).backward()
        losses.append(loss.item())
        if step % 2:
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
    return losses, [*model.state_dict().values()]


def observed(job: Callable[[torch.device], Run], device: str) -> Run:
    torch.manual_seed(11)
    losses, state = job(torch.device(device))
    assert all(one.device.type == device for one in state)
    return losses, [one.detach().cpu() for one in state]


@pytest.mark.parametrize("job", [tabular, images, recurrent, attention, accumulation])
def test_every_loss_and_parameter_is_bit_identical(job):
    fastpath = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        losses, state = observed(job, "cpu")
        with simulated_accelerator():
            simulated_losses, simulated_state = observed(job, "cuda")
    finally:
        torch.backends.mha.set_fastpath_enabled(fastpath)
    assert losses == simulated_losses
    assert len(state) == len(simulated_state)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(state, simulated_state, strict=True))


@pytest.mark.parametrize("job", [tabular, recurrent])
def test_an_observed_backward_pass_computes_the_same(job):
    """Hooks switch the mode on in backward passes."""
    with simulated_accelerator():
        losses, state = observed(job, "cuda")
    with simulated_accelerator():
        probe = torch.ones(1, device="cuda", requires_grad=True)
        probe.register_hook(lambda gradient: gradient)
        hooked_losses, hooked_state = observed(job, "cuda")
    assert losses == hooked_losses
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(state, hooked_state, strict=True))
