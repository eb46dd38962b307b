# task: zero_grad-crop_yields-2
# mechanism: one-large-batch-without-accumulation
# about: No accumulation at all: a step is made for one batch of accumulate * micro_batch plots, with its gradients zeroed before each backward;
# about: the script is rewritten with its tables in a small class, and a linear warm-up of the rate.

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from model import YieldNet
from torch import nn

CROPS = ("wheat", "barley")


@dataclass(frozen=True)
class Settings:
    seed: int = 9
    test_fraction: float = 0.2
    filters: int = 12
    width: int = 48
    dropout: float = 0.1
    epochs: int = 9
    batch: int = 72
    learning_rate: float = 1.6e-2
    clip_norm: float = 2.0


class Column:
    """One kind of numbers, standardised with the training rows."""

    def __init__(self, values, rows, axes):
        self.avg = values[rows].mean(axis=axes)
        self.sd = values[rows].std(axis=axes)

    def __call__(self, values):
        return torch.from_numpy((values - self.avg) / self.sd)

    def undo(self, scaled):
        return scaled.cpu().numpy() * self.sd + self.avg


def fit_epoch(network, tables, opt, schedule, settings):
    network.train()
    losses = []
    for rows in torch.randperm(len(tables[0])).split(settings.batch):
        soil, season, yields = (table[rows] for table in tables)
        opt.zero_grad()
        loss = F.mse_loss(network(soil, season), yields)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), max_norm=settings.clip_norm)
        opt.step()
        schedule.step()
        losses.append(loss.item())
    return sum(losses) / len(losses)


def predict(network, soil, season):
    network.eval()
    with torch.no_grad():
        return network(soil, season)


def explained(predicted, measured):
    error = ((predicted - measured) ** 2).mean(axis=0)
    return 1.0 - error / measured.var(axis=0)


def main(settings):
    torch.manual_seed(settings.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with np.load("data/train.npz") as trial:
        plot, soil, season, yields = (trial[name] for name in ("plot", "soil", "season", "yields"))
    with np.load("data/score.npz") as trial:
        new_soil, new_season = trial["soil"], trial["season"]

    idx = np.random.default_rng(settings.seed).permutation(len(plot))
    test_num = round(settings.test_fraction * len(idx))
    test, train = idx[:test_num], idx[test_num:]
    scale_soil, scale_season = Column(soil, train, 0), Column(season, train, (0, 1))
    scale_yields = Column(yields, train, 0)
    tables = [
        scale(values[train]).to(device)
        for scale, values in ((scale_soil, soil), (scale_season, season), (scale_yields, yields))
    ]
    test_inputs = scale_soil(soil[test]).to(device), scale_season(season[test]).to(device)
    new_inputs = scale_soil(new_soil).to(device), scale_season(new_season).to(device)

    network = YieldNet(
        soil_columns=soil.shape[1],
        weeks=season.shape[1],
        channels=season.shape[2],
        crops=CROPS,
        filters=settings.filters,
        width=settings.width,
        dropout=settings.dropout,
    ).to(device)
    opt = torch.optim.NAdam(network.parameters(), lr=settings.learning_rate)
    steps = settings.epochs * -(-len(train) // settings.batch)
    warm = max(1, steps // 20)
    schedule = torch.optim.lr_scheduler.SequentialLR(
        opt,
        [
            torch.optim.lr_scheduler.LinearLR(opt, start_factor=0.2, total_iters=warm),
            torch.optim.lr_scheduler.CosineAnnealingLR(opt, T_max=steps - warm),
        ],
        milestones=[warm],
    )
    print(f"{len(train)} plots to train on, {test_num} to test on, {steps} steps on {device}")

    history = []
    for epoch in range(1, settings.epochs + 1):
        train_loss = fit_epoch(network, tables, opt, schedule, settings)
        output_test = scale_yields.undo(predict(network, *test_inputs))
        shares = dict(zip(CROPS, explained(output_test, yields[test]).tolist(), strict=True))
        history.append({"epoch": epoch, "train_loss": train_loss, **shares})
        print(f"epoch {epoch}: loss {train_loss:.4f}  " + "  ".join(f"{k} {v:.1%}" for k, v in shares.items()))

    np.savez(
        "predictions.npz",
        row=plot[test],
        output=output_test,
        score=scale_yields.undo(predict(network, *new_inputs)),
    )
    final = {"train_loss": train_loss, **shares}
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}, indent=2))


if __name__ == "__main__":
    main(Settings())
# === file: model.py ===
import torch
from torch import nn


class SeasonEncoder(nn.Module):
    def __init__(self, channels, filters, kernel_size=3):
        super().__init__()
        self.convolution = nn.Conv1d(
            channels,
            filters,
            kernel_size,
            padding=kernel_size // 2,
        )
        self.bn = nn.BatchNorm1d(filters)

    def forward(self, season):
        weekly = torch.relu(
            self.bn(self.convolution(season.transpose(1, 2))),
        )
        return weekly.flatten(1)


class YieldNet(nn.Module):
    def __init__(self, soil_columns, weeks, channels, crops, filters, width, dropout):
        super().__init__()
        self.season = SeasonEncoder(channels, filters)
        self.trunk = nn.Sequential(
            nn.Linear(soil_columns + filters * weeks, width),
            nn.ReLU(),
            nn.Dropout(dropout),
        )
        self.heads = nn.ModuleDict(
            {crop: self._head(width) for crop in crops},
        )

    @staticmethod
    def _head(width):
        return nn.Sequential(
            nn.Linear(width, width // 2),
            nn.ReLU(),
            nn.Linear(width // 2, 1),
        )

    def forward(self, soil, season):
        shared = self.trunk(
            torch.cat([soil, self.season(season)], dim=1),
        )
        return torch.cat(
            [head(shared) for head in self.heads.values()],
            dim=1,
        )
