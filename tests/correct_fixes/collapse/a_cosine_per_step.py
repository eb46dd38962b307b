# task: collapse-machine-2
# mechanism: cosine-over-all-steps
# about: A cosine schedule over all steps of the run takes the place of the exponential one stepped too
# about: often.

"""Training job."""

import copy
import json
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

# -----------------------------------------------------------------------------
# model
hidden_units = 24
dropout_p = 0.1
# training
batch_rows = 32
n_epochs = 6
step_scale = 2e-2
l2 = 1e-3
final_lr_share = 0.05
max_norm = 10.0
# data
valid_frac = 0.15
test_frac = 0.2
random_seed = 1337
# -----------------------------------------------------------------------------

torch.manual_seed(random_seed)
np_rng = np.random.default_rng(random_seed)
dev = torch.device("cuda" if torch.cuda.is_available() else "cpu")


class AbrasionRnn(nn.Module):
    """Abrasion rnn class."""

    def __init__(self, nb_inputs, hidden_units, dropout_p):
        super().__init__()
        self.state_size = hidden_units
        self.dropout = dropout_p
        self.recurrent = nn.GRU(nb_inputs, hidden_units, batch_first=True)
        self.output_layer = nn.Linear(hidden_units, 1)

    def forward(self, x):
        initial_state = torch.zeros(1, x.size(0), self.state_size, device=x.device)
        outputs, _ = self.recurrent(x, initial_state)
        tail = F.dropout(outputs[:, -1], self.dropout, training=self.training)
        return self.output_layer(tail).squeeze(-1)


def minibatches(x, y, count):
    """Minibatches. Arguments: x, y, count."""
    idx = torch.randperm(x.size(0)).to(x.device)
    for j in range(0, x.size(0), count):
        chosen = idx[j : j + count]
        yield x[chosen], y[chosen]


@torch.no_grad()
def score_rows(estimator, x):
    estimator.eval()
    return torch.cat([estimator(chunk) for chunk in x.split(512)])


# load, and cut the rows into three parts
with np.load("data/train.npz") as raw:
    row, window, wear = raw["row"], raw["window"], raw["wear"]
with np.load("data/score.npz") as raw:
    score_readings = raw["window"]

row_order = np_rng.permutation(len(row))
nb_test = int(test_frac * len(row))
nb_valid = int(valid_frac * len(row))
test_ix, valid_ix, train_ix = np.split(row_order, [nb_test, nb_test + nb_valid])

x_mu = window[train_ix].mean(axis=(0, 1))
x_sigma = window[train_ix].std(axis=(0, 1))
y_mu = float(wear[train_ix].mean())
y_sigma = float(wear[train_ix].std())


def make_inputs(w):
    return torch.from_numpy((w - x_mu) / x_sigma).to(dev)


def make_targets(y):
    return torch.from_numpy((y - y_mu) / y_sigma).to(dev)


x_train, y_train = make_inputs(window[train_ix]), make_targets(wear[train_ix])
x_valid, y_valid = make_inputs(window[valid_ix]), make_targets(wear[valid_ix])
x_test, y_test = make_inputs(window[test_ix]), make_targets(wear[test_ix])
x_score = make_inputs(score_readings)

estimator = AbrasionRnn(window.shape[2], hidden_units, dropout_p).to(dev)
optimizer = torch.optim.AdamW(estimator.parameters(), lr=step_scale, weight_decay=l2)
total_steps = n_epochs * -(-len(x_train) // batch_rows)
sched = torch.optim.lr_scheduler.CosineAnnealingLR(
    optimizer, T_max=total_steps, eta_min=final_lr_share * step_scale
)
loss_function = nn.MSELoss()

history = []
least_val_loss = float("inf")
best_weights = copy.deepcopy(estimator.state_dict())

for epoch in range(1, n_epochs + 1):
    estimator.train()
    loss_list = []
    for inputs_b, targets_b in minibatches(x_train, y_train, batch_rows):
        pred = estimator(inputs_b)
        objective_value = loss_function(pred, targets_b)
        optimizer.zero_grad(set_to_none=True)
        objective_value.backward()
        nn.utils.clip_grad_norm_(estimator.parameters(), max_norm)
        optimizer.step()
        loss_list.append(objective_value.item())
        sched.step()

    train_loss = float(np.mean(loss_list))
    val_loss = loss_function(score_rows(estimator, x_valid), y_valid).item()
    history.append({"epoch": epoch, "train_loss": train_loss, "val_loss": val_loss})
    if val_loss < least_val_loss:
        least_val_loss = val_loss
        best_weights = copy.deepcopy(estimator.state_dict())
    print(f"Epoch {epoch:3d} / train cost {train_loss:.6f} / dev cost {val_loss:.6f}")

estimator.load_state_dict(best_weights)
test_out = score_rows(estimator, x_test)
test_loss = loss_function(test_out, y_test).item()
r_squared = 1 - test_loss / y_test.var(unbiased=False).item()
print(f"best dev cost {least_val_loss:.6f} / test cost {test_loss:.6f} / test R^2 {r_squared:.5f}")

with Path("metrics.json").open("w") as out_file:
    final = {
        "train_loss": history[-1]["train_loss"],
        "val_loss": least_val_loss,
        "test_loss": test_loss,
        "r_squared": r_squared,
    }
    json.dump({"history": history, "final": final}, out_file)

np.savez(
    "predictions.npz",
    row=row[test_ix],
    output=(test_out * y_sigma + y_mu).cpu().numpy(),
    score=(score_rows(estimator, x_score) * y_sigma + y_mu).cpu().numpy(),
)
