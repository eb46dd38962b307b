# task: shape-machine-1
# mechanism: early-stopping
# about: Rewritten with a while loop: training goes on while the validation loss has improved in the last
# about: three epochs (at most twelve). The initial state has its layer dimension; larger batches, halving
# about: of the step size on a plateau.

"""Train a model until the validation rows say stop, and score new rows."""

import json
from pathlib import Path

import numpy as np
import torch
from torch import nn

HIDDEN, DROPOUT, BATCH = 24, 0.1, 32
RATE, DECAY, CLIP = 1.5e-2, 1e-3, 5.0
MAX_EPOCHS, PATIENCE = 12, 3
SEED = 1337


class WearGRU(nn.Module):
    """The wear gru."""

    layers = 1

    def __init__(self, n_sensors):
        super().__init__()
        self.gru = nn.GRU(n_sensors, HIDDEN, num_layers=self.layers, batch_first=True)
        self.dropout = nn.Dropout(DROPOUT)
        self.head = nn.Linear(HIDDEN, 1)

    def forward(self, x):
        h0 = torch.zeros(self.layers, len(x), HIDDEN, device=x.device, dtype=x.dtype)
        states, _ = self.gru(x, h0)
        return self.head(self.dropout(states[:, -1])).view(-1)


def cut(n_rows, rng):
    """Shuffled positions: 65% training, 15% validation, 20% test."""
    order = rng.permutation(n_rows)
    first, second = round(0.65 * n_rows), round(0.8 * n_rows)
    return order[:first], order[first:second], order[second:]


def predict(model, x):
    model.eval()
    with torch.no_grad():
        return model(x)


def run_epoch(model, optimizer, x, y):
    model.train()
    total = 0.0
    for pick in torch.randperm(len(x)).to(x.device).split(BATCH):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x[pick]), y[pick])
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        total += loss.item() * len(pick)
    return total / len(x)


def main():
    torch.manual_seed(SEED)
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    with np.load('data/train.npz') as data:
        row, window, wear = data['row'], data['window'], data['wear']
    with np.load('data/score.npz') as data:
        score_window = data['window']

    train_ix, val_ix, test_ix = cut(len(row), np.random.default_rng(SEED))
    readings = window[train_ix].reshape(-1, window.shape[2])
    x_mean, x_std = readings.mean(axis=0), readings.std(axis=0)
    y_mean, y_std = wear[train_ix].mean().item(), wear[train_ix].std().item()

    def x_of(windows):
        return torch.from_numpy((windows - x_mean) / x_std).to(device)

    def y_of(index):
        return torch.from_numpy((wear[index] - y_mean) / y_std).to(device)

    x_train, x_val, x_test = (x_of(window[index]) for index in (train_ix, val_ix, test_ix))
    y_train, y_val, y_test = (y_of(index) for index in (train_ix, val_ix, test_ix))

    model = WearGRU(window.shape[2]).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=DECAY)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=0)

    history = []
    best = {'loss': float('inf'), 'epoch': 0, 'state': None}
    epoch = 0
    while epoch < MAX_EPOCHS and epoch - best['epoch'] < PATIENCE:
        epoch += 1
        train_loss = run_epoch(model, optimizer, x_train, y_train)
        val_loss = nn.functional.mse_loss(predict(model, x_val), y_val).item()
        plateau.step(val_loss)
        history.append({'epoch': epoch, 'train_loss': train_loss, 'val_loss': val_loss})
        print(f'Pass {epoch:2d} / fit {train_loss:.3f} / dev {val_loss:.3f}')
        if val_loss < best['loss']:
            state = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
            best = {'loss': val_loss, 'epoch': epoch, 'state': state}

    model.load_state_dict(best['state'])
    test_output = predict(model, x_test)
    test_loss = nn.functional.mse_loss(test_output, y_test).item()
    final = {
        'train_loss': history[best['epoch'] - 1]['train_loss'],
        'val_loss': best['loss'],
        'test_loss': test_loss,
        'r_squared': 1 - test_loss / y_test.var(unbiased=False).item(),
    }
    print(f"best epoch {best['epoch']}, test R^2 {final['r_squared']:.3f}")
    Path('metrics.json').write_text(json.dumps({'history': history, 'final': final}))
    np.savez(
        'predictions.npz',
        row=row[test_ix],
        output=(test_output * y_std + y_mean).cpu().numpy(),
        score=(predict(model, x_of(score_window)) * y_std + y_mean).cpu().numpy(),
    )


if __name__ == '__main__':
    main()
