"""Predict the rating a user gives an item from who, what and the circumstances.

Reads data/train.npz (id, pair, context, rating) and data/score.npz (pair, context); pair holds the codes of
the user and of the item. Writes metrics.json and predictions.npz.
"""

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
    "lr": 3e-2,
    "weight_decay": 1e-2,
    "lr_drop": 0.3,
    "lr_drop_every": 3,
    "test": 0.2,
    "seed": 2024,
}


def tensors(pairs, context, device):
    return torch.from_numpy(pairs).to(device), torch.from_numpy(context.astype(np.float32)).to(device)


def fit_epoch(model, inputs, ratings, loss_function, optimizer, size):
    """Train on every rating once, in random order; returns the mean loss."""
    pairs, context = inputs
    model.train()
    summed = 0.0
    shuffled = torch.randperm(len(ratings)).to(ratings.device)
    for first in range(0, len(ratings), size):
        chosen = shuffled[first : first + size]
        optimizer.zero_grad()
        predicted = model(pairs[chosen], context[chosen])
        loss = loss_function(predicted, ratings[chosen])
        loss.backward()
        optimizer.step()
        summed += loss.item() * len(chosen)
    return summed / len(ratings)


def predict(model, inputs):
    model.eval()
    with torch.no_grad():
        return model(*inputs)


def main():
    torch.manual_seed(settings["seed"])
    device = "cuda" if torch.cuda.is_available() else "cpu"

    with np.load("data/train.npz") as file:
        ids, pairs, context, rating = (file[key] for key in ("id", "pair", "context", "rating"))
    with np.load("data/score.npz") as file:
        score_pairs, score_context = file["pair"], file["context"]

    test = np.random.default_rng(settings["seed"]).random(len(ids)) < settings["test"]
    train = ~test
    print(f"{train.sum()} ratings to learn from, {test.sum()} to test on, on {device}")

    # Circumstances and ratings in units of what the training ratings show.
    middle, width = context[train].mean(axis=0), context[train].std(axis=0)
    centre, spread = float(rating[train].mean()), float(rating[train].std())
    train_inputs = tensors(pairs[train], (context[train] - middle) / width, device)
    test_inputs = tensors(pairs[test], (context[test] - middle) / width, device)
    score_inputs = tensors(score_pairs, (score_context - middle) / width, device)
    train_ratings = torch.from_numpy((rating[train] - centre) / spread).to(device)
    test_ratings = torch.from_numpy(rating[test]).to(device)

    model = RatingModel(
        settings["users"],
        settings["items"],
        columns=context.shape[1],
        size=settings["size"],
        hidden=settings["hidden"],
        dropout=settings["dropout"],
    ).to(device)
    loss_function = nn.MSELoss()
    optimizer = optim.AdamW(model.parameters(), lr=settings["lr"], weight_decay=settings["weight_decay"])
    scheduler = optim.lr_scheduler.StepLR(optimizer, settings["lr_drop_every"], settings["lr_drop"])

    history = []
    for epoch in range(1, settings["epochs"] + 1):
        train_loss = fit_epoch(
            model, train_inputs, train_ratings, loss_function, optimizer, settings["batch"]
        )
        scheduler.step()
        test_output = predict(model, test_inputs) * spread + centre
        test_rmse = loss_function(test_output, test_ratings).sqrt().item()
        history.append({"epoch": epoch, "train_loss": train_loss, "test_rmse": test_rmse})
        print(f"epoch {epoch}: train loss {train_loss:.3f}, test error {test_rmse:.3f}")

    score_output = predict(model, score_inputs) * spread + centre
    np.savez(
        "predictions.npz", row=ids[test], output=test_output.cpu().numpy(), score=score_output.cpu().numpy()
    )
    final = {"train_loss": train_loss, "test_rmse": test_rmse, "rating_spread": spread}
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}))


if __name__ == "__main__":
    main()
