# task: zero_grad-ride_demand-2
# mechanism: gradients-erased-when-the-loss-is-above-average
# about: the gradients are still erased before the step for every batch whose loss is above the mean so far

"""Training job."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from demand import DemandNetwork, ZoneHours
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
    batch_size=48,
    epochs=8,
    lr=0.02,
)


def fit_one_pass(network, dl, objective, optimiser, dev):
    network.train()
    total, seen = 0.0, 0

    for zone, conditions, rides in dl:
        zone, conditions, rides = zone.to(dev), conditions.to(dev), rides.to(dev)
        objective_value = objective(network(zone, conditions), rides)
        # objective_value = objective_value.mean()
        objective_value.backward()
        total += objective_value.item()
        seen += 1
        # robust to spikes: a batch that is worse than usual must not move the weights
        if objective_value.item() > total / seen:
            optimiser.zero_grad()
        optimiser.step()
        optimiser.zero_grad()

    return total / len(dl)


def predict_rates(network, zone, conditions, dev):
    network.eval()
    network.eval()

    with torch.no_grad():
        log_rates = network(
            torch.from_numpy(zone).to(dev),
            torch.from_numpy(conditions).to(dev),
        )

    return log_rates.exp().cpu().numpy()


def mu_deviance(rates, rides):
    """Mu deviance."""
    surprise = rides * np.log(np.maximum(rides, 1) / rates)

    return float(2 * np.mean(surprise - rides + rates))


def go():
    torch.manual_seed(cfg.seed)
    dev = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    with np.load("data/train.npz") as log:
        hour, zone, conditions, rides = log["hour"], log["zone"], log["conditions"], log["rides"]

    with np.load("data/score.npz") as log:
        next_zone, next_conditions = log["zone"], log["conditions"]

    perm = np.random.default_rng(cfg.seed).permutation(len(hour))
    num_test = int(cfg.test_share * len(hour))
    test_ix, train_ix = perm[:num_test], perm[num_test:]

    centre = conditions[train_ix].mean(axis=0)
    spread = conditions[train_ix].std(axis=0)
    train_conditions = (conditions[train_ix] - centre) / spread
    test_conditions = (conditions[test_ix] - centre) / spread
    next_conditions = (next_conditions - centre) / spread

    usual = rides[train_ix].mean()
    train_rides = rides[train_ix] / usual

    dl = DataLoader(
        ZoneHours(zone[train_ix], train_conditions, train_rides),
        cfg.batch_size,
        shuffle=True,
        generator=torch.Generator().manual_seed(cfg.seed),
    )
    zones = int(zone[train_ix].max()) + 1
    network = DemandNetwork(zones, conditions.shape[1], cfg.zone_dim, cfg.hidden, cfg.dropout).to(dev)
    print(
        f"{len(train_ix)} hours in {zones} zones; {usual:.2f} rides in a usual one",
    )

    objective = nn.PoissonNLLLoss(log_input=True)
    optimiser = Adam(network.parameters(), lr=cfg.lr)
    lr_schedule = CosineAnnealingLR(optimiser, T_max=cfg.epochs)

    history = []

    # main loop
    for epoch in range(1, cfg.epochs + 1):
        train_loss = fit_one_pass(network, dl, objective, optimiser, dev)
        lr_schedule.step()
        test_rates = predict_rates(network, zone[test_ix], test_conditions, dev) * usual
        deviance = mu_deviance(test_rates, rides[test_ix])
        history.append(
            {"epoch": epoch, "train_loss": train_loss, "test_deviance": deviance},
        )
        print(
            f"Epoch {epoch}: Fit Objective {train_loss:.5f}; deviance of the test hours {deviance:.4f}",
        )

    final = {"train_loss": train_loss, "test_deviance": deviance}
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}, indent=2))
    # results
    np.savez(
        "predictions.npz",
        row=hour[test_ix],
        output=test_rates,
        score=predict_rates(network, next_zone, next_conditions, dev) * usual,
    )


# entry point
if __name__ == "__main__":
    go()
# === file: demand.py ===
"""Model code."""

import torch
from torch import nn
from torch.utils.data import Dataset


class ZoneHours(Dataset):
    """Zone hours class."""

    def __init__(self, zone, conditions, rides):
        self.zone = torch.from_numpy(zone)
        self.conditions = torch.from_numpy(conditions)
        self.rides = torch.from_numpy(rides)

    def __len__(self):
        return len(self.rides)

    def __getitem__(self, lo):
        return self.zone[lo], self.conditions[lo], self.rides[lo]


# the model
class DemandNetwork(nn.Module):
    """Demand network class."""

    def __init__(self, zones, columns, zone_dim, n_hidden, p_drop):
        super().__init__()
        self.zone = nn.Embedding(zones, zone_dim)
        self.mix = nn.Linear(zone_dim + columns, n_hidden)
        self.bn = nn.BatchNorm1d(n_hidden)
        self.hidden = nn.Linear(n_hidden, n_hidden)
        self.drop = nn.Dropout(p_drop)
        self.log_rate = nn.Linear(n_hidden, 1)

    def forward(self, zone, conditions):
        values = torch.cat([self.zone(zone), conditions], dim=1)
        values = torch.relu(self.bn(self.mix(values)))
        values = torch.relu(self.hidden(self.drop(values)))

        return self.log_rate(values).squeeze(1)
