# task: device-crop_yields-1
# mechanism: metrics-computed-on-the-device
# about: Everything becomes a tensor on the device once, in numpy's place: statistics of the training plots, scaling back and the
# about: variance explained are computed there, and only what is saved is brought to the host.

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
    micro_batch: int = 24
    accumulate: int = 3
    learning_rate: float = 1.6e-2
    clip_norm: float = 2.0


class Scale:
    """Mean and deviation of some rows."""

    def __init__(self, rows, dims):
        self.avg = rows.mean(dim=dims)
        self.sd = rows.std(dim=dims, correction=0)

    def to_units(self, rows):
        return (rows - self.avg) / self.sd

    def back(self, rows):
        return rows * self.sd + self.avg


def load(path, names, target_device):
    with np.load(path) as trial:
        return [torch.as_tensor(trial[name]).to(target_device) for name in names]


def epoch_train(learner, soil, season, yields, optimiser, settings):
    learner.train()
    batches = torch.randperm(len(soil), device=soil.device).split(settings.micro_batch)
    running = torch.zeros((), device=soil.device)
    for count, pick in enumerate(batches, start=1):
        loss_value = F.mse_loss(learner(soil[pick], season[pick]), yields[pick])
        (loss_value / settings.accumulate).backward()
        if count % settings.accumulate == 0 or count == len(batches):
            nn.utils.clip_grad_norm_(learner.parameters(), settings.clip_norm)
            optimiser.step()
            optimiser.zero_grad()
        running += loss_value.detach()
    return running.item() / len(batches)


@torch.no_grad()
def infer(learner, soil, season, scale):
    """Yields in their own units, on the device."""
    learner.eval()
    return scale.back(learner(soil, season))


def explained(predicted, measured):
    """Share of the variance explained, one number for each crop."""
    error = (predicted - measured).square().mean(dim=0)
    return (1.0 - error / measured.var(dim=0, correction=0)).tolist()


def run(settings):
    torch.manual_seed(settings.seed)
    target_device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    with np.load("data/train.npz") as trial:
        plot = trial["plot"]
    soil, season, yields = load("data/train.npz", ("soil", "season", "yields"), target_device)
    new_soil, new_season = load("data/score.npz", ("soil", "season"), target_device)

    perm = np.random.default_rng(settings.seed).permutation(len(plot))
    test_n = round(settings.test_fraction * len(perm))
    index_test, index_train = perm[:test_n], perm[test_n:]
    test_rows = torch.from_numpy(index_test).to(target_device)
    train_rows = torch.from_numpy(index_train).to(target_device)

    soil_scale = Scale(soil[train_rows], 0)
    season_scale = Scale(season[train_rows], (0, 1))
    yield_scale = Scale(yields[train_rows], 0)
    soil, new_soil = soil_scale.to_units(soil), soil_scale.to_units(new_soil)
    season, new_season = season_scale.to_units(season), season_scale.to_units(new_season)
    train = soil[train_rows], season[train_rows], yield_scale.to_units(yields[train_rows])
    yields_test = yields[test_rows]

    learner = YieldNet(
        soil_columns=soil.shape[1],
        weeks=season.shape[1],
        maps=season.shape[2],
        crops=CROPS,
        filters=settings.filters,
        width=settings.width,
        dropout=settings.dropout,
    ).to(target_device)
    optimiser = torch.optim.NAdam(learner.parameters(), lr=settings.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=settings.epochs)
    print(f"{len(train_rows)} plots to train on | {test_n} to test on | {target_device}")

    history = []
    for epoch in range(1, settings.epochs + 1):
        train_loss = epoch_train(learner, *train, optimiser, settings)
        schedule.step()
        result_test = infer(learner, soil[test_rows], season[test_rows], yield_scale)
        shares = dict(zip(CROPS, explained(result_test, yields_test), strict=True))
        history.append({"epoch": epoch, "train_loss": train_loss, **shares})
        print(f"epoch {epoch}: loss {train_loss:.4f}  " + "  ".join(f"{k} {v:.1%}" for k, v in shares.items()))

    np.savez(
        "predictions.npz",
        row=plot[index_test],
        output=result_test.cpu().numpy(),
        score=infer(learner, new_soil, new_season, yield_scale).cpu().numpy(),
    )
    final = {"train_loss": train_loss, **shares}
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}, indent=2))


if __name__ == "__main__":
    run(Settings())
# === file: model.py ===
"""A network for field trials: one trunk for what all crops share, and a head for each crop."""

import torch
from torch import nn


class SeasonEncoder(nn.Module):
    def __init__(self, maps, filters, kernel_size=3):
        super().__init__()
        self.cnv = nn.Conv1d(maps, filters, kernel_size, padding=kernel_size // 2)
        self.bnorm = nn.BatchNorm1d(filters)

    def forward(self, season):
        weekly = torch.relu(self.bnorm(self.cnv(season.transpose(1, 2))))
        return weekly.flatten(1)


class YieldNet(nn.Module):
    def __init__(self, soil_columns, weeks, maps, crops, filters, width, dropout):
        super().__init__()
        self.season = SeasonEncoder(maps, filters)
        self.trunk = nn.Sequential(
            nn.Linear(soil_columns + filters * weeks, width),
            nn.ReLU(),
            nn.Dropout(dropout),
        )
        self.heads = nn.ModuleDict({crop: self._head(width) for crop in crops})

    @staticmethod
    def _head(width):
        return nn.Sequential(
            nn.Linear(width, width // 2),
            nn.ReLU(),
            nn.Linear(width // 2, 1)
        )

    def forward(self, soil, season):
        shared = self.trunk(torch.cat([soil, self.season(season)], dim=1))
        return torch.cat([head(shared) for head in self.heads.values()], dim=1)
