#!/usr/bin/env python3
"""Quantile regression of waiting times, with an EMA of the weights."""
from __future__ import annotations

import itertools as it
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


@dataclass(frozen=True, slots=True)
class Config:
    seed: int = 7
    n: int = 2400
    fractions: tuple[float, ...] = (0.7, 0.15, 0.15)
    quantiles: tuple[float, ...] = (0.1, 0.5, 0.9)
    width: int = 32
    depth: int = 2
    p_drop: float = 0.05
    batch: int = 96
    steps: int = 300
    report: int = 60
    lr: float = 6e-3
    ema: float = 0.95
    device: torch.device = field(
        default_factory=lambda: torch.device("cuda" if torch.cuda.is_available() else "cpu")
    )


@dataclass(frozen=True, slots=True)
class Standardiser:
    mean: Tensor
    std: Tensor

    @classmethod
    def fit(cls, t: Tensor) -> Standardiser:
        std, mean = torch.std_mean(t, dim=0)
        return cls(mean, std)

    def __call__(self, t: Tensor) -> Tensor:
        return (t - self.mean) / self.std

    def inverse(self, t: Tensor) -> Tensor:
        return t * self.std + self.mean


def simulate(cfg: Config, g: torch.Generator) -> tuple[Tensor, Tensor]:
    """hour, staff, queue length, three irrelevant columns -> minutes of waiting"""
    hour = 24 * torch.rand(cfg.n, generator=g)
    staff = torch.randint(1, 6, (cfg.n,), generator=g).float()
    queue = torch.randint(0, 30, (cfg.n,), generator=g).float()
    junk = torch.randn(cfg.n, 3, generator=g) * 100
    rush = 1 + torch.exp(-((hour - 13) / 3).square())
    centre = 2 + queue * rush / staff
    wait = centre + (0.5 + 0.25 * centre) * torch.randn(cfg.n, generator=g)
    return torch.column_stack((hour, staff, queue, junk)), wait[:, None]


class Pinball(nn.Module):
    """Mean quantile loss, summed over quantiles."""

    def __init__(self, quantiles: Iterable[float]) -> None:
        super().__init__()
        self.register_buffer("q", torch.tensor(tuple(quantiles)))

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        err = target - pred
        return torch.maximum(self.q * err, (self.q - 1) * err).sum(-1).mean()


class Residual(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(x)


class NonCrossing(nn.Module):
    """First output free, the following ones add positive steps."""

    def forward(self, x: Tensor) -> Tensor:
        first, rest = x[..., :1], nn.functional.softplus(x[..., 1:])
        return torch.cat((first, rest), dim=-1).cumsum(-1)


def build(cfg: Config, n_in: int) -> nn.Module:
    def block() -> nn.Module:
        return Residual(nn.Sequential(
            nn.BatchNorm1d(cfg.width), nn.Mish(), nn.Dropout(cfg.p_drop),
            nn.Linear(cfg.width, cfg.width),
        ))

    return nn.Sequential(
        nn.Linear(n_in, cfg.width),
        *(block() for _ in range(cfg.depth)),
        nn.Mish(),
        nn.Linear(cfg.width, len(cfg.quantiles)),
        NonCrossing(),
    )


def endless(n: int, size: int, g: torch.Generator) -> Iterator[Tensor]:
    """Index batches, reshuffled every epoch, without the incomplete last one."""
    while True:
        yield from (b for b in torch.randperm(n, generator=g).split(size) if len(b) == size)


def gather(idx: Iterator[Tensor], *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    return (tuple(t[i] for t in tensors) for i in idx)


def one_cycle(step: int, *, total: int, warm: float = 0.2) -> float:
    if (u := (step + 1) / total) < warm:
        return u / warm
    return 0.5 * (1 + math.cos(math.pi * (u - warm) / (1 - warm))) + 1e-3


def train(cfg: Config, net: nn.Module, loss_fn: nn.Module,
          stream: Iterator[tuple[Tensor, ...]]) -> Iterator[tuple[int, float, nn.Module]]:
    opt = torch.optim.NAdam(net.parameters(), lr=cfg.lr)
    sched = torch.optim.lr_scheduler.LambdaLR(opt, lambda s: one_cycle(s, total=cfg.steps))
    ema = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(cfg.ema), use_buffers=True)
    window: list[Tensor] = []
    for step, (x, y) in enumerate(it.islice(stream, cfg.steps), start=1):
        net.train()
        loss = loss_fn(net(x), y)
        opt.zero_grad()
        loss.backward()
        opt.step()
        sched.step()
        ema.update_parameters(net)
        window.append(loss.detach())
        if step % cfg.report == 0:
            yield step, torch.stack(window).mean().item(), ema
            window.clear()


@torch.inference_mode()
def predict(net: nn.Module, x: Tensor) -> Tensor:
    was_training = net.training
    try:
        return net.eval()(x)
    finally:
        net.train(was_training)


def main(cfg: Config = Config()) -> None:
    torch.manual_seed(cfg.seed)
    g = torch.Generator().manual_seed(cfg.seed)
    x, y = simulate(cfg, g)

    sizes = [round(f * cfg.n) for f in cfg.fractions]
    i_train, i_val, i_test = torch.randperm(cfg.n, generator=g).split(sizes)
    sx, sy = Standardiser.fit(x[i_train]), Standardiser.fit(y[i_train])
    (xt, yt), (xv, yv), (xe, _) = (
        (sx(x[i]).to(cfg.device), sy(y[i]).to(cfg.device)) for i in (i_train, i_val, i_test)
    )

    net = build(cfg, x.shape[1]).to(cfg.device)
    pinball = Pinball(cfg.quantiles).to(cfg.device)
    stream = gather(endless(len(xt), cfg.batch, g), xt, yt)

    for step, loss, ema in train(cfg, net, pinball, stream):
        raw, avg = (pinball(predict(m, xv), yv).item() for m in (net, ema))
        print(f"{step:>5} train={loss:.5f} val={raw:.5f} val(ema)={avg:.5f}")

    bands = sy.inverse(predict(ema, xe).cpu())
    covered = (y[i_test] <= bands).float().mean(0)
    for q, c in zip(cfg.quantiles, covered.tolist(), strict=True):
        print(f"q={q:.2f}: {c:6.1%} of the test waits lie below")
    inside = ((y[i_test] >= bands[:, :1]) & (y[i_test] <= bands[:, -1:])).float().mean()
    mae = (y[i_test] - bands[:, 1:2]).abs().mean()
    print(f"inside the outer band {inside:.1%}; median off by {mae:.2f} min")


if __name__ == "__main__":
    main(replace(Config(), seed=2024))
