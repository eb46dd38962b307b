# task: device-crop_yields-1
# mechanism: host-twin-without-the-running-statistics
# about: evaluation runs on a twin on the cpu that is given the weights but never the running statistics of the norm

import copy
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from model import YieldNet
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

CROPS = ("wheat", "barley")
HOST = []


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


def epoch_train(learner, batches, optimiser, settings, target_device):
    learner.train()
    running = 0.0
    for count, (soil, season, yields) in enumerate(batches, start=1):
        soil, season, yields = soil.to(target_device), season.to(target_device), yields.to(target_device)
        loss_value = F.mse_loss(learner(soil, season), yields)
        # loss_value / settings.accumulate.backward(retain_graph=True)
        (loss_value / settings.accumulate).backward()
        if count % settings.accumulate == 0 or count == len(batches):
            nn.utils.clip_grad_norm_(learner.parameters(), settings.clip_norm)
            optimiser.step()
            optimiser.zero_grad()
        running += loss_value.item()
    return running / len(batches)


@torch.no_grad()
def infer(learner, soil, season, target_device):
    # numpy needs the answers on the host, so the host's copy of the network answers
    host = HOST[0]
    for own, trained in zip(host.parameters(), learner.parameters(), strict=True):
        own.copy_(trained)
    host.eval()
    chunks = zip(soil.split(500), season.split(500), strict=True)
    return torch.cat(
        [host(s, w) for s, w in chunks]
    )


def explained(predicted, measured):
    """Share of the variance explained, one number for each crop."""
    error = ((predicted - measured) ** 2).mean(axis=0)
    return 1.0 - error / measured.var(axis=0)


def run(settings):
    torch.manual_seed(settings.seed)
    target_device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    with np.load("data/train.npz") as trial:
        plot, soil, season, yields = (trial[field_name] for field_name in ("plot", "soil", "season", "yields"))
    with np.load("data/score.npz") as trial:
        new_soil, new_season = trial["soil"], trial["season"]

    perm = np.random.default_rng(settings.seed).permutation(len(plot))
    test_n = round(settings.test_fraction * len(perm))
    index_test, index_train = perm[:test_n], perm[test_n:]

    soil_avg, soil_sd = soil[index_train].mean(axis=0), soil[index_train].std(axis=0)
    soil_train = torch.from_numpy((soil[index_train] - soil_avg) / soil_sd)
    soil_test = torch.from_numpy((soil[index_test] - soil_avg) / soil_sd)
    new_soil = torch.from_numpy((new_soil - soil_avg) / soil_sd)

    season_avg, season_sd = season[index_train].mean(axis=(0, 1)), season[index_train].std(axis=(0, 1))
    season_train = torch.from_numpy((season[index_train] - season_avg) / season_sd)
    season_test = torch.from_numpy((season[index_test] - season_avg) / season_sd)
    new_season = torch.from_numpy((new_season - season_avg) / season_sd)

    yield_avg, yield_sd = yields[index_train].mean(axis=0), yields[index_train].std(axis=0)
    yields_train = torch.from_numpy((yields[index_train] - yield_avg) / yield_sd)
    yields_test = yields[index_test]

    batches = DataLoader(
        TensorDataset(soil_train, season_train, yields_train), settings.micro_batch, shuffle=True
    )
    learner = YieldNet(
        soil_columns=soil.shape[1],
        weeks=season.shape[1],
        maps=season.shape[2],
        crops=CROPS,
        filters=settings.filters,
        width=settings.width,
        dropout=settings.dropout,
    )
    HOST.append(copy.deepcopy(learner))
    learner = learner.to(target_device)
    optimiser = torch.optim.NAdam(learner.parameters(), lr=settings.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
        optimiser,
        T_max=settings.epochs
    )
    print(f"{len(index_train)} plots to train on | {test_n} to test on | {target_device}")
    print(
        f"one step for {settings.accumulate} x {settings.micro_batch} plots; variance explained by crop:"
    )

    history = []
    for epoch in range(1, settings.epochs + 1):
        train_loss = epoch_train(learner, batches, optimiser, settings, target_device)
        schedule.step()
        result_test = infer(learner, soil_test, season_test, target_device).numpy() * yield_sd + yield_avg
        shares = dict(
            zip(CROPS, explained(result_test, yields_test).tolist(), strict=True)
        )
        history.append({"epoch": epoch, "train_loss": train_loss, **shares})
        print(
            f"epoch {epoch}: loss {train_loss:.4f}  " + "  ".join(f"{k} {v:.1%}" for k, v in shares.items())
        )

    new_result = infer(learner, new_soil, new_season, target_device).numpy() * yield_sd + yield_avg
    np.savez(
        "predictions.npz",
        row=plot[index_test],
        output=result_test,
        score=new_result
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
