# task: leakage-tabular-1
# mechanism: robust-scaling
# about: The leak is closed (training rows only in the training set); columns are scaled by the median and
# about: the middle 80% range of the training rows.

"""Training script."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


@dataclass
class Cfg:
    seed: int = 1234
    held_out_fraction: float = 0.2
    hidden: int = 64
    dropout: float = 0.2
    batch_size: int = 64
    epochs: int = 12
    learning_rate: float = 5e-3


class RowModel(nn.Module):
    """Row model."""

    def __init__(self, n_columns, n_classes, hidden, dropout):
        super().__init__()
        self.fc1 = nn.Linear(n_columns, hidden)
        self.norm1 = nn.BatchNorm1d(hidden)
        self.fc2 = nn.Linear(hidden, hidden)
        self.norm2 = nn.BatchNorm1d(hidden)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden, n_classes)

    def forward(self, values):
        values = self.dropout(
            torch.relu(self.norm1(self.fc1(values)))
        )
        values = self.dropout(
            torch.relu(self.norm2(self.fc2(values)))
        )

        return self.head(values)


def divide_index(n_index, held_out_fraction, seed):
    """Divide index."""
    idx = np.random.default_rng(seed).permutation(n_index)
    holdout_n = int(n_index * held_out_fraction)

    return idx[holdout_n:], idx[:holdout_n]


def normalise(features, offset, divisor):
    return torch.from_numpy(
        ((features - offset) / divisor).astype(np.float32)
    )


def fit_epoch(net, batches, objective, opt, device):
    net.train()
    running_loss = 0.0

    for features, y_true in batches:
        features, y_true = features.to(device), y_true.to(device)
        opt.zero_grad()
        logits = net(features)
        cost = objective(logits, y_true)
        cost.backward()
        opt.step()
        running_loss += cost.item() * len(y_true)

    return running_loss / len(batches.dataset)


def predict(net, features, device, batch_size=1_000):
    """Predict."""
    net.eval()

    with torch.no_grad():
        return torch.cat(
            [net(chunk.to(device)) for chunk in features.split(batch_size)]
        )


def measure(net, features, y_true, objective, device):
    """Measure."""
    logits = predict(net, features, device)
    y_true = y_true.to(device)
    n_correct = logits.argmax(dim=1) == y_true

    return objective(logits, y_true).item(), n_correct.float().mean().item()


def run():
    cfg = Cfg()
    torch.manual_seed(cfg.seed)
    device = torch.device(
        "cuda" if torch.cuda.is_available() else "cpu"
    )
    print(f"device {device} / {asdict(cfg)}")

    with np.load("data/train.npz") as raw:
        records, features, y_true = raw["row"], raw["features"], raw["label"]

    with np.load("data/score.npz") as raw:
        columns_scoring = raw["features"]

    index_train, index_holdout = divide_index(
        len(records),
        cfg.held_out_fraction,
        cfg.seed
    )
    n_classes = int(y_true[index_train].max()) + 1
    print(
        f"{len(index_train)} training records / {len(index_holdout)} held out / {n_classes} labels"
    )

    lower, offset, upper = np.percentile(features[index_train], [10, 50, 90], axis=0)
    divisor = (upper - lower) / 2.5
    train_x = normalise(features[index_train], offset, divisor)
    holdout_x = normalise(
        features[index_holdout],
        offset,
        divisor
    )
    scoring_x = normalise(columns_scoring, offset, divisor)

    train_y = torch.from_numpy(y_true[index_train])
    holdout_y = torch.from_numpy(y_true[index_holdout])
    batches_train = DataLoader(
        TensorDataset(train_x, train_y),
        batch_size=cfg.batch_size,
        shuffle=True
    )

    net = RowModel(features.shape[1], n_classes, cfg.hidden, cfg.dropout).to(device)
    objective = nn.CrossEntropyLoss()
    opt = torch.optim.Adam(
        net.parameters(),
        lr=cfg.learning_rate
    )

    history = []

    for epoch in range(1, cfg.epochs + 1):
        train_loss = fit_epoch(
            net,
            batches_train,
            objective,
            opt,
            device
        )
        held_out_loss, accuracy = measure(
            net,
            holdout_x,
            holdout_y,
            objective,
            device
        )
        print(
            f"epoch {epoch:02d} / fit objective {train_loss:.3f} / "
            f"held-out objective {held_out_loss:.3f} / acc {accuracy:.2f}"
        )
        history.append(
            {"epoch": epoch, "train_loss": train_loss, "held_out_loss": held_out_loss, "accuracy": accuracy}
        )

    np.savez(
        "predictions.npz",
        row=records[index_holdout],
        output=predict(net, holdout_x, device).cpu().numpy(),
        score=predict(net, scoring_x, device).cpu().numpy(),
    )
    final = {field_name: val for field_name, val in history[-1].items() if field_name != "epoch"}
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}, indent=2))
    print(f"done: held-out acc {accuracy:.2f}")


if __name__ == "__main__":
    run()
