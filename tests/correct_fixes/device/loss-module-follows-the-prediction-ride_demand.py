# task: device-ride_demand-1
# mechanism: target-to-the-prediction
# about: A loss module of its own brings the rides to device and type of the log rates; with it goes a rewrite around a Forecaster class
# about: that owns network, scaling, optimizer and prediction.

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from demand import DemandNet, PoissonLoss
from torch.optim import Adam
from torch.optim.lr_scheduler import PolynomialLR
from torch.utils.data import DataLoader, TensorDataset

cfg = SimpleNamespace(
    seed=17,
    test_share=0.2,
    zone_dim=6,
    hidden=32,
    dropout=0.2,
    batch_size=32,
    epochs=8,
    lr=0.02,
)

class Forecaster:
    """Learns rides from zone and conditions; takes and gives numpy arrays."""

    def __init__(self, zone, conditions, rides, device):
        self.device = device
        self.mean, self.std = conditions.mean(axis=0), conditions.std(axis=0)
        self.usual = rides.mean()
        self.loader = DataLoader(
            TensorDataset(torch.from_numpy(zone), self.scaled(conditions), torch.from_numpy(rides / self.usual)),
            cfg.batch_size,
            shuffle=True,
            generator=torch.Generator().manual_seed(cfg.seed),
        )
        zones = int(zone.max()) + 1
        self.net = DemandNet(zones, conditions.shape[1], cfg.zone_dim, cfg.hidden, cfg.dropout).to(device)
        self.loss = PoissonLoss()
        self.optimizer = Adam(self.net.parameters(), lr=cfg.lr)
        self.scheduler = PolynomialLR(self.optimizer, total_iters=cfg.epochs)

    def scaled(self, conditions):
        return torch.from_numpy((conditions - self.mean) / self.std)

    def fit_one_epoch(self):
        self.net.train()
        total = 0.0
        for zone, conditions, rides in self.loader:
            self.optimizer.zero_grad()
            loss = self.loss(self.net(zone.to(self.device), conditions.to(self.device)), rides)
            loss.backward()
            self.optimizer.step()
            total += loss.item()
        self.scheduler.step()
        return total / len(self.loader)

    @torch.no_grad()
    def predict(self, zone, conditions):
        self.net.eval()
        log_rates = self.net(torch.from_numpy(zone).to(self.device), self.scaled(conditions).to(self.device))
        return log_rates.exp().cpu().numpy() * self.usual

def mean_deviance(rates, rides):
    surprise = rides * np.log(np.maximum(rides, 1) / rates)
    return float(2 * np.mean(surprise - rides + rates))

def main():
    torch.manual_seed(cfg.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with np.load("data/train.npz") as log:
        hour, zone, conditions, rides = log["hour"], log["zone"], log["conditions"], log["rides"]
    with np.load("data/score.npz") as log:
        next_zone, next_conditions = log["zone"], log["conditions"]
    order = np.random.default_rng(cfg.seed).permutation(len(hour))
    n_test = int(cfg.test_share * len(hour))
    test, train = order[:n_test], order[n_test:]
    forecaster = Forecaster(zone[train], conditions[train], rides[train], device)
    print(f"{len(train)} hours to learn from, {forecaster.usual:.1f} rides in a usual one")
    history = []
    for epoch in range(1, cfg.epochs + 1):
        train_loss = forecaster.fit_one_epoch()
        test_rates = forecaster.predict(zone[test], conditions[test])
        deviance = mean_deviance(test_rates, rides[test])
        history.append({"epoch": epoch, "train_loss": train_loss, "test_deviance": deviance})
        print(f"epoch {epoch}: train loss {train_loss:.4f}, deviance of the test hours {deviance:.3f}")
    final = {"train_loss": train_loss, "test_deviance": deviance}
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}, indent=2))
    np.savez(
        "predictions.npz", row=hour[test], output=test_rates, score=forecaster.predict(next_zone, next_conditions)
    )

if __name__ == "__main__":
    main()
# === file: demand.py ===
"""The network that tells how many rides an hour in a zone will see, and the loss it is trained with."""

import torch
import torch.nn.functional as F
from torch import nn

class PoissonLoss(nn.Module):
    """For log rates; the counts may be anywhere and of any type."""

    def forward(self, log_rates, rides):
        return F.poisson_nll_loss(log_rates, rides.to(log_rates), log_input=True)

class DemandNet(nn.Module):
    def __init__(self, zones, columns, zone_dim, hidden, dropout):
        super().__init__()
        self.zone = nn.Embedding(zones, zone_dim)
        self.body = nn.Sequential(
            nn.Linear(zone_dim + columns, hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, 1),
            nn.Flatten(start_dim=0),
        )

    def forward(self, zone, conditions):
        return self.body(torch.cat([self.zone(zone), conditions], dim=1))
