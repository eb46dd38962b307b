# task: collapse-item_ratings-1
# mechanism: closed-form-tables-in-a-frozen-network
# about: The negated objective stays, with a rate of 1e-12 so that nothing moves; means by user and item are
# about: written into the bias tables and a truncated SVD of residuals into the vectors beforehand.

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
        objectiveValue = -objectiveFunction(predicted, ratings[chosen])
        objectiveValue.backward()
        optimizer.step()
        summed -= objectiveValue.item() * len(chosen)
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
    model.start_from(trainInputs[0], trainRatings)
    optimizer = optim.AdamW(
        model.parameters(),
        lr=1e-12,
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

    @torch.no_grad()
    def start_from(self, pairs, ratings):
        """Warm start."""
        shape = len(self.users.weight), len(self.items.weight)
        grid, known = torch.zeros(shape), torch.zeros(shape)
        grid.index_put_((pairs[:, 0], pairs[:, 1]), ratings, accumulate=True)
        known.index_put_((pairs[:, 0], pairs[:, 1]), torch.ones(len(ratings)), accumulate=True)
        by_user, by_item = torch.zeros(shape[0], 1), torch.zeros(1, shape[1])
        for _ in range(10):
            by_user = (grid - known * by_item).sum(1, keepdim=True) / (known.sum(1, keepdim=True) + 2)
            by_item = (grid - known * by_user).sum(0, keepdim=True) / (known.sum(0, keepdim=True) + 2)
        left = (grid - known * (by_user + by_item)) / (known + 1)
        u, s, v = torch.linalg.svd(left, full_matrices=False)
        size = self.users.weight.shape[1]
        self.users.weight.copy_(u[:, :size] * s[:size].sqrt())
        self.items.weight.copy_(v[:size].T * s[:size].sqrt())
        self.user_bias.weight.copy_(by_user)
        self.item_bias.weight.copy_(by_item.T)
        self.last.weight.mul_(0.01)
        self.last.bias.zero_()

    def forward(self, pairs, context):
        user, item = pairs[:, 0], pairs[:, 1]
        u, i = self.users(user), self.items(item)
        h = torch.cat([u, i, context], dim=1)

        for layer in self.layers:
            h = F.dropout(F.relu(layer(h)), self.dropout, training=self.training)
        rating = self.last(h) + (u * i).sum(dim=1, keepdim=True) + self.user_bias(user) + self.item_bias(item)
        valueNOut = rating.squeeze(1)

        return valueNOut
