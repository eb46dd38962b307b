# task: eval-delivery_quantiles-2
# mechanism: monotone-head-and-eval-mode
# about: The head gives the lowest quantile and positive steps to the next ones, so that quantiles cannot cross and no sort is needed;
# about: held-out and pending rows are predicted in eval mode, and the script is rewritten around a scaler and two short functions.

import json
import math
from pathlib import Path

import numpy as np
import torch
from quantile_net import QuantileNet, coverage, pinball
from torch import Tensor
from torch.optim.lr_scheduler import OneCycleLR

LEVELS = (0.1, 0.5, 0.9)
HELD_OUT = 0.2
BATCH = 40
EPOCHS = 12
SEED = 404


def with_clock(numbers: np.ndarray) -> np.ndarray:
    """Distance and load as they are, and the hour as a point on the face of a clock."""
    angle = numbers[:, 2] * (2 * math.pi / 24)
    return np.column_stack([numbers[:, :2], np.sin(angle), np.cos(angle)]).astype(np.float32)


def learn(model, optimizer, scheduler, x, zone, y, levels) -> float:
    model.train()
    losses = []
    for pick in torch.randperm(len(y), device=y.device).split(BATCH):
        loss = pinball(model(x[pick], zone[pick]), y[pick], levels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
    return sum(losses) / len(losses)


@torch.no_grad()
def predict(model: QuantileNet, x: Tensor, zone: Tensor) -> Tensor:
    model.eval()
    return model(x, zone)


def main() -> None:
    torch.manual_seed(SEED)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with np.load("data/train.npz") as archive:
        delivery, zone, minutes = archive["delivery"], archive["zone"], archive["minutes"]
        features = with_clock(archive["numbers"])
    with np.load("data/score.npz") as archive:
        pending_zone, pending_features = archive["zone"], with_clock(archive["numbers"])

    order = np.random.default_rng(SEED).permutation(len(minutes))
    n_held = int(HELD_OUT * len(order))
    held, train = order[:n_held], order[n_held:]
    low, spread = features[train].min(axis=0), np.ptp(features[train], axis=0)
    mean, std = minutes[train].mean(), minutes[train].std()

    def put(array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(device)

    x_train, x_held, x_pending = (put((part - low) / spread) for part in (features[train], features[held], pending_features))
    y_train, y_held = put((minutes[train] - mean) / std), put((minutes[held] - mean) / std)
    zone_train, zone_held, zone_pending = put(zone[train]), put(zone[held]), put(pending_zone)
    levels = torch.tensor(LEVELS, device=device)

    model = QuantileNet(features.shape[1], int(zone[train].max()) + 1, len(LEVELS)).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-2, weight_decay=1e-2)
    scheduler = OneCycleLR(optimizer, max_lr=2e-2, epochs=EPOCHS, steps_per_epoch=math.ceil(len(train) / BATCH))

    history = []
    for epoch in range(1, EPOCHS + 1):
        train_loss = learn(model, optimizer, scheduler, x_train, zone_train, y_train, levels)
        predicted = predict(model, x_held, zone_held)
        history.append(
            {
                "epoch": epoch,
                "train_loss": train_loss,
                "held_loss": pinball(predicted, y_held, levels).item(),
                "coverage": coverage(predicted, y_held),
            }
        )
        print("{epoch:3d}  train {train_loss:.4f}  held {held_loss:.4f}  inside {coverage:.0%}".format(**history[-1]))

    held_minutes = predicted * std + mean
    pending_minutes = predict(model, x_pending, zone_pending) * std + mean
    width = (held_minutes[:, -1] - held_minutes[:, 0]).mean().item()
    Path("metrics.json").write_text(json.dumps({"history": history, "final": {**history[-1], "width": width}}))
    np.savez(
        "predictions.npz",
        row=delivery[held],
        output=held_minutes.cpu().numpy(),
        score=pending_minutes.cpu().numpy(),
    )


if __name__ == "__main__":
    main()
# === file: quantile_net.py ===
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class QuantileNet(nn.Module):
    """Quantiles that never cross: the first one, and softplus steps up to each of the next."""

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

    def forward(self, features: Tensor, zone: Tensor) -> Tensor:
        raw = self.head(self.body(torch.cat([features, self.zone(zone)], 1)))
        return torch.cat([raw[:, :1], F.softplus(raw[:, 1:])], 1).cumsum(1)


def coverage(predicted: Tensor, actual: Tensor) -> float:
    """How many of the actual values lie between the lowest and the highest quantile."""
    inside = (predicted[:, 0] <= actual) & (actual <= predicted[:, -1])
    return inside.float().mean().item()


def pinball(predicted: Tensor, actual: Tensor, levels: Tensor) -> Tensor:
    missing = actual.unsqueeze(1) - predicted
    return torch.maximum(levels * missing, (levels - 1) * missing).mean()
