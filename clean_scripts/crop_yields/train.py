"""Predict what a plot will yield of wheat and of barley, from its soil and the weather of the season.

Both crops are grown on every plot; the columns of yields are wheat and barley. Reads data/train.npz (plot,
soil, season, yields) and data/score.npz (soil, season), writes metrics.json and predictions.npz.
"""

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


@dataclass(frozen=True)
class Settings:
    seed: int = 8
    test_fraction: float = 0.2
    filters: int = 12
    width: int = 48
    dropout: float = 0.1
    epochs: int = 9
    micro_batch: int = 24
    accumulate: int = 3  # micro-batches to one step of the optimizer
    learning_rate: float = 1.6e-2
    clip_norm: float = 2.0


def train_epoch(model, loader, optimizer, settings, device):
    """One pass over the plots, with a step after every few micro-batches. Returns the mean loss."""
    model.train()
    running = 0.0
    for count, (soil, season, yields) in enumerate(loader, start=1):
        soil, season, yields = soil.to(device), season.to(device), yields.to(device)
        loss = F.mse_loss(model(soil, season), yields)
        (loss / settings.accumulate).backward()
        if count % settings.accumulate == 0 or count == len(loader):
            nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm)
            optimizer.step()
            optimizer.zero_grad()
        running += loss.item()
    return running / len(loader)


@torch.no_grad()
def predict(model, soil, season, device):
    """Standardized yields of all plots, on the CPU."""
    model.eval()
    chunks = zip(soil.split(500), season.split(500), strict=True)
    return torch.cat([model(s.to(device), w.to(device)).cpu() for s, w in chunks])


def explained(predicted, measured):
    """Share of the variance explained, one number for each crop."""
    error = ((predicted - measured) ** 2).mean(axis=0)
    return 1.0 - error / measured.var(axis=0)


def main(settings):
    torch.manual_seed(settings.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    with np.load("data/train.npz") as trial:
        plot, soil, season, yields = (trial[key] for key in ("plot", "soil", "season", "yields"))
    with np.load("data/score.npz") as trial:
        new_soil, new_season = trial["soil"], trial["season"]

    order = np.random.default_rng(settings.seed).permutation(len(plot))
    n_test = round(settings.test_fraction * len(order))
    test_rows, train_rows = order[:n_test], order[n_test:]

    # Every column of the soil and every channel of the weather has units of its own.
    soil_mean, soil_std = soil[train_rows].mean(axis=0), soil[train_rows].std(axis=0)
    train_soil = torch.from_numpy((soil[train_rows] - soil_mean) / soil_std)
    test_soil = torch.from_numpy((soil[test_rows] - soil_mean) / soil_std)
    new_soil = torch.from_numpy((new_soil - soil_mean) / soil_std)

    season_mean, season_std = season[train_rows].mean(axis=(0, 1)), season[train_rows].std(axis=(0, 1))
    train_season = torch.from_numpy((season[train_rows] - season_mean) / season_std)
    test_season = torch.from_numpy((season[test_rows] - season_mean) / season_std)
    new_season = torch.from_numpy((new_season - season_mean) / season_std)

    # The crops yield differently; in units of their own spread both count the same.
    yield_mean, yield_std = yields[train_rows].mean(axis=0), yields[train_rows].std(axis=0)
    train_yields = torch.from_numpy((yields[train_rows] - yield_mean) / yield_std)
    test_yields = yields[test_rows]

    loader = DataLoader(
        TensorDataset(train_soil, train_season, train_yields), batch_size=settings.micro_batch, shuffle=True
    )
    model = YieldNet(
        soil_columns=soil.shape[1],
        weeks=season.shape[1],
        channels=season.shape[2],
        crops=CROPS,
        filters=settings.filters,
        width=settings.width,
        dropout=settings.dropout,
    ).to(device)
    optimizer = torch.optim.NAdam(model.parameters(), lr=settings.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=settings.epochs)
    print(f"{len(train_rows)} plots to train on, {n_test} to test on, {device}")
    print(f"one step for {settings.accumulate} x {settings.micro_batch} plots; variance explained by crop:")

    history = []
    for epoch in range(1, settings.epochs + 1):
        train_loss = train_epoch(model, loader, optimizer, settings, device)
        schedule.step()
        test_output = predict(model, test_soil, test_season, device).numpy() * yield_std + yield_mean
        shares = dict(zip(CROPS, explained(test_output, test_yields).tolist(), strict=True))
        history.append({"epoch": epoch, "train_loss": train_loss, **shares})
        print(
            f"epoch {epoch}: loss {train_loss:.4f}  " + "  ".join(f"{k} {v:.1%}" for k, v in shares.items())
        )

    new_output = predict(model, new_soil, new_season, device).numpy() * yield_std + yield_mean
    np.savez("predictions.npz", row=plot[test_rows], output=test_output, score=new_output)
    final = {"train_loss": train_loss, **shares}
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}, indent=2))


if __name__ == "__main__":
    main(Settings())
