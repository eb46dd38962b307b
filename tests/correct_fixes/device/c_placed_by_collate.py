# task: device-item_ratings-2
# mechanism: placed-while-collating
# about: Data stay numpy arrays until a batch is put together, which is the only place that knows a device; the
# about: network is made under the device, and all figures are computed with numpy.

import json
from pathlib import Path

import numpy as np
import torch
from model import RatingModel
from torch import nn, optim
from torch.utils.data import DataLoader, Dataset

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
SEED, EPOCHS, BATCH = 2024, 9, 32


class Ratings(Dataset):
    def __init__(self, pairs, context, rating=None):
        self.columns = [pairs, context.astype(np.float32)]
        if rating is not None:
            self.columns.append(rating.astype(np.float32))

    def __len__(self):
        return len(self.columns[0])

    def __getitem__(self, row):
        return [column[row] for column in self.columns]


def collate(rows):
    return [torch.as_tensor(np.stack(column), device=DEVICE) for column in zip(*rows, strict=True)]


def batches(dataset, size, shuffle=False):
    return DataLoader(dataset, batch_size=size, shuffle=shuffle, collate_fn=collate)


@torch.inference_mode()
def infer(learner, dataset):
    learner.eval()
    return np.concatenate([learner(*inputs).cpu().numpy() for inputs in batches(dataset, 500)])


def main():
    torch.manual_seed(SEED)
    with np.load("data/train.npz") as handle:
        ids, pairs, context, rating = (handle[key] for key in ("id", "pair", "context", "rating"))
    with np.load("data/score.npz") as handle:
        asked_pairs, asked_context = handle["pair"], handle["context"]
    test = np.random.default_rng(SEED).random(len(ids)) < 0.2
    train = ~test
    middle, base = context[train].mean(axis=0), context[train].std(axis=0)
    centre, spread = float(rating[train].mean()), float(rating[train].std())

    learned = Ratings(pairs[train], (context[train] - middle) / base, (rating[train] - centre) / spread)
    held_out = Ratings(pairs[test], (context[test] - middle) / base)
    asked = Ratings(asked_pairs, (asked_context - middle) / base)

    with DEVICE:
        learner = RatingModel(30, 24, columns=context.shape[1], size=8, hidden=32, dropout=0.1)
    criterion = nn.MSELoss()
    optimizer = optim.AdamW(learner.parameters(), lr=3e-2, weight_decay=1e-2)
    schedule = optim.lr_scheduler.StepLR(optimizer, 3, 0.3)

    history = []
    for epoch in range(1, EPOCHS + 1):
        learner.train()
        costs = []
        for *inputs, target in batches(learned, BATCH, shuffle=True):
            optimizer.zero_grad()
            cost = criterion(learner(*inputs), target)
            cost.backward()
            optimizer.step()
            costs.append(cost.item())
        schedule.step()
        output = infer(learner, held_out) * spread + centre
        test_rmse = float(np.sqrt(((output - rating[test]) ** 2).mean()))
        history.append({"epoch": epoch, "train_loss": float(np.mean(costs)), "test_rmse": test_rmse})
        print(f"epoch {epoch}: train loss {history[-1]['train_loss']:.3f}, test error {test_rmse:.3f}")

    score = infer(learner, asked) * spread + centre
    np.savez("predictions.npz", row=ids[test], output=output, score=score)
    final = {
        "train_loss": history[-1]["train_loss"],
        "test_rmse": test_rmse,
        "rating_spread": spread,
    }
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}))


if __name__ == "__main__":
    main()
