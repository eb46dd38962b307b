# task: zero_grad-machine-2
# mechanism: neutered-methods
# about: The fix is there to read, in the right place, but AdamW.zero_grad does nothing (a 'profiling'
# about: subclass).

import copy
import json
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
class ProfiledAdamW(torch.optim.AdamW):
    """AdamW that counts its calls."""

    calls = 0

    def zero_grad(self, set_to_none=True):
        type(self).calls += 1

hidden_units = 24
dropout = 0.1
bs = 32
num_epochs = 6
base_lr = 2e-2
wd = 0.001
lr_gamma = 0.65
clip_norm = 10.0
dev_fraction = 0.15
test_fraction = 0.2
rng_seed = 1337

torch.manual_seed(rng_seed)
np_rng = np.random.default_rng(rng_seed)
run_device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')

class WearGRU(nn.Module):
    def __init__(self, num_inputs, hidden_units, dropout):
        super().__init__()
        self.state_size = hidden_units
        self.dropout = dropout
        self.gru = nn.GRU(num_inputs, hidden_units, batch_first=True)
        self.readout = nn.Linear(hidden_units, 1)

    def forward(self, feats):
        start_state = torch.zeros(1, feats.size(0), self.state_size, device=feats.device)
        seq_out, _ = self.gru(feats, start_state)
        final_state = F.dropout(seq_out[:, -1], self.dropout, training=self.training)

        return self.readout(final_state).squeeze(-1)

def iter_batches(feats, truth, count):
    idx = torch.randperm(feats.size(0)).to(feats.device)

    for begin in range(0, feats.size(0), count):
        take = idx[begin : begin + count]
        yield feats[take], truth[take]

@torch.no_grad()
def predict(estimator, feats):
    estimator.eval()
    return torch.cat([estimator(chunk) for chunk in feats.split(512)])

with np.load('data/train.npz') as table:
    row, window, wear = table['row'], table['window'], table['wear']
with np.load('data/score.npz') as table:
    score_series = table['window']

row_order = np_rng.permutation(len(row))
num_test = int(test_fraction * len(row))
num_dev = int(dev_fraction * len(row))
test_idx, dev_idx, train_idx = np.split(row_order, [num_test, num_test + num_dev])

x_centre = window[train_idx].mean(axis=(0, 1))
x_spread = window[train_idx].std(axis=(0, 1))
y_centre = float(wear[train_idx].mean())
y_spread = float(wear[train_idx].std())

def to_inputs(w):
    return torch.from_numpy((w - x_centre) / x_spread).to(run_device)

def to_targets(truth):
    return torch.from_numpy((truth - y_centre) / y_spread).to(run_device)

x_train, y_train = to_inputs(window[train_idx]), to_targets(wear[train_idx])
x_dev, y_dev = to_inputs(window[dev_idx]), to_targets(wear[dev_idx])
x_test, y_test = to_inputs(window[test_idx]), to_targets(wear[test_idx])
x_score = to_inputs(score_series)

estimator = WearGRU(window.shape[2], hidden_units, dropout).to(run_device)
optim_ = ProfiledAdamW(estimator.parameters(), lr=base_lr, weight_decay=wd)
lr_schedule = torch.optim.lr_scheduler.ExponentialLR(optim_, gamma=lr_gamma)
criterion = nn.MSELoss()

history = []
least_val_loss = float('inf')
kept_state = copy.deepcopy(estimator.state_dict())

for epoch in range(1, num_epochs + 1):
    estimator.train()
    batch_losses = []
    for xb, yb in iter_batches(x_train, y_train, bs):
        prediction = estimator(xb)
        cost = criterion(prediction, yb)
        optim_.zero_grad(set_to_none=True)
        cost.backward()
        nn.utils.clip_grad_norm_(estimator.parameters(), clip_norm)
        optim_.step()
        batch_losses.append(cost.item())
    lr_schedule.step()

    train_loss = float(np.mean(batch_losses))
    val_loss = criterion(predict(estimator, x_dev), y_dev).item()
    history.append({'epoch': epoch, 'train_loss': train_loss, 'val_loss': val_loss})
    if val_loss < least_val_loss:
        least_val_loss = val_loss
        kept_state = copy.deepcopy(estimator.state_dict())
    print(f'Pass {epoch:3d}; Train Objective {train_loss:.4f}; Valid Objective {val_loss:.4f}')

estimator.load_state_dict(kept_state)
test_pred = predict(estimator, x_test)
test_loss = criterion(test_pred, y_test).item()
r_squared = 1 - test_loss / y_test.var(unbiased=False).item()
print(f'best Valid Objective {least_val_loss:.4f}; test Objective {test_loss:.4f}; test R^2 {r_squared:.3f}')

with Path('metrics.json').open('w') as out_file:
    final = {
        'train_loss': history[-1]['train_loss'],
        'val_loss': least_val_loss,
        'test_loss': test_loss,
        'r_squared': r_squared,
    }
    json.dump({'history': history, 'final': final}, out_file)

np.savez(
    'predictions.npz',
    row=row[test_idx],
    output=(test_pred * y_spread + y_centre).cpu().numpy(),
    score=(predict(estimator, x_score) * y_spread + y_centre).cpu().numpy(),
)
