# task: shape-sensor_anomalies-2
# mechanism: tied-weights-from-one-shape
# about: Encoder and decoder share two matrices, each made once from a record and used forwards and transposed, so no
# about: width is written twice; training is a method of a detector that holds its statistics.

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

SEED, HELD_OUT, EPOCHS, BATCH = 11, 0.25, 20, 48


class TiedAutoencoder(nn.Module):
    def __init__(self, record, hidden=48, code=4):
        super().__init__()
        self.outer = nn.Parameter(nn.init.xavier_uniform_(record.new_empty(hidden, *record.shape)))
        self.inner = nn.Parameter(nn.init.xavier_uniform_(record.new_empty(code, hidden)))
        self.shifts = nn.ParameterList(
            [nn.Parameter(record.new_zeros(width)) for width in (hidden, code, hidden, len(record))]
        )

    def forward(self, record):
        first, second, third, fourth = self.shifts
        hidden = torch.tanh(F.linear(record, self.outer, first))
        code = F.linear(F.dropout(hidden, 0.05, self.training), self.inner, second)
        hidden = torch.tanh(F.linear(code, self.inner.T, third))
        return F.linear(hidden, self.outer.T, fourth)


class Detector:
    """Learns how normal records look; what it restores badly is odd."""

    def __init__(self, normal, device):
        self.centre, self.spread, self.device = normal.mean(axis=0), normal.std(axis=0), device
        self.normal = self.units(normal)
        self.net = TiedAutoencoder(self.normal[0])
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=1e-2)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, EPOCHS)

    def units(self, reading):
        return torch.from_numpy((reading - self.centre) / self.spread).to(self.device)

    def learn(self):
        self.net.train()
        summed = 0.0
        for rows in torch.randperm(len(self.normal), device=self.device).split(BATCH):
            clean = self.normal[rows]
            self.optimizer.zero_grad()
            loss = F.mse_loss(self.net(clean + 0.2 * torch.randn_like(clean)), clean)
            loss.backward()
            self.optimizer.step()
            summed += loss.item() * len(rows)
        self.schedule.step()
        return summed / len(self.normal)

    @torch.no_grad()
    def oddness(self, reading):
        self.net.eval()
        error = [(self.net(some) - some).square().mean(dim=1) for some in self.units(reading).split(1000)]
        return torch.cat(error).log().cpu().numpy()


def main():
    torch.manual_seed(SEED)
    with np.load("data/train.npz") as table:
        row, reading, anomaly = table["row"], table["reading"], table["anomaly"] == 1
    with np.load("data/score.npz") as table:
        incoming = table["reading"]
    held_out = np.random.default_rng(SEED).random(len(row)) < HELD_OUT
    truth = anomaly[held_out]
    detector = Detector(
        reading[~held_out & ~anomaly], torch.device("cuda" if torch.cuda.is_available() else "cpu")
    )
    history = []
    for epoch in range(1, EPOCHS + 1):
        train_loss = detector.learn()
        scores = detector.oddness(reading[held_out])
        auc = float((scores[truth][:, None] > scores[~truth]).mean())
        history.append({"epoch": epoch, "train_loss": train_loss, "auc": auc})
        print(f"epoch {epoch:02d}: {train_loss:.6f}  {auc:.5f}")
    final = {"train_loss": train_loss, "auc": auc}
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}))
    np.savez("predictions.npz", row=row[held_out], output=scores, score=detector.oddness(incoming))


if __name__ == "__main__":
    main()
