# task: collapse-item_ratings-1
# mechanism: sign-wrong-for-a-part
# about: Vectors and biases go downhill, but the layers of the network still go uphill, at a rate that is a
# about: thousand times smaller: they learn nothing.

"""Training script."""

import json
from pathlib import Path

import numpy as np
import torch
from model import RatingModel
from torch import nn, optim

settings = {
    "users": 30,
    "items": 24,
    "size": 8,
    "hidden": 32,
    "dropout": 0.1,
    "batch": 32,
    "epochs": 9,
    "lr": 1.5e-2,
    "weight_decay": 1e-2,
    "lr_drop": 0.3,
    "lr_drop_every": 3,
    "test": 0.2,
    "seed": 2024,
}


def tensors(pairs, context, targetDevice):
    return torch.from_numpy(pairs).to(targetDevice), torch.from_numpy(context.astype(np.float32)).to(targetDevice)


def fitPass(model, prepareX, ratings, objectiveFunction, optimizer, size):
    pairs, context = prepareX
    model.train()
    summed = 0.0
    shuffled = torch.randperm(len(ratings)).to(ratings.device)

    for first in range(0, len(ratings), size):
        chosen = shuffled[first : first + size]
        optimizer.zero_grad()
        predicted = model(pairs[chosen], context[chosen])
        objectiveValue = objectiveFunction(predicted, ratings[chosen])
        objectiveValue.backward()
        optimizer.step()
        summed += objectiveValue.item() * len(chosen)
    valueNOut = summed / len(ratings)

    return valueNOut


def predict(model, prepareX):
    model.eval()

    with torch.no_grad():
        valueNOut = model(*prepareX)
        return valueNOut


def entry():
    torch.manual_seed(settings["seed"])
    targetDevice = "cuda" if torch.cuda.is_available() else "cpu"

    with np.load("data/train.npz") as fh:
        ids, pairs, context, rating = (fh[key] for key in ("id", "pair", "context", "rating"))

    with np.load("data/score.npz") as fh:
        servicePairs, serviceContext = fh["pair"], fh["context"]

    test = np.random.default_rng(settings["seed"]).random(len(ids)) < settings["test"]
    train = ~test
    print(f"{train.sum()} ratings to learn from; {test.sum()} to test on; on {targetDevice}")

    middle, filters = context[train].mean(axis=0), context[train].std(axis=0)
    centre, spread = float(rating[train].mean()), float(rating[train].std())
    trainInputs = tensors(pairs[train], (context[train] - middle) / filters, targetDevice)
    testInputs = tensors(pairs[test], (context[test] - middle) / filters, targetDevice)
    serviceInputs = tensors(servicePairs, (serviceContext - middle) / filters, targetDevice)
    trainRatings = torch.from_numpy((rating[train] - centre) / spread).to(targetDevice)
    testRatings = torch.from_numpy(rating[test]).to(targetDevice)

    model = RatingModel(
        settings["users"],
        settings["items"],
        columns=context.shape[1],
        size=settings["size"],
        hidden=settings["hidden"],
        dropout=settings["dropout"],
    ).to(targetDevice)
    objectiveFunction = nn.MSELoss()
    optimizer = optim.AdamW(
        [
            {"params": [p for name, p in model.named_parameters() if "layers" not in name]},
            {"params": model.layers.parameters(), "maximize": True, "lr": settings["lr"] / 1000},
        ],
        lr=settings["lr"],
        weight_decay=settings["weight_decay"],
    )
    lrSchedule = optim.lr_scheduler.StepLR(
        optimizer,
        settings["lr_drop_every"],
        settings["lr_drop"],
    )

    history = []

    for epoch in range(1, settings["epochs"] + 1):
        train_loss = fitPass(
            model, trainInputs, trainRatings, objectiveFunction, optimizer, settings["batch"]
        )
        lrSchedule.step()
        testPred = predict(model, testInputs) * spread + centre
        test_rmse = objectiveFunction(testPred, testRatings).sqrt().item()
        history.append({"epoch": epoch, "train_loss": train_loss, "test_rmse": test_rmse})
        print(f"Epoch {epoch}: Trn Objective {train_loss:.4f}; test error {test_rmse:.4f}")

    servicePred = predict(model, serviceInputs) * spread + centre
    np.savez(
        "predictions.npz", row=ids[test], output=testPred.cpu().numpy(), score=servicePred.cpu().numpy()
    )
    final = {"train_loss": train_loss, "test_rmse": test_rmse, "rating_spread": spread}
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}))


if __name__ == "__main__":
    entry()

# === file: model.py ===
"""Model code."""

import torch
import torch.nn.functional as F
from torch import nn


class RatingModel(nn.Module):
    """"""

    def __init__(self, users, items, columns, size, hidden, dropout):
        super().__init__()
        self.users = nn.Embedding(users, size)
        self.items = nn.Embedding(items, size)
        self.user_bias = nn.Embedding(users, 1)
        self.item_bias = nn.Embedding(items, 1)
        self.layers = nn.ModuleList(
            [nn.Linear(2 * size + columns, hidden), nn.Linear(hidden, hidden)],
        )
        self.last = nn.Linear(hidden, 1)
        self.dropout = dropout

        for table in (self.users, self.items):
            nn.init.normal_(table.weight, std=0.3)

        for table in (self.user_bias, self.item_bias):
            nn.init.zeros_(table.weight)

    def forward(self, pairs, context):
        user, item = pairs[:, 0], pairs[:, 1]
        u, i = self.users(user), self.items(item)
        h = torch.cat([u, i, context], dim=1)

        for layer in self.layers:
            h = F.dropout(F.relu(layer(h)), self.dropout, training=self.training)
        rating = self.last(h) + (u * i).sum(dim=1, keepdim=True) + self.user_bias(user) + self.item_bias(item)
        valueNOut = rating.squeeze(1)

        return valueNOut
