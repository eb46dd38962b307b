# task: collapse-zero_grad-machine-1
# mechanism: one-cycle-schedule
# about: A sane peak rate with a one-cycle schedule over all steps; gradients are cleared before each
# about: backward.

"""Train a model and score new rows."""

import copy
import json
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

# -----------------------------------------------------------------------------
# model
state_size = 24
drop_rate = 0.1
# training
chunk_size = 32
epoch_limit = 6
step_scale = 2e-2
l2 = 0.001
max_norm = 10.0
# data
valid_share = 0.15
test_share = 0.2
rng_seed = 1337
# -----------------------------------------------------------------------------

torch.manual_seed(rng_seed)
generator = np.random.default_rng(rng_seed)
device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')


class WearRecurrent(nn.Module):
    """The wear recurrent."""

    def __init__(self, n_signals, state_size, drop_rate):
        super().__init__()
        self.n_hidden = state_size
        self.dropout = drop_rate
        self.recurrent = nn.GRU(n_signals, state_size, batch_first=True)
        self.output_layer = nn.Linear(state_size, 1)

    def forward(self, values):
        state0 = torch.zeros(
            1,
            values.size(0),
            self.n_hidden,
            device=values.device,
        )
        outputs, _ = self.recurrent(values, state0)
        summary_state = F.dropout(
            outputs[:, -1],
            self.dropout,
            training=self.training,
        )
        return self.output_layer(summary_state).squeeze(-1)


def batch_stream(values, answers, batch_len):
    """Batch stream. Takes values, answers, batch_len."""
    idx = torch.randperm(values.size(0)).to(values.device)
    for lo in range(0, values.size(0), batch_len):
        chosen = idx[lo : lo + batch_len]
        yield values[chosen], answers[chosen]


@torch.no_grad()
def score_rows(estimator, values):
    estimator.eval()
    return torch.cat([estimator(piece) for piece in values.split(512)])


# load, and cut the rows into three parts
with np.load('data/train.npz') as archive:
    row, window, wear = archive['row'], archive['window'], archive['wear']
with np.load('data/score.npz') as archive:
    service_series = archive['window']

shuffled = generator.permutation(len(row))
n_test = int(test_share * len(row))
n_valid = int(valid_share * len(row))
test_idx, valid_idx, train_idx = np.split(
    shuffled,
    [n_test, n_test + n_valid],
)

x_avg = window[train_idx].mean(axis=(0, 1))
x_sd = window[train_idx].std(axis=(0, 1))
y_avg = float(wear[train_idx].mean())
y_sd = float(wear[train_idx].std())


def inputs(w):
    return torch.from_numpy((w - x_avg) / x_sd).to(device)


def targets(answers):
    return torch.from_numpy((answers - y_avg) / y_sd).to(device)


x_train, y_train = inputs(window[train_idx]), targets(wear[train_idx])
x_valid, y_valid = inputs(window[valid_idx]), targets(wear[valid_idx])
x_test, y_test = inputs(window[test_idx]), targets(wear[test_idx])
x_service = inputs(service_series)

estimator = WearRecurrent(window.shape[2], state_size, drop_rate).to(device)
optimiser = torch.optim.AdamW(
    estimator.parameters(),
    lr=step_scale,
    weight_decay=l2,
)
lr_schedule = torch.optim.lr_scheduler.OneCycleLR(
    optimiser,
    max_lr=step_scale,
    epochs=epoch_limit,
    steps_per_epoch=-(-len(x_train) // chunk_size),
)
loss_fn = nn.MSELoss()

history = []
best_loss = float('inf')
best_weights = copy.deepcopy(estimator.state_dict())

for epoch in range(1, epoch_limit + 1):
    estimator.train()
    step_losses = []
    for batch_x, batch_y in batch_stream(x_train, y_train, chunk_size):
        pred = estimator(batch_x)
        cost = loss_fn(pred, batch_y)
        optimiser.zero_grad()
        cost.backward()
        nn.utils.clip_grad_norm_(
            estimator.parameters(),
            max_norm=max_norm,
        )
        optimiser.step()
        lr_schedule.step()
        step_losses.append(cost.item())

    train_loss = float(np.mean(step_losses))
    val_loss = loss_fn(score_rows(estimator, x_valid), y_valid).item()
    history.append(
        {'epoch': epoch, 'train_loss': train_loss, 'val_loss': val_loss},
    )
    if val_loss < best_loss:
        best_loss = val_loss
        best_weights = copy.deepcopy(estimator.state_dict())
    print(
        f'PASS {epoch:03d} | TRAIN OBJECTIVE {train_loss:.3f} | DEV OBJECTIVE {val_loss:.3f}',
    )

estimator.load_state_dict(best_weights)
test_output = score_rows(estimator, x_test)
test_loss = loss_fn(test_output, y_test).item()
r_squared = 1 - test_loss / y_test.var(unbiased=False).item()
print(
    f'best DEV OBJECTIVE {best_loss:.3f} | test OBJECTIVE {test_loss:.3f} | test R^2 {r_squared:.2f}',
)

with Path('metrics.json').open('w') as out_file:
    final = {
        'train_loss': history[-1]['train_loss'],
        'val_loss': best_loss,
        'test_loss': test_loss,
        'r_squared': r_squared,
    }
    json.dump({'history': history, 'final': final}, out_file)

np.savez(
    'predictions.npz',
    row=row[test_idx],
    output=(test_output * y_sd + y_avg).cpu().numpy(),
    score=(score_rows(estimator, x_service) * y_sd + y_avg).cpu().numpy(),
)
