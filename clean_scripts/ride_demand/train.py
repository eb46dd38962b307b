"""How many rides will be asked for in the next hour? Poisson regression with a small network.

A row is one zone in one hour, sampled from a long log in no order; `hour` is only its number. The conditions
are the time of day as sine and cosine, two columns of weather, and the rides of the hour before and of the
same hour a week earlier. Reads data/train.npz (hour, zone, conditions, rides) and data/score.npz (zone,
conditions); writes metrics.json and predictions.npz.
"""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from demand import DemandNet, ZoneHours
from torch import nn
from torch.optim import Adam
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.utils.data import DataLoader

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


def fit_one_epoch(net, loader, criterion, optimizer, device):
    """Returns the mean loss of the batches."""
    net.train()
    total = 0.0
    for zone, conditions, rides in loader:
        zone, conditions, rides = zone.to(device), conditions.to(device), rides.to(device)
        optimizer.zero_grad()
        loss = criterion(net(zone, conditions), rides)
        loss.backward()
        optimizer.step()
        total += loss.item()
    return total / len(loader)


def predict_rates(net, zone, conditions, device):
    """Predicted rates relative to a usual hour, on the CPU."""
    net.eval()
    with torch.no_grad():
        log_rates = net(torch.from_numpy(zone).to(device), torch.from_numpy(conditions).to(device))
    return log_rates.exp().cpu().numpy()


def mean_deviance(rates, rides):
    """Poisson deviance per hour; an hour without rides costs twice its rate."""
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

    # Rides in units of a usual hour: logarithms of rates then lie around zero.
    usual = rides[train_rows].mean()
    train_rides = rides[train_rows] / usual

    loader = DataLoader(
        ZoneHours(zone[train_rows], train_conditions, train_rides),
        batch_size=cfg.batch_size,
        shuffle=True,
        generator=torch.Generator().manual_seed(cfg.seed),
    )
    zones = int(zone[train_rows].max()) + 1
    net = DemandNet(zones, conditions.shape[1], cfg.zone_dim, cfg.hidden, cfg.dropout).to(device)
    print(f"{len(train_rows)} hours in {zones} zones, {usual:.1f} rides in a usual one")

    criterion = nn.PoissonNLLLoss(log_input=True)
    optimizer = Adam(net.parameters(), lr=cfg.lr)
    scheduler = CosineAnnealingLR(optimizer, T_max=cfg.epochs)

    history = []
    for epoch in range(1, cfg.epochs + 1):
        train_loss = fit_one_epoch(net, loader, criterion, optimizer, device)
        scheduler.step()
        test_rates = predict_rates(net, zone[test_rows], test_conditions, device) * usual
        deviance = mean_deviance(test_rates, rides[test_rows])
        history.append({"epoch": epoch, "train_loss": train_loss, "test_deviance": deviance})
        print(f"epoch {epoch}: train loss {train_loss:.4f}, deviance of the test hours {deviance:.3f}")

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
