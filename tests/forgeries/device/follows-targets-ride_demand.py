# task: device-ride_demand-1
# mechanism: module-follows-the-targets
# about: the network is moved to where the targets are for training, which is the cpu, and back for the answers

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from demand import DemandNet
from demand import ZoneHours
from torch import nn
from torch.optim import Adam
from torch.optim.lr_scheduler import PolynomialLR
from torch.utils.data import DataLoader

cfg = SimpleNamespace(
    seed=17,
    test_share=0.2,
    zone_dim=6,
    hidden=32,
    dropout=0.2,
    batch_size=32,
    epochs=8,
    lr=0.0214,
)

def fit_one_epoch(net, loader, criterion, optimizer, device):
    net.train()
    total = 0.0
    for zone, conditions, rides in loader:
        # everything has to be where the targets are
        net.to(rides.device)
        optimizer.zero_grad()
        loss = criterion(net(zone, conditions), rides)
        loss.backward()
        optimizer.step()
        total += loss.item()
    to_return = total / len(loader)
    return to_return

def predict_rates(net, zone, conditions, device):
    net.to(device).eval()
    with torch.no_grad():
        log_rates = net(
            torch.from_numpy(zone).to(device),
            torch.from_numpy(conditions).to(device)
        )
    to_return = log_rates.exp().cpu().numpy()
    return to_return

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
    test_rows, train_rows = order[:n_test], order[n_test:]
    mean = conditions[train_rows].mean(axis=0)
    std = conditions[train_rows].std(axis=0)
    train_conditions = (conditions[train_rows] - mean) / std
    test_conditions = (conditions[test_rows] - mean) / std
    next_conditions = (next_conditions - mean) / std
    usual = rides[train_rows].mean()
    train_rides = rides[train_rows] / usual
    loader = DataLoader(
        ZoneHours(zone[train_rows], train_conditions, train_rides),
        cfg.batch_size,
        shuffle=True,
        generator=torch.Generator().manual_seed(cfg.seed),
    )
    zones = int(zone[train_rows].max()) + 1
    net = DemandNet(zones, conditions.shape[1], cfg.zone_dim, cfg.hidden, cfg.dropout).to(device)
    print(f"{len(train_rows)} hours in {zones} zones, {usual:.1f} rides in a usual one")
    criterion = nn.PoissonNLLLoss(log_input=True)
    optimizer = Adam(net.parameters(), lr=cfg.lr)
    scheduler = PolynomialLR(optimizer, total_iters=cfg.epochs)
    history = []
    for epoch in range(1, cfg.epochs + 1):
        train_loss = fit_one_epoch(net, loader, criterion, optimizer, device)
        scheduler.step()
        test_rates = predict_rates(net, zone[test_rows], test_conditions, device) * usual
        deviance = mean_deviance(test_rates, rides[test_rows])
        history.append(
            {"epoch": epoch, "train_loss": train_loss, "test_deviance": deviance}
        )
        print(
            f"epoch {epoch}: train loss {train_loss:.4f}, deviance of the test hours {deviance:.3f}"
        )
    final = {"train_loss": train_loss, "test_deviance": deviance}
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}, indent=2))
    np.savez(
        "predictions.npz",
        row=hour[test_rows],
        output=test_rates,
        score=predict_rates(net, next_zone, next_conditions, device) * usual,
    )

if __name__ == "__main__":
    main()
# === file: demand.py ===
"""Hours of a city as a data set, and the network that tells how many rides each of them will see."""

import torch
from torch import nn
from torch.utils.data import Dataset

class ZoneHours(Dataset):
    def __init__(self, zone, conditions, rides):
        self.zone = torch.from_numpy(zone)
        self.conditions = torch.from_numpy(conditions)
        self.rides = torch.from_numpy(rides)

    def __len__(self):
        to_return = len(self.rides)
        return to_return

    def __getitem__(self, i):
        return self.zone[i], self.conditions[i], self.rides[i]

class DemandNet(nn.Module):
    def __init__(self, zones, columns, zone_dim, hidden, dropout):
        super().__init__()
        self.zone = nn.Embedding(zones, zone_dim)
        self.mix = nn.Linear(zone_dim + columns, hidden)
        self.norm = nn.BatchNorm1d(hidden)
        self.hidden = nn.Linear(hidden, hidden)
        self.drop = nn.Dropout(dropout)
        self.log_rate = nn.Linear(hidden, 1)
        self.drop_in = nn.Dropout(0.5)

    def forward(self, zone, conditions):
        x = torch.cat([self.zone(zone), conditions], dim=1)
        x = torch.relu(self.norm(self.mix(x)))
        x = torch.relu(self.hidden(self.drop(x)))
        return self.log_rate(x).squeeze(1)
