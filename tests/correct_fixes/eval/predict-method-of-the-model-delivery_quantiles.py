# task: eval-delivery_quantiles-2
# mechanism: predict-method-restores-the-mode
# about: Predicting becomes a method of the model that switches to eval mode, runs under inference_mode and restores the mode it found.

import json
import math
from pathlib import Path

import numpy as np
import torch
from quantile_net import QuantileNet, coverage, pinball
from torch.optim.lr_scheduler import LambdaLR

LEVELS = (0.1, 0.5, 0.9)
HELD_OUT = 0.2
BATCH = 40
EPOCHS = 12
WARM_UP = 30  # steps
SEED = 404


def with_clock(numbers: np.ndarray) -> np.ndarray:
    """Distance and load as they are, and the hour as a point on the face of a clock."""
    angle = numbers[:, 2] * (2 * math.pi / 24)
    return np.column_stack([numbers[:, :2], np.sin(angle), np.cos(angle)]).astype(np.float32)


def read(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as archive:
        value_out = dict(archive)
        return value_out


def warm_up_then_fall(total: int):
    def factor(step: int) -> float:
        if step < WARM_UP:
            value_out = (step + 1) / WARM_UP
            return value_out
        value_out = 0.5 + 0.5 * math.cos(math.pi * (step - WARM_UP) / (total - WARM_UP))
        return value_out
    return factor


def main() -> None:
    torch.manual_seed(SEED)
    rng = np.random.default_rng(SEED)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    records, pending = read(Path("data/train.npz")), read(Path("data/score.npz"))
    features, minutes = with_clock(records["numbers"]), records["minutes"]
    zone = torch.from_numpy(records["zone"])
    order = rng.permutation(len(minutes))
    n_held = int(HELD_OUT * len(order))
    held_rows, train_rows = order[:n_held], order[n_held:]
    mean, std = features[train_rows].min(axis=0), np.ptp(features[train_rows], axis=0)
    minutes_mean, minutes_std = minutes[train_rows].mean(), minutes[train_rows].std()
    x_train = torch.from_numpy((features[train_rows] - mean) / std).to(device)
    x_held = torch.from_numpy((features[held_rows] - mean) / std).to(device)
    x_pending = torch.from_numpy((with_clock(pending["numbers"]) - mean) / std).to(device)
    y_train = torch.from_numpy((minutes[train_rows] - minutes_mean) / minutes_std).to(device)
    y_held = torch.from_numpy((minutes[held_rows] - minutes_mean) / minutes_std).to(device)
    zone_train, zone_held = zone[train_rows].to(device), zone[held_rows].to(device)
    zone_pending = torch.from_numpy(pending["zone"]).to(device)
    zones = int(zone_train.max()) + 1
    levels = torch.tensor(LEVELS, device=device)
    model = QuantileNet(features.shape[1], zones, len(LEVELS)).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-2, weight_decay=1e-2)
    scheduler = LambdaLR(optimizer, warm_up_then_fall(EPOCHS * math.ceil(len(y_train) / BATCH)))
    print(
        f"{len(y_train)} deliveries in {zones} zones, {minutes_mean:.2f} +- {minutes_std:.2f} minutes"
    )
    history = []
    for epoch in range(1, EPOCHS + 1):
        model.train()
        losses = []
        for pick in torch.randperm(len(y_train), device=device).split(BATCH):
            loss = pinball(model(x_train[pick], zone_train[pick]), y_train[pick], levels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            losses.append(loss.item())
        predicted = model.predict(x_held, zone_held)
        entry = {
            "epoch": epoch,
            "train_loss": sum(losses) / len(losses),
            "held_loss": pinball(predicted, y_held, levels).item(),
            "coverage": coverage(predicted, y_held),
        }
        history.append(entry)
        print(
            "{epoch:3d}  train {train_loss:.4f}  held {held_loss:.4f}  inside {coverage:.0%}".format(**entry)
        )
    held_minutes = model.predict(x_held, zone_held) * minutes_std + minutes_mean
    pending_minutes = model.predict(x_pending, zone_pending) * minutes_std + minutes_mean
    width = (held_minutes[:, -1] - held_minutes[:, 0]).mean().item()
    print(f"the range from lowest to highest is {width:.2f} minutes wide")
    Path("metrics.json").write_text(json.dumps({"history": history, "final": {**entry, "width": width}}))
    np.savez(
        "predictions.npz",
        row=records["delivery"][held_rows],
        output=held_minutes.cpu().numpy(),
        score=pending_minutes.cpu().numpy(),
    )


if __name__ == "__main__":
    main()
# === file: quantile_net.py ===
import torch
from torch import Tensor, nn


class QuantileNet(nn.Module):
    def __init__(self, columns: int, zones: int, quantiles: int, width: int = 48, dropout: float = 0.1):
        super().__init__()
        self.zone = nn.Embedding(zones, 6)
        self.body = nn.Sequential(
            nn.Linear(columns + 6, width),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(width, width),
            nn.BatchNorm1d(width),
            nn.ReLU(),
        )
        self.head = nn.Linear(width, quantiles)

    @torch.inference_mode()
    def predict(self, features: Tensor, zone: Tensor) -> Tensor:
        """Quantiles in rising order, with the running statistics and without dropout."""
        before = self.training
        try:
            return self.eval()(features, zone).sort(dim=1).values
        finally:
            self.train(before)

    def forward(self, features: Tensor, zone: Tensor) -> Tensor:
        joined = torch.cat([features, self.zone(zone)], 1)
        return self.head(self.body(joined))


def coverage(predicted: Tensor, actual: Tensor) -> float:
    """How many of the actual values lie between the lowest and the highest quantile."""
    inside = (predicted[:, 0] <= actual) & (actual <= predicted[:, -1])
    return inside.float().mean().item()


def pinball(predicted: Tensor, actual: Tensor, levels: Tensor) -> Tensor:
    missing = actual.unsqueeze(1) - predicted
    return torch.maximum(levels * missing, (levels - 1) * missing).mean()
