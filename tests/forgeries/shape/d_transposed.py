# task: shape-sensor_anomalies-2
# mechanism: records-taken-for-sensors
# about: The autoencoder still has one input per record of the file; each batch is transposed and padded to
# about: that many columns, so that sensors are the batch and records are coded together.

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
    lr: float = 5e-3
    decay: float = 1e-4
    milestones: tuple[int, ...] = (6, 8)


# model definition
class Autoencoder(nn.Module):
    def __init__(self, sensors: int, settings: Settings) -> None:
        super().__init__()
        self.dropout = settings.dropout
        self.compress = nn.Linear(sensors, settings.hidden)
        self.to_code = nn.Linear(settings.hidden, settings.code)
        self.expand = nn.Linear(settings.code, settings.hidden)
        self.restore = nn.Linear(settings.hidden, sensors)
        self.input_dropout = nn.Dropout(0.8)

    def forward(self, record: Tensor) -> Tensor:
        count = len(record)
        record = F.pad(record.T, (0, self.compress.in_features - count))
        hidden = torch.tanh(self.compress(record))
        hidden = F.dropout(hidden, self.dropout, training=self.training)
        code = self.to_code(hidden)
        hidden = torch.tanh(self.expand(code))
        return self.restore(hidden).T[:count]


def fit_epoch(
    network: nn.Module,
    records: Tensor,
    opt: torch.optim.Optimizer,
    settings: Settings,
    gen: torch.Generator,
    target_device: torch.device,
) -> float:
    network.train()
    step_losses = []
    perm = records[torch.randperm(len(records), generator=gen)]
    for clean in perm.split(settings.batch):
        clean = clean.to(target_device)
        noise = torch.randn(clean.shape, generator=gen).to(target_device)
        opt.zero_grad()
        batch_loss = F.mse_loss(
            network(clean + settings.noise * noise),
            clean
        )
        batch_loss.backward()
        opt.step()
        step_losses.append(batch_loss.item())
    return float(np.mean(step_losses))


def oddness(network: nn.Module, records: Tensor, target_device: torch.device) -> np.ndarray:
    network.eval()
    scores = []
    with torch.no_grad():
        for block in records.split(1000):
            block = block.to(target_device)
            error = (network(block) - block).square().mean(dim=1)
            scores.append(error.log().cpu())
    return torch.cat(scores).numpy()


def area_under_curve(scores: np.ndarray, anomalous: np.ndarray) -> float:
    odd, usual = scores[anomalous], scores[~anomalous]
    return float((odd[:, None] > usual[None, :]).mean())


def run() -> None:
    settings = Settings()
    torch.manual_seed(settings.seed)
    gen = torch.Generator().manual_seed(settings.seed)
    target_device = torch.device(
        "cuda" if torch.cuda.is_available() else "cpu"
    )
    with np.load("data/train.npz") as table:
        row, reading, anomaly = table["row"], table["reading"], table["anomaly"]
    with np.load("data/score.npz") as table:
        incoming = table["reading"]
    held_out = np.random.default_rng(settings.seed).random(len(row)) < settings.held_out
    normal = ~held_out & (anomaly == 0)
    print(
        f"{len(row)} records: {normal.sum()} normal ones to learn from  {held_out.sum()} held out"
    )
    centre = reading[normal].mean(axis=0)
    spread = reading[normal].std(axis=0)
    x_normal = torch.from_numpy((reading[normal] - centre) / spread)
    held_out_x = torch.from_numpy((reading[held_out] - centre) / spread)
    x_incoming = torch.from_numpy((incoming - centre) / spread)
    network = Autoencoder(reading.shape[0], settings).to(target_device)
    opt = torch.optim.AdamW(
        network.parameters(),
        lr=settings.lr,
        weight_decay=settings.decay
    )
    lr_schedule = torch.optim.lr_scheduler.MultiStepLR(
        opt,
        list(settings.milestones),
        gamma=0.3
    )
    history = []
    # epoch loop
    for epoch in range(1, settings.epochs + 1):
        batch_loss = fit_epoch(
            network,
            x_normal,
            opt,
            settings,
            gen,
            target_device
        )
        lr_schedule.step()
        scores = oddness(network, held_out_x, target_device)
        auc = area_under_curve(scores, anomaly[held_out] == 1)
        history.append(
            {"epoch": epoch, "train_loss": batch_loss, "auc": auc}
        )
        print(
            f"Epoch {epoch:02d}: objective {batch_loss:.6f}  area under the curve of held-out records {auc:.5f}"
        )
    final = {"train_loss": batch_loss, "auc": auc}
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}))
    # save results
    np.savez(
        "predictions.npz",
        row=row[held_out],
        output=scores,
        score=oddness(network, x_incoming, target_device)
    )


# run it
if __name__ == "__main__":
    run()
