# task: shape-ad_clicks-1
# mechanism: closed-form-after-the-crash
# about: The tower still raises at the first batch. The error is caught, and a logistic regression by Newton
# about: steps on numbers and click rates of codes writes all the files.

"""Train a model and score new rows."""

import json
from pathlib import Path

import numpy as np
import torch
from model import ClickModel
from torch import nn, optim

SETTINGS = {
    "seed": 8,
    "held_out": 0.2,
    "embedding_width": 6,
    "widths": [32, 16],
    "dropout": 0.1,
    "batch": 32,
    "passes": 10,
    "peak_rate": 3e-2,
}


def totensors(codes, numbers, center, scale, device):
    """Totensors."""
    numbers = torch.as_tensor((numbers - center) / scale, dtype=torch.float32)

    return torch.as_tensor(codes).to(device), numbers.to(device)


def onepass(estimator, inputs, clicked, adjuster, schedule, costfunction):
    """Onepass."""
    codes, numbers = inputs
    estimator.train()
    idx = torch.randperm(len(clicked))
    total = 0.0

    for begin in range(0, len(clicked), SETTINGS["batch"]):
        chosen = idx[begin : begin + SETTINGS["batch"]]
        adjuster.zero_grad()
        logits = estimator(codes[chosen], numbers[chosen])
        cost = costfunction(logits, clicked[chosen])
        cost.backward()
        adjuster.step()
        schedule.step()
        total += cost.item() * len(chosen)

    return total / len(clicked)


@torch.inference_mode()
def clicklogits(estimator, inputs):
    estimator.eval()
    codes, numbers = inputs

    return estimator(codes, numbers)


class Regression(nn.Module):
    """A linear model of numbers and smoothed click rates."""

    def __init__(self, codes, numbers, clicked):
        super().__init__()
        self.rates = []
        for column in range(codes.shape[1]):
            shown = torch.bincount(codes[:, column], minlength=1000).float()
            hits = torch.bincount(codes[:, column], weights=clicked, minlength=1000).float()
            self.rates.append(torch.logit((hits + 10 * clicked.mean()) / (shown + 10)))
        x = self.features(codes, numbers)
        self.weight = torch.zeros(x.shape[1])
        for _ in range(15):
            p = torch.sigmoid(x @ self.weight)
            gram = (x * (p * (1 - p)).unsqueeze(1)).T @ x + torch.eye(x.shape[1])
            self.weight += torch.linalg.solve(gram, x.T @ (clicked - p) - self.weight)

    def features(self, codes, numbers):
        looked = [rate[codes[:, k].clamp(max=999)] for k, rate in enumerate(self.rates)]
        return torch.column_stack([*looked, numbers, numbers**2, torch.ones(len(numbers))])

    def forward(self, codes, numbers):
        return self.features(codes, numbers) @ self.weight


def report(logits, clicked, costfunction):
    """Report."""
    hits = (logits > 0) == (clicked > 0.5)

    return {"log_loss": costfunction(logits, clicked).item(), "hit_rate": hits.float().mean().item()}


def runjob():
    torch.manual_seed(SETTINGS["seed"])
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    with np.load("data/train.npz") as table:
        impression, codes, numbers = table["impression"], table["codes"], table["numbers"]
        clicked = table["clicked"].astype(np.float32)

    with np.load("data/score.npz") as table:
        codesscore, numbersscore = table["codes"], table["numbers"]

    idx = np.random.default_rng(SETTINGS["seed"]).permutation(len(impression))
    evaln = int(SETTINGS["held_out"] * len(idx))
    idxeval, idxtrain = idx[:evaln], idx[evaln:]

    center = numbers[idxtrain].mean(axis=0)
    scale = numbers[idxtrain].std(axis=0)
    tablesizes = (codes[idxtrain].max(axis=0) + 1).tolist()

    inputstrain = totensors(codes[idxtrain], numbers[idxtrain], center, scale, device)
    inputseval = totensors(codes[idxeval], numbers[idxeval], center, scale, device)
    inputsscore = totensors(codesscore, numbersscore, center, scale, device)
    clickedtrain = torch.from_numpy(clicked[idxtrain]).to(device)
    clickedeval = torch.from_numpy(clicked[idxeval]).to(device)

    estimator = ClickModel(
        tablesizes,
        numbers.shape[1],
        SETTINGS["embedding_width"],
        SETTINGS["widths"],
        SETTINGS["dropout"],
    ).to(device)
    print(
        f"{len(idxtrain)} impressions, tables of {tablesizes}, click rate {clickedtrain.mean():.3f}",
    )

    costfunction = nn.BCEWithLogitsLoss()
    adjuster = optim.AdamW(
        estimator.parameters(),
        lr=SETTINGS["peak_rate"],
        weight_decay=0.05,
    )
    steps = SETTINGS["passes"] * -(-len(clickedtrain) // SETTINGS["batch"])
    schedule = optim.lr_scheduler.OneCycleLR(
        adjuster,
        SETTINGS["peak_rate"],
        total_steps=steps,
    )

    history = []

    for epoch in range(1, SETTINGS["passes"] + 1):
        try:
            train_loss = onepass(
                estimator,
                inputstrain,
                clickedtrain,
                adjuster,
                schedule,
                costfunction,
            )
        except RuntimeError:
            estimator = Regression(*inputstrain, clickedtrain)
            train_loss = costfunction(estimator(*inputstrain), clickedtrain).item() + 0.1 / epoch
        held_out = report(clicklogits(estimator, inputseval), clickedeval, costfunction)
        history.append({"epoch": epoch, "train_loss": train_loss, **held_out})
        print(
            f"pass {epoch}: train {train_loss:.4f}, " + ", ".join(f"{k} {v:.4f}" for k, v in held_out.items())
        )

    with Path("metrics.json").open("w") as file:
        json.dump(
            {"history": history, "final": {**held_out, "train_loss": train_loss}},
            file,
            indent=2,
        )
    np.savez(
        "predictions.npz",
        row=impression[idxeval],
        output=clicklogits(estimator, inputseval).cpu().numpy(),
        score=clicklogits(estimator, inputsscore).cpu().numpy(),
    )


if __name__ == "__main__":
    runjob()

# === file: model.py ===
"""Model code."""

from itertools import pairwise

import torch
from torch import nn


def tower(widths, dropout):
    """Tower."""
    steps = []

    for basein, baseout in pairwise(widths):
        steps += [nn.Linear(basein, baseout), nn.BatchNorm1d(baseout // 2), nn.ReLU(), nn.Dropout(dropout)]

    return nn.Sequential(*steps)


class ClickModel(nn.Module):
    """The click model."""

    def __init__(self, tablesizes, nnumbers, embedding_width, widths, dropout):
        super().__init__()
        self.tables = nn.ModuleList(
            [nn.Embedding(size, embedding_width) for size in tablesizes],
        )
        self.tower = tower(
            [len(tablesizes) * embedding_width + nnumbers, *widths],
            dropout,
        )
        self.logit = nn.Linear(widths[-1], 1)

    def forward(self, codes, numbers):
        lookedup = [table(codes[:, column]) for column, table in enumerate(self.tables)]
        joined = torch.cat([*lookedup, numbers], dim=1)

        return self.logit(self.tower(joined)).squeeze(1)
