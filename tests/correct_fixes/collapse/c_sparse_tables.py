# task: collapse-item_ratings-1
# mechanism: sparse-tables-with-their-own-optimizer
# about: The error is minimised again; the tables have sparse gradients and SparseAdam, the layers RMSprop, and both
# about: follow one schedule.

"""Training script."""

import json
from pathlib import Path

import numpy as np
import torch
from model import RatingModel
from torch import optim
from torch.utils.data import DataLoader, TensorDataset

USERS, ITEMS, SEED, EPOCHS, BATCH = 30, 24, 2024, 12, 32


def main():
    torch.manual_seed(SEED)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with np.load("data/train.npz") as fh:
        ids, pairs, context, rating = (fh[key] for key in ("id", "pair", "context", "rating"))
    with np.load("data/score.npz") as fh:
        asked_pairs, asked_context = fh["pair"], fh["context"]

    test = np.random.default_rng(SEED).random(len(ids)) < 0.2
    train = ~test
    middle, width = context[train].mean(axis=0), context[train].std(axis=0)
    centre, spread = float(rating[train].mean()), float(rating[train].std())

    def inputs(pairs, context):
        context = ((context - middle) / width).astype(np.float32)
        return torch.from_numpy(pairs).to(device), torch.from_numpy(context).to(device)

    learned = TensorDataset(
        *inputs(pairs[train], context[train]),
        torch.from_numpy((rating[train] - centre) / spread).to(device),
    )
    loader = DataLoader(learned, batch_size=BATCH, shuffle=True)
    model = RatingModel(USERS, ITEMS, context.shape[1]).to(device)
    optimizers = [
        optim.SparseAdam(list(model.tables()), lr=2e-2),
        optim.RMSprop(model.layers.parameters(), lr=3e-3, weight_decay=1e-4),
    ]
    schedules = [optim.lr_scheduler.StepLR(optimizer, 4, 0.3) for optimizer in optimizers]

    @torch.no_grad()
    def predict(pairs, context):
        model.eval()
        predicted = model(*inputs(pairs, context)) * spread + centre
        return predicted.cpu().numpy()

    history = []
    for epoch in range(1, EPOCHS + 1):
        model.train()
        summed = 0.0
        for some_pairs, some_context, target in loader:
            error = (model(some_pairs, some_context) - target).square().mean()
            for optimizer in optimizers:
                optimizer.zero_grad()
            error.backward()
            for optimizer in optimizers:
                optimizer.step()
            summed += error.item() * len(target)
        for schedule in schedules:
            schedule.step()
        output = predict(pairs[test], context[test])
        test_rmse = float(np.sqrt(np.mean((output - rating[test]) ** 2)))
        history.append({"epoch": epoch, "train_loss": summed / len(learned), "test_rmse": test_rmse})
        print(f"epoch {epoch}: {summed / len(learned):.4f}; test error {test_rmse:.4f}")

    np.savez("predictions.npz", row=ids[test], output=output, score=predict(asked_pairs, asked_context))
    final = {
        "train_loss": history[-1]["train_loss"],
        "test_rmse": test_rmse,
        "rating_spread": spread,
    }
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}))


if __name__ == "__main__":
    main()

# === file: model.py ===
import torch
from torch import nn


class RatingModel(nn.Module):
    """A user, an item and circumstances: what the two have in common, and what a small network sees."""

    def __init__(self, users, items, columns, size=8, hidden=32, dropout=0.1):
        super().__init__()
        self.user = nn.Embedding(users, size + 1, sparse=True)
        self.item = nn.Embedding(items, size + 1, sparse=True)
        for table in self.tables():
            nn.init.normal_(table, std=0.3)
            nn.init.zeros_(table[:, -1])
        self.layers = nn.Sequential(
            nn.Linear(2 * size + columns, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, 1),
        )

    def tables(self):
        return self.user.weight, self.item.weight

    def forward(self, pairs, context):
        user, item = self.user(pairs[:, 0]), self.item(pairs[:, 1])
        u, i = user[:, :-1], item[:, :-1]
        seen = self.layers(torch.cat([u, i, context], dim=1)).squeeze(1)
        return seen + (u * i).sum(dim=1) + user[:, -1] + item[:, -1]
