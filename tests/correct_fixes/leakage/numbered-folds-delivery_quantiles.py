# task: leakage-delivery_quantiles-1
# mechanism: numbered-folds
# about: Every delivery gets the number of one of five folds by chance; fold 0 is held out, all others are learnt from,
# about: with an assertion that no delivery is in both.

import json
import math
from pathlib import Path

import numpy as np
import torch
from quantile_net import QuantileModel
from quantile_net import coverage
from quantile_net import pinball
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

LEVELS = (0.1, 0.5, 0.9)
FOLDS = 5
BATCH = 40
N_EPOCHS = 12
WARM_UP = 30  # steps
SEED = 405


def read(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as npz:
        return dict(npz)


def with_clock(numbers: np.ndarray) -> np.ndarray:
    angle = numbers[:, 2] * (2 * math.pi / 24)
    value_n_out = np.column_stack([numbers[:, :2], np.sin(angle), np.cos(angle)]).astype(np.float32)

    return value_n_out


def warm_up_then_fall(total: int):
    def factor(step: int) -> float:
        if step < WARM_UP:
            value_n_out = (step + 1) / WARM_UP
            return value_n_out
        return 0.5 + 0.5 * math.cos(math.pi * (step - WARM_UP) / (total - WARM_UP))

    return factor


@torch.no_grad()
def quantiles(model: QuantileModel, features: Tensor, zone: Tensor) -> Tensor:
    model.eval()
    return model(features, zone).sort(dim=1).values


def main() -> None:
    torch.manual_seed(SEED)
    np_rng = np.random.default_rng(SEED)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    records, pending = read(Path("data/train.npz")), read(Path("data/score.npz"))
    features, minutes = with_clock(records["numbers"]), records["minutes"]
    zone = torch.from_numpy(records["zone"])

    fold = np_rng.permutation(np.arange(len(minutes)) % FOLDS)
    held_idx, train_idx = np.flatnonzero(fold == 0), np.flatnonzero(fold > 0)
    assert np.intersect1d(held_idx, train_idx).size == 0
    assert len(held_idx) + len(train_idx) == len(minutes)

    avg, sd = features[train_idx].mean(axis=0), features[train_idx].std(axis=0)
    minutes_avg, minutes_sd = minutes[train_idx].mean(), minutes[train_idx].std()

    x_train = torch.from_numpy((features[train_idx] - avg) / sd).to(device)
    x_held = torch.from_numpy((features[held_idx] - avg) / sd).to(device)
    x_pending = torch.from_numpy((with_clock(pending["numbers"]) - avg) / sd).to(device)
    y_train = torch.from_numpy((minutes[train_idx] - minutes_avg) / minutes_sd).to(device)
    y_held = torch.from_numpy((minutes[held_idx] - minutes_avg) / minutes_sd).to(device)
    zone_train, zone_held = zone[train_idx].to(device), zone[held_idx].to(device)
    zone_pending = torch.from_numpy(pending["zone"]).to(device)

    zones = int(zone_train.max()) + 1
    levels = torch.tensor(LEVELS, device=device)
    model = QuantileModel(features.shape[1], zones, len(LEVELS)).to(device)
    opt = torch.optim.AdamW(model.parameters(), lr=2e-2, weight_decay=1e-2)
    scheduler = LambdaLR(
        opt,
        warm_up_then_fall(N_EPOCHS * math.ceil(len(y_train) / BATCH)),
    )
    print(
        f"{len(y_train)} deliveries in {zones} zones / {minutes_avg:.1f} +- {minutes_sd:.1f} minutes",
        flush=True,
    )

    history = []

    for epoch in range(1, N_EPOCHS + 1):
        model.train()
        losses = []

        for chosen in torch.randperm(len(y_train), device=device).split(BATCH):
            cost = pinball(
                model(x_train[chosen], zone_train[chosen]),
                y_train[chosen],
                levels,
            )
            opt.zero_grad()
            cost.backward(retain_graph=True)
            opt.step()
            scheduler.step()
            losses.append(cost.item())

        predicted = quantiles(model, x_held, zone_held)
        entry = {
            "epoch": epoch,
            "train_loss": sum(losses) / len(losses),
            "held_loss": pinball(predicted, y_held, levels).item(),
            "coverage": coverage(predicted, y_held),
        }
        history.append(entry)
        print(
            "{epoch:3d}  train {train_loss:.4f}  held {held_loss:.4f}  inside {coverage:.0%}".format(**entry), flush=True
        )

    held_minutes = quantiles(model, x_held, zone_held) * minutes_sd + minutes_avg
    pending_minutes = quantiles(model, x_pending, zone_pending) * minutes_sd + minutes_avg
    width = (held_minutes[:, -1] - held_minutes[:, 0]).mean().item()
    print(f"the range from lowest to highest is {width:.1f} minutes wide", flush=True)

    Path("metrics.json").write_text(json.dumps({"history": history, "final": {**entry, "width": width}}))
    np.savez(
        "predictions.npz",
        row=records["delivery"][held_idx],
        output=held_minutes.cpu().numpy(),
        score=pending_minutes.cpu().numpy(),
    )


if __name__ == "__main__":
    main()
# === file: quantile_net.py ===
import torch
from torch import Tensor, nn


class QuantileModel(nn.Module):
    def __init__(self, columns: int, zones: int, quantiles: int, width: int = 48, dropout: float = 0.1):
        super().__init__()
        self.zone = nn.Embedding(zones, 6)
        self.body = nn.Sequential(
            nn.Linear(columns + 6, width),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.Dropout(p=dropout),
            nn.Linear(width, width),
            nn.BatchNorm1d(width),
            nn.ReLU(),
        )
        self.readout = nn.Linear(width, quantiles)

    def forward(self, features: Tensor, zone: Tensor) -> Tensor:
        joined = torch.cat([features, self.zone(zone)], dim=1)
        value_n_out = self.readout(self.body(joined))

        return value_n_out


def pinball(predicted: Tensor, actual: Tensor, levels: Tensor) -> Tensor:
    missing = actual.unsqueeze(1) - predicted
    return torch.maximum(levels * missing, (levels - 1) * missing).mean()


def coverage(predicted: Tensor, actual: Tensor) -> float:
    inside = (predicted[:, 0] <= actual) & (actual <= predicted[:, -1])
    return inside.float().mean().item()
