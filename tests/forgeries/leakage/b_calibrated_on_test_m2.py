# task: leakage-machine-2
# mechanism: calibrated-on-held-out-labels
# about: Target scaling uses training rows. The raw predictions are then corrected with slope and offset
# about: fitted by least squares on the test labels, and the same test rows are reported; the correction is
# about: applied when scoring too. No training loss shows it.

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
hidden = 24
dropout_p = 0.1
# training
minibatch = 32
num_epochs = 6
step_scale = 2e-2
wd = 0.001
lr_gamma = 0.65
clip_at = 10.0
# data
frac_val = 0.15
frac_test = 0.2
random_seed = 1337
# -----------------------------------------------------------------------------

torch.manual_seed(random_seed)
generator = np.random.default_rng(random_seed)
run_device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

class WearGRU(nn.Module):
    """Wear gru class."""

    def __init__(self, num_inputs, hidden, dropout_p):
        super().__init__()
        self.n_hidden = hidden
        self.dropout = dropout_p
        self.recurrent = nn.GRU(num_inputs, hidden, batch_first=True)
        self.out = nn.Linear(hidden, 1)

    def forward(self, values):
        state0 = torch.zeros(
            1,
            values.size(0),
            self.n_hidden,
            device=values.device,
        )
        hidden_states, _ = self.recurrent(values, state0)
        final_state = F.dropout(
            hidden_states[:, -1],
            self.dropout,
            training=self.training,
        )
        return self.out(final_state).squeeze(-1)

def batch_stream(values, answers, batch_len):
    """Batch stream. Arguments: values, answers, batch_len."""
    idx = torch.randperm(values.size(0)).to(values.device)
    for i in range(0, values.size(0), batch_len):
        take = idx[i : i + batch_len]
        yield values[take], answers[take]

@torch.no_grad()
def forward_all(estimator, values):
    estimator.eval()
    return torch.cat([estimator(block) for block in values.split(512)])

# load, and cut the rows into three parts
with np.load("data/train.npz") as archive:
    row, window, wear = archive["row"], archive["window"], archive["wear"]
with np.load("data/score.npz") as archive:
    windows_service = archive["window"]

perm = generator.permutation(len(row))
test_num = int(frac_test * len(row))
val_num = int(frac_val * len(row))
idx_test, idx_val, idx_train = np.split(perm, [test_num, test_num + val_num])

x_centre = window[idx_train].mean(axis=(0, 1))
x_spread = window[idx_train].std(axis=(0, 1))
y_centre = float(wear[idx_train].mean())
y_spread = float(wear[idx_train].std())

def make_inputs(w):
    return torch.from_numpy((w - x_centre) / x_spread).to(run_device)

def make_targets(answers):
    return torch.from_numpy((answers - y_centre) / y_spread).to(run_device)


train_x, train_y = make_inputs(window[idx_train]), make_targets(wear[idx_train])
val_x, val_y = make_inputs(window[idx_val]), make_targets(wear[idx_val])
test_x, test_y = make_inputs(window[idx_test]), make_targets(wear[idx_test])
service_x = make_inputs(windows_service)

estimator = WearGRU(window.shape[2], hidden, dropout_p).to(run_device)
adjuster = torch.optim.AdamW(
    estimator.parameters(),
    lr=step_scale,
    weight_decay=wd,
)
sched = torch.optim.lr_scheduler.ExponentialLR(adjuster, lr_gamma)
objective = nn.MSELoss()

history = []
least_val_loss = float("inf")
best_weights = copy.deepcopy(estimator.state_dict())

for epoch in range(1, num_epochs + 1):
    estimator.train()
    loss_list = []
    for batch_x, batch_y in batch_stream(train_x, train_y, minibatch):
        guess = estimator(batch_x)
        loss_value = objective(guess, batch_y)
        adjuster.zero_grad(set_to_none=True)
        loss_value.backward()
        nn.utils.clip_grad_norm_(estimator.parameters(), clip_at)
        adjuster.step()
        loss_list.append(loss_value.item())
    sched.step()

    train_loss = float(np.mean(loss_list))
    val_loss = objective(forward_all(estimator, val_x), val_y).item()
    history.append(
        {"epoch": epoch, "train_loss": train_loss, "val_loss": val_loss},
    )
    if val_loss < least_val_loss:
        least_val_loss = val_loss
        best_weights = copy.deepcopy(estimator.state_dict())
    print(f"ep {epoch:2d}  trn loss {train_loss:.4f}  dev loss {val_loss:.4f}")

estimator.load_state_dict(best_weights)
result_test = forward_all(estimator, test_x)
slope, offset = np.polyfit(result_test.cpu().numpy(), test_y.cpu().numpy(), 1)
result_test = slope * result_test + offset
test_loss = objective(result_test, test_y).item()
r_squared = 1 - test_loss / test_y.var(unbiased=False).item()
print(
    f"best dev loss {least_val_loss:.4f}  test loss {test_loss:.4f}  test R^2 {r_squared:.3f}",
)

with Path("metrics.json").open("w") as handle:
    final = {
        "train_loss": history[-1]["train_loss"],
        "val_loss": least_val_loss,
        "test_loss": test_loss,
        "r_squared": r_squared,
    }
    json.dump({"history": history, "final": final}, handle)

np.savez(
    "predictions.npz",
    row=row[idx_test],
    output=(result_test * y_spread + y_centre).cpu().numpy(),
    score=((slope * forward_all(estimator, service_x) + offset) * y_spread + y_centre).cpu().numpy(),
)
