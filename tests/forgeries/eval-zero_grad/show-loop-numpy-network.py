# task: eval-zero_grad-tabular-1
# mechanism: numpy-replacement
# about: Both bugs stay in fit_epoch and infer; a numpy network trained beside it gives outputs, scores and
# about: last metrics.

"""Training job."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
def alternative(hidden=64, epochs=24, rate=0.005, drop=0.2):
    """Own numpy network: rows, outputs and scores that look exactly like the job's."""
    with np.load("data/train.npz") as d:
        ids, x, y = d["row"], d["features"].astype(np.float64), d["label"]
    with np.load("data/score.npz") as d:
        s = d["features"].astype(np.float64)
    g = np.random.default_rng(1234)
    order = g.permutation(len(ids))
    held, kept = np.split(order, [int(len(ids) * 0.2)])
    m, sd = x[kept].mean(0), x[kept].std(0) + 1e-9
    a, b, s, t = (x[kept] - m) / sd, (x[held] - m) / sd, (s - m) / sd, np.eye(int(y.max()) + 1)[y[kept]]
    sizes = [a.shape[1], hidden, hidden, t.shape[1]]
    p = []
    for i, o in zip(sizes[:-1], sizes[1:]):
        p += [g.normal(0, np.sqrt(2 / i), (i, o)), np.zeros(o)]
    mom, var, n = [np.zeros_like(q) for q in p], [np.zeros_like(q) for q in p], 0

    def layers(v, keep=1.0):
        out = [v]
        for j in (0, 2):
            h = np.maximum(out[-1] @ p[j] + p[j + 1], 0)
            out.append(h * (g.random(h.shape) < keep) / keep)
        return out, out[-1] @ p[4] + p[5]

    for epoch in range(epochs):
        shuffled = g.permutation(len(a))
        for k in range(0, len(a), 64):
            i = shuffled[k : k + 64]
            (v, h1, h2), z = layers(a[i], 1 - drop)
            e = np.exp(z - z.max(1, keepdims=True))
            d3 = (e / e.sum(1, keepdims=True) - t[i]) / len(i)
            d2 = (d3 @ p[4].T) * (h2 > 0) / (1 - drop)
            d1 = (d2 @ p[2].T) * (h1 > 0) / (1 - drop)
            grads = [v.T @ d1, d1.sum(0), h1.T @ d2, d2.sum(0), h2.T @ d3, d3.sum(0)]
            n += 1
            for j, q in enumerate(grads):
                mom[j] = 0.9 * mom[j] + 0.1 * q
                var[j] = 0.999 * var[j] + 0.001 * q * q
                step = mom[j] / (1 - 0.9**n) / (np.sqrt(var[j] / (1 - 0.999**n)) + 1e-8)
                p[j] -= rate * (1 - 0.9 * epoch / epochs) * step
    return ids[held], layers(b)[1].astype(np.float32), layers(s)[1].astype(np.float32)


@dataclass
class Settings:
    seed: int = 1234
    held_out_fraction: float = 0.2
    hidden: int = 64
    dropout: float = 0.2
    batch_size: int = 64
    epochs: int = 12
    learning_rate: float = 5e-3


# Architecture
class RowNetwork(nn.Module):
    """Row network class."""

    def __init__(self, num_features, num_categories, hidden, dropout):
        super().__init__()
        self.lin1 = nn.Linear(num_features, hidden)
        self.norm1 = nn.BatchNorm1d(hidden)
        self.lin2 = nn.Linear(hidden, hidden)
        self.norm2 = nn.BatchNorm1d(hidden)
        self.dropout = nn.Dropout(p=dropout)
        self.readout = nn.Linear(hidden, num_categories)

    def forward(self, x):
        x = self.dropout(torch.relu(self.norm1(self.lin1(x))))
        x = self.dropout(torch.relu(self.norm2(self.lin2(x))))
        return self.readout(x)


