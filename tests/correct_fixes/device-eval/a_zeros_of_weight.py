# task: device-eval-machine-1
# mechanism: new-zeros-of-the-input
# about: The start state is made beside the weights with new_zeros; predict saves the mode, evaluates,
# about: and restores it.

"""Predict how much wear an inspection will find, from a machine's last sensor readings."""

import copy
import json
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

# -----------------------------------------------------------------------------
# model
hidden_size = 24
dropout = 0.1
# training
batch_size = 32
max_epochs = 6
learning_rate = 2e-2
weight_decay = 0.001
lr_decay = 0.65
grad_clip = 10.0
# data
val_share = 0.15
test_share = 0.2
seed = 1337
# -----------------------------------------------------------------------------

torch.manual_seed(seed)
rng = np.random.default_rng(seed)
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")


class WearGRU(nn.Module):
    def __init__(self, n_sensors, hidden_size, dropout):
        super().__init__()
        self.hidden_size = hidden_size
        self.dropout = dropout
        self.gru = nn.GRU(n_sensors, hidden_size, batch_first=True)
        self.head = nn.Linear(hidden_size, 1)

    def forward(self, x):
        h0 = self.head.weight.new_zeros((1, x.size(0), self.hidden_size))
        states, _ = self.gru(x, h0)
        last = F.dropout(
            states[:, -1],
            self.dropout,
            training=self.training,
        )

        return self.head(last).squeeze(-1)


def minibatches(x, y, size):
    order = torch.randperm(x.size(0)).to(x.device)

    for i in range(0, x.size(0), size):
        pick = order[i : i + size]
        yield x[pick], y[pick]


@torch.no_grad()
def predict(model, x):
    was_training = model.training
    model.eval()
    try:
        return torch.cat([model(part) for part in x.split(512)])
    finally:
        model.train(was_training)


# load, and cut the rows into three parts
with np.load("data/train.npz") as data:
    row, window, wear = data["row"], data["window"], data["wear"]
with np.load("data/score.npz") as data:
    score_window = data["window"]

shuffled = rng.permutation(len(row))
n_test = int(test_share * len(row))
n_val = int(val_share * len(row))
test_ix, val_ix, train_ix = np.split(shuffled, [n_test, n_test + n_val])

x_mean = window[train_ix].mean(axis=(0, 1))
x_std = window[train_ix].std(axis=(0, 1))
y_mean = float(wear[train_ix].mean())
y_std = float(wear[train_ix].std())


def inputs(w):
    return torch.from_numpy((w - x_mean) / x_std).to(device)


def targets(y):
    return torch.from_numpy((y - y_mean) / y_std).to(device)


x_train, y_train = inputs(window[train_ix]), targets(wear[train_ix])
x_val, y_val = inputs(window[val_ix]), targets(wear[val_ix])
x_test, y_test = inputs(window[test_ix]), targets(wear[test_ix])
x_score = inputs(score_window)

model = WearGRU(window.shape[2], hidden_size, dropout).to(device)
optimizer = torch.optim.AdamW(
    model.parameters(),
    lr=learning_rate,
    weight_decay=weight_decay,
)
scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, lr_decay)
criterion = nn.MSELoss()

history = []
best_val_loss = float("inf")
best_state = copy.deepcopy(model.state_dict())

for epoch in range(1, max_epochs + 1):
    model.train()
    losses = []
    for xb, yb in minibatches(x_train, y_train, batch_size):
        prediction = model(xb)
        loss = criterion(prediction, yb)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), grad_clip)
        optimizer.step()
        losses.append(loss.item())
    scheduler.step()

    train_loss = float(np.mean(losses))
    val_loss = criterion(predict(model, x_val), y_val).item()
    history.append(
        {"epoch": epoch, "train_loss": train_loss, "val_loss": val_loss},
    )
    if val_loss < best_val_loss:
        best_val_loss = val_loss
        best_state = copy.deepcopy(model.state_dict())
    print(
        f"epoch {epoch:2d}; train loss {train_loss:.5f}; dev loss {val_loss:.5f}",
    )

model.load_state_dict(best_state)
test_output = predict(model, x_test)
test_loss = criterion(test_output, y_test).item()
r_squared = 1 - test_loss / y_test.var(unbiased=False).item()
print(
    f"best dev loss {best_val_loss:.5f}; test loss {test_loss:.5f}; test R^2 {r_squared:.4f}",
)

with Path("metrics.json").open("w") as f:
    final = {
        "train_loss": history[-1]["train_loss"],
        "val_loss": best_val_loss,
        "test_loss": test_loss,
        "r_squared": r_squared,
    }
    json.dump({"history": history, "final": final}, f)

np.savez(
    "predictions.npz",
    row=row[test_ix],
    output=(test_output * y_std + y_mean).cpu().numpy(),
    score=(predict(model, x_score) * y_std + y_mean).cpu().numpy(),
)
