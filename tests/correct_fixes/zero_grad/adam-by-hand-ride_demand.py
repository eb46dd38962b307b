# task: zero_grad-ride_demand-2
# mechanism: hand-written-adam-on-autograd-grad
# about: Gradients come from torch.autograd.grad and never gather anywhere; Adam with bias correction is written by hand on the list of parameters,
# about: with a cosine rate over all steps.

"""Training job."""

import json
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from demand import DemandNetwork, ZoneHours
from torch.utils.data import DataLoader

SEED = 17
TEST_SHARE = 0.2
ZONE_DIM = 6
HIDDEN = 32
DROPOUT = 0.2
BATCH_SIZE = 48
EPOCHS = 8
PEAK_LR = 0.02


class HandAdam:
    """Adam on gradients that are passed in. Nothing is stored in .grad."""

    def __init__(self, params, total_steps, lr=PEAK_LR, betas=(0.9, 0.999), eps=1e-8):
        self.params = list(params)
        self.total_steps, self.lr, self.betas, self.eps = total_steps, lr, betas, eps
        self.first = [torch.zeros_like(p) for p in self.params]
        self.second = [torch.zeros_like(p) for p in self.params]
        self.done = 0

    @torch.no_grad()
    def step(self, gradients):
        lr = self.lr * 0.5 * (1 + math.cos(math.pi * self.done / self.total_steps))
        self.done += 1
        b1, b2 = self.betas
        fix1, fix2 = 1 - b1**self.done, 1 - b2**self.done
        for p, g, m, v in zip(self.params, gradients, self.first, self.second, strict=True):
            m.lerp_(g, 1 - b1)
            v.mul_(b2).addcmul_(g, g, value=1 - b2)
            p.addcdiv_(m, (v / fix2).sqrt_().add_(self.eps), value=-lr / fix1)


def fit_one_pass(network, dl, adam, dev):
    network.train()
    total = 0.0
    for batch in dl:
        zone, conditions, rides = (part.to(dev) for part in batch)
        loss = F.poisson_nll_loss(network(zone, conditions), rides, log_input=True)
        adam.step(torch.autograd.grad(loss, adam.params))
        total += loss.item()
    return total / len(dl)


@torch.no_grad()
def predict_rates(network, zone, conditions, dev):
    network.eval()
    return network(torch.from_numpy(zone).to(dev), torch.from_numpy(conditions).to(dev)).exp().cpu().numpy()


def mean_deviance(rates, rides):
    surprise = rides * np.log(np.maximum(rides, 1) / rates)
    return float(2 * np.mean(surprise - rides + rates))


def main():
    torch.manual_seed(SEED)
    dev = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with np.load("data/train.npz") as log:
        hour, zone, conditions, rides = (log[key] for key in ("hour", "zone", "conditions", "rides"))
    with np.load("data/score.npz") as log:
        next_zone, next_conditions = log["zone"], log["conditions"]

    perm = np.random.default_rng(SEED).permutation(len(hour))
    num_test = int(TEST_SHARE * len(hour))
    test_ix, train_ix = perm[:num_test], perm[num_test:]
    centre, spread = conditions[train_ix].mean(axis=0), conditions[train_ix].std(axis=0)
    conditions, next_conditions = (conditions - centre) / spread, (next_conditions - centre) / spread
    usual = rides[train_ix].mean()

    dl = DataLoader(
        ZoneHours(zone[train_ix], conditions[train_ix], rides[train_ix] / usual),
        BATCH_SIZE,
        shuffle=True,
        generator=torch.Generator().manual_seed(SEED),
    )
    network = DemandNetwork(int(zone[train_ix].max()) + 1, conditions.shape[1], ZONE_DIM, HIDDEN, DROPOUT).to(dev)
    adam = HandAdam(network.parameters(), total_steps=EPOCHS * len(dl))

    history = []
    for epoch in range(1, EPOCHS + 1):
        train_loss = fit_one_pass(network, dl, adam, dev)
        test_rates = predict_rates(network, zone[test_ix], conditions[test_ix], dev) * usual
        deviance = mean_deviance(test_rates, rides[test_ix])
        history.append({"epoch": epoch, "train_loss": train_loss, "test_deviance": deviance})
        print(f"Epoch {epoch}: train loss {train_loss:.5f}; deviance of the test hours {deviance:.4f}")

    final = {"train_loss": train_loss, "test_deviance": deviance}
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}, indent=2))
    np.savez(
        "predictions.npz",
        row=hour[test_ix],
        output=test_rates,
        score=predict_rates(network, next_zone, next_conditions, dev) * usual,
    )


if __name__ == "__main__":
    main()
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