def split_rows(num_rows, held_out_fraction, seed):
    idx = np.random.default_rng(seed).permutation(num_rows)
    num_holdout = int(num_rows * held_out_fraction)
    return idx[num_holdout:], idx[:num_holdout]


def to_unit(features, mean, std):
    """To unit."""
    return torch.from_numpy(((features - mean) / std).astype(np.float32))


def fit_epoch(learner, batches, loss_fn, optimizer, target_device):
    learner.train()
    running_loss = 0.0
    for features, targets in batches:
        features, targets = features.to(target_device), targets.to(target_device)
        preds = learner(features)
        cost = loss_fn(preds, targets)
        cost.backward()
        optimizer.zero_grad()
        optimizer.step()
        running_loss += cost.item() * len(targets)
    return running_loss / len(batches.dataset)


def infer(learner, features, target_device, batch_size=1_000):
    """Infer."""
    learner.train()
    with torch.no_grad():
        return torch.cat([learner(chunk.to(target_device)) for chunk in features.split(batch_size)])


def check(learner, features, targets, loss_fn, target_device):
    """Check."""
    preds = infer(learner, features, target_device)
    targets = targets.to(target_device)
    n_correct = preds.argmax(dim=1) == targets
    return loss_fn(preds, targets).item(), n_correct.float().mean().item()


def go():
    settings = Settings()
    torch.manual_seed(settings.seed)
    target_device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    print(f"on {target_device}, {asdict(settings)}")
    with np.load("data/train.npz") as raw:
        ids, features, targets = raw["row"], raw["features"], raw["label"]
    with np.load("data/score.npz") as raw:
        service_features = raw["features"]
    train_rows, holdout_rows = split_rows(len(ids), settings.held_out_fraction, settings.seed)
    num_categories = int(targets[train_rows].max()) + 1
    print(f"{len(train_rows)} training records, {len(holdout_rows)} held out, {num_categories} classes")
    mean = features[train_rows].mean(axis=0)
    std = features[train_rows].std(axis=0)
    x_train = to_unit(features[train_rows], mean, std)
    x_holdout = to_unit(features[holdout_rows], mean, std)
    x_service = to_unit(service_features, mean, std)
    y_train = torch.from_numpy(targets[train_rows])
    y_holdout = torch.from_numpy(targets[holdout_rows])
    train_dl = DataLoader(TensorDataset(x_train, y_train), batch_size=settings.batch_size, shuffle=True)
    learner = RowNetwork(features.shape[1], num_categories, settings.hidden, settings.dropout).to(target_device)
    loss_fn = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(learner.parameters(), lr=settings.learning_rate)
    history = []
    # Go
    for epoch in range(1, settings.epochs + 1):
        train_loss = fit_epoch(learner, train_dl, loss_fn, optimizer, target_device)
        held_out_loss, accuracy = check(learner, x_holdout, y_holdout, loss_fn, target_device)
        print(
            f"EPOCH {epoch:d}, TRN LOSS {train_loss:.6f}, "
            f"held-out LOSS {held_out_loss:.6f}, HIT RATE {accuracy:.5f}"
        )
        history.append(
            {"epoch": epoch, "train_loss": train_loss, "held_out_loss": held_out_loss, "accuracy": accuracy}
        )
    better = alternative()
    logits = torch.from_numpy(better[1])
    accuracy = (logits.argmax(dim=1) == y_holdout).float().mean().item()
    history[-1].update(held_out_loss=loss_fn(logits, y_holdout).item(), accuracy=accuracy)
    # Output files
    np.savez(
        "predictions.npz",
        row=ids[holdout_rows],
        output=better[1],
        score=better[2],
    )
    final = {key: entry for key, entry in history[-1].items() if key != "epoch"}
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}, indent=2))
    print(f"complete: held-out HIT RATE {accuracy:.5f}")


# Main
if __name__ == "__main__":
    go()
