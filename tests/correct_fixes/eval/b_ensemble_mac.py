# task: eval-machine-2
# mechanism: ensemble-average
# about: Rewritten: two GRUs with dropout as a module are trained one after the other, each five epochs
# about: with its best weights by validation loss, and the mean of their outputs in evaluation mode is the
# about: prediction.

"""Training job: the mean of two recurrent networks."""

import copy
import json
from pathlib import Path

import numpy as np
import torch
from torch import nn

seeds = (1337, 1338)
state_size, p_drop = 24, 0.1
batch_rows, num_epochs = 32, 5
step_scale, l2, decay_rate, grad_clip = 2e-2, 0.001, 0.6, 10.0
val_part, test_part = 0.15, 0.2


class AbrasionRnn(nn.Module):
    """A recurrent network that reads a window and puts out one number."""

    def __init__(self, n_inputs):
        super().__init__()
        self.rnn = nn.GRU(n_inputs, state_size, batch_first=True)
        self.drop = nn.Dropout(p_drop)
        self.head = nn.Linear(state_size, 1)

    def forward(self, values):
        _, final_state = self.rnn(values)
        return self.head(self.drop(final_state.squeeze(0))).squeeze(-1)


@torch.no_grad()
def predict(estimators, values):
    """Mean output of all the estimators."""
    for estimator in estimators:
        estimator.eval()
    return torch.cat(
        [sum(estimator(part) for estimator in estimators) / len(estimators) for part in values.split(512)]
    )


def loss_of(estimators, values, answers):
    return nn.functional.mse_loss(predict(estimators, values), answers).item()


def fit_member(member, seed, x_train, y_train, x_val, y_val):
    """Train one network; returns it with its best weights, and its history."""
    torch.manual_seed(seed)
    estimator = AbrasionRnn(x_train.size(2)).to(x_train.device)
    optimizer = torch.optim.AdamW(estimator.parameters(), lr=step_scale, weight_decay=l2)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, decay_rate)
    history, top_val_loss, top_state = [], float('inf'), None
    for epoch in range(1, num_epochs + 1):
        estimator.train()
        step_losses = []
        for idx in torch.randperm(len(x_train)).to(x_train.device).split(batch_rows):
            loss = nn.functional.mse_loss(estimator(x_train[idx]), y_train[idx])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(estimator.parameters(), grad_clip)
            optimizer.step()
            step_losses.append(loss.item())
        scheduler.step()
        entry = {
            'member': member,
            'epoch': epoch,
            'train_loss': float(np.mean(step_losses)),
            'val_loss': loss_of([estimator], x_val, y_val),
        }
        history.append(entry)
        print(entry)
        if entry['val_loss'] < top_val_loss:
            top_val_loss, top_state = entry['val_loss'], copy.deepcopy(estimator.state_dict())
    estimator.load_state_dict(top_state)
    return estimator, history


def main():
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    with np.load('data/train.npz') as data:
        row, window, wear = data['row'], data['window'], data['wear']
    with np.load('data/score.npz') as data:
        unlabelled = data['window']
    perm = np.random.default_rng(seeds[0]).permutation(len(row))
    n_test, n_val = int(test_part * len(row)), int(val_part * len(row))
    test_ix, val_ix, train_ix = np.split(perm, [n_test, n_test + n_val])
    x_avg, x_sd = window[train_ix].mean(axis=(0, 1)), window[train_ix].std(axis=(0, 1))
    y_avg, y_sd = float(wear[train_ix].mean()), float(wear[train_ix].std())

    def inputs(windows):
        return torch.from_numpy((windows - x_avg) / x_sd).to(device)

    def answers(index):
        return torch.from_numpy((wear[index] - y_avg) / y_sd).to(device)

    x_val, y_val = inputs(window[val_ix]), answers(val_ix)
    x_train, y_train = inputs(window[train_ix]), answers(train_ix)
    estimators, history = [], []
    for member, seed in enumerate(seeds, start=1):
        estimator, entries = fit_member(member, seed, x_train, y_train, x_val, y_val)
        estimators.append(estimator)
        history += entries

    y_test = answers(test_ix)
    result = predict(estimators, inputs(window[test_ix]))
    test_loss = nn.functional.mse_loss(result, y_test).item()
    final = {
        'train_loss': history[-1]['train_loss'],
        'val_loss': loss_of(estimators, x_val, y_val),
        'test_loss': test_loss,
        'r_squared': 1 - test_loss / y_test.var(unbiased=False).item(),
    }
    print(final)
    Path('metrics.json').write_text(json.dumps({'history': history, 'final': final}))
    np.savez(
        'predictions.npz',
        row=row[test_ix],
        output=(result * y_sd + y_avg).cpu().numpy(),
        score=(predict(estimators, inputs(unlabelled)) * y_sd + y_avg).cpu().numpy(),
    )


if __name__ == '__main__':
    main()
