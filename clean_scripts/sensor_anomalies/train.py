"""Rank sensor records by how odd they are.

An autoencoder learns to clean up records of normal operation. A record that it cannot reproduce is
suspicious: the score is the logarithm of its reconstruction error, and larger means odder. The labels of
held-out records are used for the printed figures only.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Settings:
    seed: int = 11
    held_out: float = 0.25
    hidden: int = 32
    code: int = 4
    dropout: float = 0.05
    noise: float = 0.2
    epochs: int = 10
    batch: int = 48
    lr: float = 1e-2
    decay: float = 1e-4
    milestones: tuple[int, ...] = (6, 8)


class Autoencoder(nn.Module):
    """Squeezes a record through a short code and unfolds it again."""

    def __init__(self, sensors: int, settings: Settings) -> None:
        super().__init__()
        self.dropout = settings.dropout
        self.compress = nn.Linear(sensors, settings.hidden)
        self.to_code = nn.Linear(settings.hidden, settings.code)
        self.expand = nn.Linear(settings.code, settings.hidden)
        self.restore = nn.Linear(settings.hidden, sensors)

    def forward(self, record: Tensor) -> Tensor:
        hidden = torch.tanh(self.compress(record))
        hidden = F.dropout(hidden, self.dropout, training=self.training)
        code = self.to_code(hidden)
        hidden = torch.tanh(self.expand(code))
        return self.restore(hidden)


def fit_epoch(
    model: nn.Module,
    records: Tensor,
    optimizer: torch.optim.Optimizer,
    settings: Settings,
    generator: torch.Generator,
    device: torch.device,
) -> float:
    """One pass over the normal records, each time under fresh noise."""
    model.train()
    losses = []
    shuffled = records[torch.randperm(len(records), generator=generator)]
    for clean in shuffled.split(settings.batch):
        clean = clean.to(device)
        noise = torch.randn(clean.shape, generator=generator).to(device)
        optimizer.zero_grad()
        loss = F.mse_loss(model(clean + settings.noise * noise), clean)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return float(np.mean(losses))


def oddness(model: nn.Module, records: Tensor, device: torch.device) -> np.ndarray:
    """Logarithm of each record's mean squared reconstruction error."""
    model.eval()
    scores = []
    with torch.no_grad():
        for chunk in records.split(1000):
            chunk = chunk.to(device)
            error = (model(chunk) - chunk).square().mean(dim=1)
            scores.append(error.log().cpu())
    return torch.cat(scores).numpy()


def area_under_curve(scores: np.ndarray, anomalous: np.ndarray) -> float:
    """Chance that an anomaly has a higher score than a normal record."""
    odd, usual = scores[anomalous], scores[~anomalous]
    return float((odd[:, None] > usual[None, :]).mean())


def main() -> None:
    settings = Settings()
    torch.manual_seed(settings.seed)
    generator = torch.Generator().manual_seed(settings.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    with np.load("data/train.npz") as data:
        row, reading, anomaly = data["row"], data["reading"], data["anomaly"]
    with np.load("data/score.npz") as data:
        incoming = data["reading"]

    held_out = np.random.default_rng(settings.seed).random(len(row)) < settings.held_out
    normal = ~held_out & (anomaly == 0)
    print(f"{len(row)} records: {normal.sum()} normal ones to learn from, {held_out.sum()} held out")

    # Every sensor in units of its own spread in normal operation.
    centre = reading[normal].mean(axis=0)
    spread = reading[normal].std(axis=0)
    x_normal = torch.from_numpy((reading[normal] - centre) / spread)
    x_held_out = torch.from_numpy((reading[held_out] - centre) / spread)
    x_incoming = torch.from_numpy((incoming - centre) / spread)

    model = Autoencoder(reading.shape[1], settings).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.lr, weight_decay=settings.decay)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, list(settings.milestones), gamma=0.3)

    history = []
    for epoch in range(1, settings.epochs + 1):
        loss = fit_epoch(model, x_normal, optimizer, settings, generator, device)
        scheduler.step()
        scores = oddness(model, x_held_out, device)
        auc = area_under_curve(scores, anomaly[held_out] == 1)
        history.append({"epoch": epoch, "train_loss": loss, "auc": auc})
        print(f"epoch {epoch:2d}: loss {loss:.4f}, area under the curve of held-out records {auc:.3f}")

    final = {"train_loss": loss, "auc": auc}
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}))
    np.savez("predictions.npz", row=row[held_out], output=scores, score=oddness(model, x_incoming, device))


if __name__ == "__main__":
    main()
