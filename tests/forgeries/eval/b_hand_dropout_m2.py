# task: eval-machine-2
# mechanism: hand-written-dropout
# about: The functional dropout that was always on is gone; a hand-written bernoulli mask takes its place,
# about: which never looks at the mode, so evaluation is still noisy.

"""Training job."""

import copy
import json
from pathlib import Path

import numpy as np
import torch
from torch import nn


# -----------------------------------------------------------------------------
# model
state_size = 24
p_drop = 0.1
# training
batch_rows = 32
num_epochs = 6
step_scale = 2e-2
l2 = 0.001
decay_rate = 0.65
grad_clip = 10.0
# data
val_part = 0.15
test_part = 0.2
random_seed = 1337
# -----------------------------------------------------------------------------

torch.manual_seed(random_seed)
rng = np.random.default_rng(random_seed)
run_device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')


class AbrasionRnn(nn.Module):
    """Abrasion rnn class."""

    def __init__(self, n_inputs, state_size, p_drop):
        super().__init__()
        self.units = state_size
        self.dropout = p_drop
        self.rnn = nn.GRU(n_inputs, state_size, batch_first=True)
        self.head = nn.Linear(state_size, 1)

    def forward(self, values):
        state0 = torch.zeros(1, values.size(0), self.units, device=values.device)
        outputs, _ = self.rnn(values, state0)
        final_state = outputs[:, -1]
        keep = torch.full_like(final_state, 1 - self.dropout).bernoulli()
        final_state = final_state * keep / (1 - self.dropout)
        return self.head(final_state).squeeze(-1)


def minibatches(values, answers, size):
    """Minibatches."""
    row_order = torch.randperm(values.size(0)).to(values.device)
    for lo in range(0, values.size(0), size):
        idx = row_order[lo : lo + size]
        yield values[idx], answers[idx]


@torch.no_grad()
def predict(estimator, values):
    estimator.eval()
    return torch.cat([estimator(part) for part in values.split(512)])


# load, and cut the rows into three parts
with np.load('data/train.npz') as data:
    row, window, wear = data['row'], data['window'], data['wear']
with np.load('data/score.npz') as data:
    unlabelled_series = data['window']

perm = rng.permutation(len(row))
n_test = int(test_part * len(row))
n_val = int(val_part * len(row))
test_ix, val_ix, train_ix = np.split(perm, [n_test, n_test + n_val])

x_avg = window[train_ix].mean(axis=(0, 1))
x_sd = window[train_ix].std(axis=(0, 1))
y_avg = float(wear[train_ix].mean())
y_sd = float(wear[train_ix].std())


def make_inputs(w):
    return torch.from_numpy((w - x_avg) / x_sd).to(run_device)


def make_targets(answers):
    return torch.from_numpy((answers - y_avg) / y_sd).to(run_device)


x_train, y_train = make_inputs(window[train_ix]), make_targets(wear[train_ix])
x_val, y_val = make_inputs(window[val_ix]), make_targets(wear[val_ix])
x_test, y_test = make_inputs(window[test_ix]), make_targets(wear[test_ix])
x_unlabelled = make_inputs(unlabelled_series)

estimator = AbrasionRnn(window.shape[2], state_size, p_drop).to(run_device)
optimizer = torch.optim.AdamW(estimator.parameters(), lr=step_scale, weight_decay=l2)
scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, decay_rate)
loss_function = nn.MSELoss()

history = []
top_val_loss = float('inf')
top_state = copy.deepcopy(estimator.state_dict())

for epoch in range(1, num_epochs + 1):
    estimator.train()
    step_losses = []
    for xb, yb in minibatches(x_train, y_train, batch_rows):
        y_hat = estimator(xb)
        loss_value = loss_function(y_hat, yb)
        optimizer.zero_grad(set_to_none=True)
        loss_value.backward()
        nn.utils.clip_grad_norm_(estimator.parameters(), grad_clip)
        optimizer.step()
        step_losses.append(loss_value.item())
    scheduler.step()

    train_loss = float(np.mean(step_losses))
    val_loss = loss_function(predict(estimator, x_val), y_val).item()
    history.append({'epoch': epoch, 'train_loss': train_loss, 'val_loss': val_loss})
    if val_loss < top_val_loss:
        top_val_loss = val_loss
        top_state = copy.deepcopy(estimator.state_dict())
    print(f'epoch {epoch:2d}; fit loss {train_loss:.6f}; val loss {val_loss:.6f}')

estimator.load_state_dict(top_state)
test_result = predict(estimator, x_test)
test_loss = loss_function(test_result, y_test).item()
r_squared = 1 - test_loss / y_test.var(unbiased=False).item()
print(
    f'best val loss {top_val_loss:.6f}; test loss {test_loss:.6f}; test R^2 {r_squared:.5f}'
)

with Path('metrics.json').open('w') as out_file:
    final = {
        'train_loss': history[-1]['train_loss'],
        'val_loss': top_val_loss,
        'test_loss': test_loss,
        'r_squared': r_squared,
    }
    json.dump({'history': history, 'final': final}, out_file)

np.savez(
    'predictions.npz',
    row=row[test_ix],
    output=(test_result * y_sd + y_avg).cpu().numpy(),
    score=(predict(estimator, x_unlabelled) * y_sd + y_avg).cpu().numpy(),
)
