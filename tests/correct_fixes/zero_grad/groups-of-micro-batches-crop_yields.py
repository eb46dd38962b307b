# task: zero_grad-crop_yields-2
# mechanism: loop-over-groups-of-micro-batches
# about: The epoch runs over groups of micro batches taken from the loader by islice; each group zeroes, accumulates, clips and steps once,
# about: and the last group is divided by the number of micro batches that it has.

import json
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from model import YieldNet
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

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


def groups(batches, size):
    """Lists of up to size batches."""
    source = iter(batches)
    while group := list(islice(source, size)):
        yield group


def epoch_train(network, batches, opt, settings, device):
    network.train()
    running = 0.0

    for group in groups(batches, settings.accumulate):
        opt.zero_grad()
        for micro_batch in group:
            soil, season, yields = (part.to(device) for part in micro_batch)
            batch_loss = F.mse_loss(network(soil, season), yields)
            (batch_loss / len(group)).backward()
            running += batch_loss.item()
        nn.utils.clip_grad_norm_(network.parameters(), max_norm=settings.clip_norm)
        opt.step()

    return running / len(batches)


@torch.no_grad()
def score_rows(network, soil, season, device):
    network.eval()
    chunks = zip(soil.split(500), season.split(500), strict=True)

    return torch.cat(
        [network(s.to(device), w.to(device)).cpu() for s, w in chunks],
    )


def explained(predicted, measured):
    error = ((predicted - measured) ** 2).mean(axis=0)
    return 1.0 - error / measured.var(axis=0)


def go(settings):
    torch.manual_seed(settings.seed)
    device = torch.device(
        "cuda" if torch.cuda.is_available() else "cpu",
    )

    with np.load("data/train.npz") as trial:
        plot, soil, season, yields = (trial[field_name] for field_name in ("plot", "soil", "season", "yields"))

    with np.load("data/score.npz") as trial:
        new_soil, new_season = trial["soil"], trial["season"]

    idx = np.random.default_rng(settings.seed).permutation(len(plot))
    test_num = round(settings.test_fraction * len(idx))
    index_test, index_train = idx[:test_num], idx[test_num:]

    soil_avg, soil_sd = soil[index_train].mean(axis=0), soil[index_train].std(axis=0)
    soil_train = torch.from_numpy(
        (soil[index_train] - soil_avg) / soil_sd,
    )
    soil_test = torch.from_numpy(
        (soil[index_test] - soil_avg) / soil_sd,
    )
    new_soil = torch.from_numpy((new_soil - soil_avg) / soil_sd)

    season_avg, season_sd = season[index_train].mean(axis=(0, 1)), season[index_train].std(axis=(0, 1))
    season_train = torch.from_numpy(
        (season[index_train] - season_avg) / season_sd,
    )
    season_test = torch.from_numpy(
        (season[index_test] - season_avg) / season_sd,
    )
    new_season = torch.from_numpy((new_season - season_avg) / season_sd)

    yield_avg, yield_sd = yields[index_train].mean(axis=0), yields[index_train].std(axis=0)
    yields_train = torch.from_numpy(
        (yields[index_train] - yield_avg) / yield_sd,
    )
    yields_test = yields[index_test]

    batches = DataLoader(
        TensorDataset(soil_train, season_train, yields_train), batch_size=settings.micro_batch, shuffle=True
    )
    network = YieldNet(
        soil_columns=soil.shape[1],
        weeks=season.shape[1],
        channels=season.shape[2],
        crops=CROPS,
        filters=settings.filters,
        width=settings.width,
        dropout=settings.dropout,
    ).to(device)
    opt = torch.optim.NAdam(
        network.parameters(),
        lr=settings.learning_rate,
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
        opt,
        T_max=settings.epochs,
    )
    print(
        f"{len(index_train)} plots to Trn on, {test_num} to test on, {device}",
    )
    print(
        f"one step for {settings.accumulate} x {settings.micro_batch} plots; variance explained by crop:",
    )

    history = []

    for epoch in range(1, settings.epochs + 1):
        train_loss = epoch_train(
            network,
            batches,
            opt,
            settings,
            device,
        )
        schedule.step()
        output_test = score_rows(network, soil_test, season_test, device).numpy() * yield_sd + yield_avg
        shares = dict(
            zip(CROPS, explained(output_test, yields_test).tolist(), strict=True),
        )
        history.append(
            {"epoch": epoch, "train_loss": train_loss, **shares},
        )
        print(
            f"epoch {epoch}: loss {train_loss:.4f}  " + "  ".join(f"{k} {v:.1%}" for k, v in shares.items())
        )

    new_output = score_rows(network, new_soil, new_season, device).numpy() * yield_sd + yield_avg
    np.savez(
        "predictions.npz",
        row=plot[index_test],
        output=output_test,
        score=new_output,
    )
    final = {"train_loss": train_loss, **shares}
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}, indent=2))


if __name__ == "__main__":
    go(Settings())
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
