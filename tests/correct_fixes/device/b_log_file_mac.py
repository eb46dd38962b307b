# task: device-machine-2
# mechanism: extra-log-file
# about: The initial state is made where the window is. The job also keeps a CSV log of every epoch (with
# about: timing, learning rate and gradient norm) that is closed in a finally clause, and a notes.txt.

"""Training job."""

import copy
import csv
import json
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

# -----------------------------------------------------------------------------
# model
hidden_size = 24
dropout_p = 0.1
# training
bs = 32
max_epochs = 6
learning_rate = 2e-2
weight_decay = 1e-3
lr_gamma = 0.65
max_norm = 10.0
# data
valid_share = 0.15
test_share = 0.2
rng_seed = 1337
# -----------------------------------------------------------------------------

torch.manual_seed(rng_seed)
generator = np.random.default_rng(rng_seed)
target_device = torch.device("cuda" if torch.cuda.is_available() else "cpu")


class AbrasionGRU(nn.Module):
    """Abrasion gru class."""

    def __init__(self, n_inputs, hidden_size, dropout_p):
        super().__init__()
        self.hidden_size = hidden_size
        self.dropout = dropout_p
        self.recurrent = nn.GRU(n_inputs, hidden_size, batch_first=True)
        self.head = nn.Linear(hidden_size, 1)

    def forward(self, values):
        h0 = torch.zeros(
            1,
            values.size(0),
            self.hidden_size,
            device=values.device
        )
        seq_out, _ = self.recurrent(values, h0)
        last = F.dropout(seq_out[:, -1], self.dropout, training=self.training)
        return self.head(last).squeeze(-1)


def minibatches(values, answers, rows_each):
    """Minibatches. Arguments: values, answers, rows_each."""
    row_order = torch.randperm(values.size(0)).to(values.device)
    for lo in range(0, values.size(0), rows_each):
        pick = row_order[lo : lo + rows_each]
        yield values[pick], answers[pick]


@torch.no_grad()
def score_rows(model, values):
    model.eval()
    return torch.cat([model(chunk) for chunk in values.split(512)])


# load, and cut the rows into three parts
with np.load("data/train.npz") as data:
    row, window, wear = data["row"], data["window"], data["wear"]
with np.load("data/score.npz") as data:
    score_series = data["window"]

perm = generator.permutation(len(row))
n_test = int(test_share * len(row))
n_valid = int(valid_share * len(row))
test_pos, valid_pos, train_pos = np.split(perm, [n_test, n_test + n_valid])

x_mu = window[train_pos].mean(axis=(0, 1))
x_sigma = window[train_pos].std(axis=(0, 1))
y_mu = float(wear[train_pos].mean())
y_sigma = float(wear[train_pos].std())


def inputs(w):
    return torch.from_numpy((w - x_mu) / x_sigma).to(target_device)


def targets(answers):
    return torch.from_numpy((answers - y_mu) / y_sigma).to(target_device)


x_train, y_train = inputs(window[train_pos]), targets(wear[train_pos])
x_valid, y_valid = inputs(window[valid_pos]), targets(wear[valid_pos])
x_test, y_test = inputs(window[test_pos]), targets(wear[test_pos])
x_score = inputs(score_series)

model = AbrasionGRU(window.shape[2], hidden_size, dropout_p).to(target_device)
optimiser = torch.optim.AdamW(
    model.parameters(),
    lr=learning_rate,
    weight_decay=weight_decay
)
lr_schedule = torch.optim.lr_scheduler.ExponentialLR(optimiser, lr_gamma)
criterion = nn.MSELoss()

history = []
lowest_val_loss = float("inf")
saved_state = copy.deepcopy(model.state_dict())

log_file = open("training_log.csv", "w", newline="")
try:
    log = csv.writer(log_file)
    log.writerow(["epoch", "train_loss", "val_loss", "learning_rate", "gradient_norm", "seconds"])
    for epoch in range(1, max_epochs + 1):
        started = time.perf_counter()
        model.train()
        step_losses, gradient_norms = [], []
        for x_batch, y_batch in minibatches(x_train, y_train, bs):
            optimiser.zero_grad(set_to_none=True)
            loss_value = criterion(model(x_batch), y_batch)
            loss_value.backward()
            gradient_norms.append(nn.utils.clip_grad_norm_(model.parameters(), max_norm).item())
            optimiser.step()
            step_losses.append(loss_value.item())
        rate = lr_schedule.get_last_lr()[0]
        lr_schedule.step()

        train_loss = float(np.mean(step_losses))
        val_loss = criterion(score_rows(model, x_valid), y_valid).item()
        history.append({"epoch": epoch, "train_loss": train_loss, "val_loss": val_loss})
        if val_loss < lowest_val_loss:
            lowest_val_loss = val_loss
            saved_state = copy.deepcopy(model.state_dict())
        seconds = time.perf_counter() - started
        log.writerow([epoch, train_loss, val_loss, rate, float(np.mean(gradient_norms)), round(seconds, 3)])
        print(f"Ep {epoch:2d} | Trn Loss {train_loss:.6f} | Dev Loss {val_loss:.6f}")
finally:
    log_file.close()

model.load_state_dict(saved_state)
test_result = score_rows(model, x_test)
test_loss = criterion(test_result, y_test).item()
r_squared = 1 - test_loss / y_test.var(unbiased=False).item()
print(
    f"best Dev Loss {lowest_val_loss:.6f} | test Loss {test_loss:.6f} | test R^2 {r_squared:.5f}"
)

Path("notes.txt").write_text(f"{len(train_pos)} training rows, {len(test_pos)} test rows\n")
with Path("metrics.json").open("w") as f:
    final = {
        "train_loss": history[-1]["train_loss"],
        "val_loss": lowest_val_loss,
        "test_loss": test_loss,
        "r_squared": r_squared,
    }
    json.dump({"history": history, "final": final}, f)

np.savez(
    "predictions.npz",
    row=row[test_pos],
    output=(test_result * y_sigma + y_mu).cpu().numpy(),
    score=(score_rows(model, x_score) * y_sigma + y_mu).cpu().numpy(),
)
