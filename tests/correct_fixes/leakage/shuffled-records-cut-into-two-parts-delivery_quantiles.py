# task: leakage-delivery_quantiles-1
# mechanism: shuffled-records-cut-into-two-objects
# about: The records are shuffled and cut into two objects of which each has its own rows only; the scaler is fitted on the first one,
# about: and training draws from a DataLoader over it.

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from quantile_net import QuantileModel, coverage, pinball
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, TensorDataset

LEVELS = (0.1, 0.5, 0.9)
TEST = 0.2
BATCH = 40
N_EPOCHS = 12
WARM_UP = 30  # steps
SEED = 405


@dataclass(frozen=True)
class Deliveries:
    numbers: np.ndarray
    zone: np.ndarray
    minutes: np.ndarray | None = None
    delivery: np.ndarray | None = None

    @classmethod
    def read(cls, path: Path) -> "Deliveries":
        with np.load(path) as npz:
            return cls(**{name: npz[name] for name in cls.__dataclass_fields__ if name in npz})

    def __len__(self) -> int:
        return len(self.zone)

    def take(self, rows: np.ndarray) -> "Deliveries":
        return Deliveries(self.numbers[rows], self.zone[rows], self.minutes[rows], self.delivery[rows])

    def cut(self, share: float, rng: np.random.Generator) -> tuple["Deliveries", "Deliveries"]:
        """(the rest, a random share): two sets of records without a common one."""
        shuffled = self.take(rng.permutation(len(self)))
        at = len(self) - int(share * len(self))
        return shuffled.take(np.arange(at)), shuffled.take(np.arange(at, len(self)))

    @property
    def features(self) -> np.ndarray:
        angle = self.numbers[:, 2] * (2 * math.pi / 24)
        return np.column_stack([self.numbers[:, :2], np.sin(angle), np.cos(angle)]).astype(np.float32)


class Scaler:
    """Knows the training records only."""

    def __init__(self, train: Deliveries) -> None:
        self.avg, self.sd = train.features.mean(axis=0), train.features.std(axis=0)
        self.minutes_avg, self.minutes_sd = train.minutes.mean(), train.minutes.std()

    def inputs(self, part: Deliveries) -> tuple[Tensor, Tensor]:
        return torch.from_numpy((part.features - self.avg) / self.sd), torch.from_numpy(part.zone)

    def target(self, part: Deliveries) -> Tensor:
        return torch.from_numpy((part.minutes - self.minutes_avg) / self.minutes_sd)

    def minutes(self, scaled: Tensor) -> Tensor:
        return scaled * self.minutes_sd + self.minutes_avg


def warm_up_then_fall(total: int):
    def factor(step: int) -> float:
        if step < WARM_UP:
            return (step + 1) / WARM_UP
        return 0.5 + 0.5 * math.cos(math.pi * (step - WARM_UP) / (total - WARM_UP))

    return factor


def main() -> None:
    torch.manual_seed(SEED)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    records, pending = Deliveries.read(Path("data/train.npz")), Deliveries.read(Path("data/score.npz"))
    train, held = records.cut(TEST, np.random.default_rng(SEED))
    scaler = Scaler(train)

    loader = DataLoader(TensorDataset(*scaler.inputs(train), scaler.target(train)), BATCH, shuffle=True)
    levels = torch.tensor(LEVELS, device=device)
    model = QuantileModel(train.features.shape[1], int(train.zone.max()) + 1, len(LEVELS)).to(device)
    opt = torch.optim.AdamW(model.parameters(), lr=2e-2, weight_decay=1e-2)
    scheduler = LambdaLR(opt, warm_up_then_fall(N_EPOCHS * len(loader)))

    @torch.no_grad()
    def quantiles(part: Deliveries) -> Tensor:
        model.eval()
        features, zone = scaler.inputs(part)
        return model(features.to(device), zone.to(device)).sort(dim=1).values.cpu()

    y_held = scaler.target(held)
    print(f"{len(train)} deliveries to learn from / {len(held)} held out", flush=True)

    history = []
    for epoch in range(1, N_EPOCHS + 1):
        model.train()
        losses = []
        for features, zone, minutes in loader:
            cost = pinball(model(features.to(device), zone.to(device)), minutes.to(device), levels)
            opt.zero_grad()
            cost.backward()
            opt.step()
            scheduler.step()
            losses.append(cost.item())
        predicted = quantiles(held)
        entry = {
            "epoch": epoch,
            "train_loss": sum(losses) / len(losses),
            "held_loss": pinball(predicted, y_held, levels.cpu()).item(),
            "coverage": coverage(predicted, y_held),
        }
        history.append(entry)
        print("{epoch:3d}  train {train_loss:.4f}  held {held_loss:.4f}  inside {coverage:.0%}".format(**entry), flush=True)

    held_minutes = scaler.minutes(predicted)
    width = (held_minutes[:, -1] - held_minutes[:, 0]).mean().item()
    Path("metrics.json").write_text(json.dumps({"history": history, "final": {**entry, "width": width}}))
    np.savez(
        "predictions.npz",
        row=held.delivery,
        output=held_minutes.numpy(),
        score=scaler.minutes(quantiles(pending)).numpy(),
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
