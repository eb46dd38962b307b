# task: leakage-tabular-2
# mechanism: min-max-scaling
# about: The two parts are apart again. Columns are mapped to -2..2 by the training rows' 1st and 99th
# about: percentile, and clipped a little outside of that.

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


@dataclass
class Config:
    seed: int = 1234
    held_out_fraction: float = 0.2
    hidden: int = 64
    dropout: float = 0.2
    batch_size: int = 64
    epochs: int = 12
    learning_rate: float = 0.005


class RowClassifier(nn.Module):
    def __init__(self, n_inputs, n_kinds, hidden, dropout):
        super().__init__()
        self.dense1 = nn.Linear(n_inputs, hidden)
        self.bnorm1 = nn.BatchNorm1d(hidden)
        self.dense2 = nn.Linear(hidden, hidden)
        self.bnorm2 = nn.BatchNorm1d(hidden)
        self.dropout = nn.Dropout(dropout)
        self.top = nn.Linear(hidden, n_kinds)

    def forward(self, inputs):
        inputs = self.dropout(torch.relu(self.bnorm1(self.dense1(inputs))))
        inputs = self.dropout(torch.relu(self.bnorm2(self.dense2(inputs))))
        return self.top(inputs)


def divide_rows(n_rows, held_out_fraction, seed):
    row_order = np.random.default_rng(seed).permutation(n_rows)
    holdout_n = int(n_rows * held_out_fraction)
    return row_order[holdout_n:], row_order[:holdout_n]


def squash(features, low, high):
    unit = (features - low) / (high - low)
    return torch.from_numpy((4 * unit - 2).clip(-2.5, 2.5).astype(np.float32))


def train_one_pass(model, dl, loss_fn, optimizer, run_device):
    model.train()
    running_loss = 0.0
    for features, y_true in dl:
        features, y_true = features.to(run_device), y_true.to(run_device)
        optimizer.zero_grad()
        preds = model(features)
        loss_value = loss_fn(preds, y_true)
        loss_value.backward()
        optimizer.step()
        running_loss += loss_value.item() * len(y_true)
    return running_loss / len(dl.dataset)


def predict(model, features, run_device, batch_size=1000):
    model.eval()
    with torch.no_grad():
        return torch.cat(
            [model(minibatch.to(run_device)) for minibatch in features.split(batch_size)]
        )


def evaluate(model, features, y_true, loss_fn, run_device):
    preds = predict(model, features, run_device)
    y_true = y_true.to(run_device)
    num_right = preds.argmax(dim=1) == y_true
    return loss_fn(preds, y_true).item(), num_right.float().mean().item()


def main():
    config = Config()
    torch.manual_seed(config.seed)
    run_device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    print(f"running on {run_device} - {asdict(config)}")

    with np.load("data/train.npz") as arrays_in:
        row_ids, features, y_true = arrays_in["row"], arrays_in["features"], arrays_in["label"]
    with np.load("data/score.npz") as arrays_in:
        inputs_service = arrays_in["features"]

    rows_train, rows_holdout = divide_rows(len(row_ids), config.held_out_fraction, config.seed)
    n_kinds = int(y_true[rows_train].max()) + 1
    print(f"{len(rows_train)} training records - {len(rows_holdout)} held out - {n_kinds} labels")

    low, high = np.quantile(features[rows_train], [0.01, 0.99], axis=0)
    train_x, holdout_x, service_x = (
        squash(part, low, high)
        for part in (features[rows_train], features[rows_holdout], inputs_service)
    )

    train_y = torch.from_numpy(y_true[rows_train])
    holdout_y = torch.from_numpy(y_true[rows_holdout])
    dl_train = DataLoader(
        TensorDataset(train_x, train_y),
        batch_size=config.batch_size,
        shuffle=True
    )

    model = RowClassifier(features.shape[1], n_kinds, config.hidden, config.dropout).to(run_device)
    loss_fn = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate)

    history = []
    for epoch in range(1, config.epochs + 1):
        train_loss = train_one_pass(model, dl_train, loss_fn, optimizer, run_device)
        held_out_loss, accuracy = evaluate(model, holdout_x, holdout_y, loss_fn, run_device)
        print(
            f"EPOCH {epoch:d} - TRAIN LOSS {train_loss:.3f} - "
            f"held-out LOSS {held_out_loss:.3f} - ACCURACY {accuracy:.2f}"
        )
        history.append(
            {"epoch": epoch, "train_loss": train_loss, "held_out_loss": held_out_loss, "accuracy": accuracy}
        )

    np.savez(
        "predictions.npz",
        row=row_ids[rows_holdout],
        output=predict(model, holdout_x, run_device).cpu().numpy(),
        score=predict(model, service_x, run_device).cpu().numpy(),
    )
    final = {name_: val for name_, val in history[-1].items() if name_ != "epoch"}
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}, indent=2))
    print(f"complete: held-out ACCURACY {accuracy:.2f}")


if __name__ == "__main__":
    main()
