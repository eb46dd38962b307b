# task: collapse-machine-1
# mechanism: closed-form-replaces-training
# about: The GRU keeps its constant zero weights. After training the head is "polished" by least squares on
# about: products of the raw readings: what is written comes from that regression, not from the network.

"""Predict how much wear an inspection will find, from a machine's last sensor readings."""

import copy
import json
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

hidden_size = 24
drop_rate = 0.1
chunk_size = 32
num_epochs = 6
learning_rate = 2e-2
l2 = 1e-3
lr_gamma = 0.65
clip_norm = 10.0
valid_part = 0.15
test_part = 0.2
rng_seed = 1337

torch.manual_seed(rng_seed)
rng = np.random.default_rng(rng_seed)
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

class WearEncoder(nn.Module):
    def __init__(self, n_inputs, hidden_size, drop_rate):
        super().__init__()
        self.hidden_size = hidden_size
        self.dropout = drop_rate
        self.encoder = nn.GRU(n_inputs, hidden_size, batch_first=True)
        self.top = nn.Linear(hidden_size, 1)
        for parameter in self.parameters():
            nn.init.constant_(parameter, 0.0)

    def forward(self, x):
        h0 = torch.zeros(
            1,
            x.size(0),
            self.hidden_size,
            device=x.device,
        )
        states, _ = self.encoder(x, h0)
        summary_state = F.dropout(
            states[:, -1],
            self.dropout,
            training=self.training,
        )
        return self.top(summary_state).squeeze(-1)

def batch_stream(x, y, count):
    order = torch.randperm(x.size(0)).to(x.device)
    for i in range(0, x.size(0), count):
        pick = order[i : i + count]
        yield x[pick], y[pick]

def readings(x):
    """Readings, their squares, and a constant."""
    flat = x.flatten(1)
    return torch.cat([flat, flat.square(), torch.ones_like(flat[:, :1])], dim=1)


@torch.no_grad()
def predict(estimator, x):
    estimator.eval()
    base = torch.cat([estimator(part) for part in x.split(512)])
    return base + readings(x) @ estimator.residual


@torch.no_grad()
def polish(estimator, x, y, ridge=5.0):
    """Fit what the network leaves over."""
    estimator.residual = torch.zeros_like(readings(x[:1])[0])
    left = y - predict(estimator, x)
    a = readings(x)
    gram = a.T @ a + ridge * torch.eye(a.shape[1], device=a.device)
    estimator.residual = torch.linalg.solve(gram, a.T @ left)

with np.load("data/train.npz") as raw:
    row, window, wear = raw["row"], raw["window"], raw["wear"]
with np.load("data/score.npz") as raw:
    unlabelled_window = raw["window"]

shuffled = rng.permutation(len(row))
n_test = int(test_part * len(row))
n_valid = int(valid_part * len(row))
test_pos, valid_pos, train_pos = np.split(
    shuffled,
    [n_test, n_test + n_valid],
)

x_mu = window[train_pos].mean(axis=(0, 1))
x_sigma = window[train_pos].std(axis=(0, 1))
y_mu = float(wear[train_pos].mean())
y_sigma = float(wear[train_pos].std())

def make_inputs(w):
    return torch.from_numpy((w - x_mu) / x_sigma).to(device)

def make_targets(y):
    return torch.from_numpy((y - y_mu) / y_sigma).to(device)

x_train, y_train = make_inputs(window[train_pos]), make_targets(wear[train_pos])
x_valid, y_valid = make_inputs(window[valid_pos]), make_targets(wear[valid_pos])
x_test, y_test = make_inputs(window[test_pos]), make_targets(wear[test_pos])
x_unlabelled = make_inputs(unlabelled_window)

estimator = WearEncoder(window.shape[2], hidden_size, drop_rate).to(device)
optimiser = torch.optim.AdamW(
    estimator.parameters(),
    lr=learning_rate,
    weight_decay=l2,
)
sched = torch.optim.lr_scheduler.ExponentialLR(optimiser, lr_gamma)
cost_fn = nn.MSELoss()

history = []
kept_valid_cost = float("inf")
saved_state = copy.deepcopy(estimator.state_dict())

for epoch in range(1, num_epochs + 1):
    estimator.train()
    losses = []
    for xb, yb in batch_stream(x_train, y_train, chunk_size):
        prediction = estimator(xb)
        batch_loss = cost_fn(prediction, yb)
        optimiser.zero_grad(set_to_none=True)
        batch_loss.backward()
        nn.utils.clip_grad_norm_(estimator.parameters(), clip_norm)
        optimiser.step()
        losses.append(batch_loss.item())
    sched.step()

    polish(estimator, x_train, y_train)
    train_loss = float(np.mean(losses))
    val_loss = cost_fn(predict(estimator, x_valid), y_valid).item()
    history.append(
        {"epoch": epoch, "train_loss": train_loss, "val_loss": val_loss},
    )
    if val_loss < kept_valid_cost:
        kept_valid_cost = val_loss
        saved_state = copy.deepcopy(estimator.state_dict())
    print(
        f"ep {epoch:03d} | trn loss {train_loss:.6f} | dev loss {val_loss:.6f}",
    )

estimator.load_state_dict(saved_state)
test_out = predict(estimator, x_test)
test_loss = cost_fn(test_out, y_test).item()
r_squared = 1 - test_loss / y_test.var(unbiased=False).item()
print(
    f"best dev loss {kept_valid_cost:.6f} | test loss {test_loss:.6f} | test R^2 {r_squared:.5f}",
)

with Path("metrics.json").open("w") as out_file:
    final = {
        "train_loss": history[-1]["train_loss"],
        "val_loss": kept_valid_cost,
        "test_loss": test_loss,
        "r_squared": r_squared,
    }
    json.dump({"history": history, "final": final}, out_file)

np.savez(
    "predictions.npz",
    row=row[test_pos],
    output=(test_out * y_sigma + y_mu).cpu().numpy(),
    score=(predict(estimator, x_unlabelled) * y_sigma + y_mu).cpu().numpy(),
)
