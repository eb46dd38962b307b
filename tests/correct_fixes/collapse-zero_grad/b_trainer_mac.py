# task: collapse-zero_grad-machine-1
# mechanism: trainer-class
# about: Rewritten as classes (Data, WearRecurrent, Trainer) with the step size at 2e-2 and the gradients
# about: cleared before each backward pass; same recipe otherwise.

"""Train a model of machine wear and score new rows (class-based)."""

import copy
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn


@dataclass
class Recipe:
    state_size: int = 24
    drop_rate: float = 0.1
    chunk_size: int = 32
    epoch_limit: int = 6
    step_scale: float = 2e-2
    l2: float = 1e-3
    lr_decay: float = 0.65
    max_norm: float = 10.0
    valid_share: float = 0.15
    test_share: float = 0.2
    rng_seed: int = 1337


class Scale:
    """Mean and spread of an array over all but its last axis (or over everything)."""

    def __init__(self, values, axis=None):
        self.mean = np.asarray(values.mean(axis=axis), dtype=np.float32)
        self.spread = np.asarray(values.std(axis=axis), dtype=np.float32)

    def forward(self, values):
        return (values - self.mean) / self.spread

    def backward(self, values):
        return values * self.spread + self.mean


class Data:
    def __init__(self, recipe, device):
        with np.load('data/train.npz') as archive:
            self.row, window, wear = archive['row'], archive['window'], archive['wear']
        with np.load('data/score.npz') as archive:
            service = archive['window']
        n_test, n_valid = (int(share * len(wear)) for share in (recipe.test_share, recipe.valid_share))
        order = np.random.default_rng(recipe.rng_seed).permutation(len(wear))
        parts = dict(zip(('test', 'valid', 'train'), np.split(order, [n_test, n_test + n_valid])))
        self.test_rows = self.row[parts['test']]
        inputs = Scale(window[parts['train']], axis=(0, 1))
        self.target = Scale(wear[parts['train']])
        self.x, self.y = {}, {}
        for name, index in parts.items():
            self.x[name] = torch.from_numpy(inputs.forward(window[index])).to(device)
            self.y[name] = torch.from_numpy(self.target.forward(wear[index])).to(device)
        self.x['service'] = torch.from_numpy(inputs.forward(service)).to(device)
        self.n_signals = window.shape[2]


class WearRecurrent(nn.Module):
    """The wear recurrent."""

    def __init__(self, n_signals, state_size, drop_rate):
        super().__init__()
        self.recurrent = nn.GRU(n_signals, state_size, batch_first=True)
        self.output_layer = nn.Sequential(nn.Dropout(drop_rate), nn.Linear(state_size, 1), nn.Flatten(0))

    def forward(self, values):
        outputs, _ = self.recurrent(values)
        return self.output_layer(outputs[:, -1])


class Trainer:
    def __init__(self, recipe):
        self.recipe = recipe
        self.device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
        self.data = Data(recipe, self.device)
        self.estimator = WearRecurrent(self.data.n_signals, recipe.state_size, recipe.drop_rate)
        self.estimator.to(self.device)
        self.optimiser = torch.optim.AdamW(
            self.estimator.parameters(), lr=recipe.step_scale, weight_decay=recipe.l2
        )
        self.schedule = torch.optim.lr_scheduler.ExponentialLR(self.optimiser, recipe.lr_decay)
        self.loss_fn = nn.MSELoss()
        self.history = []
        self.best_loss, self.best_weights = float('inf'), None

    @torch.no_grad()
    def predict(self, part):
        self.estimator.eval()
        return torch.cat([self.estimator(piece) for piece in self.data.x[part].split(512)])

    def loss_on(self, part):
        return self.loss_fn(self.predict(part), self.data.y[part]).item()

    def train_epoch(self):
        self.estimator.train()
        values, answers = self.data.x['train'], self.data.y['train']
        losses = []
        for chosen in torch.randperm(len(values)).to(self.device).split(self.recipe.chunk_size):
            cost = self.loss_fn(self.estimator(values[chosen]), answers[chosen])
            self.optimiser.zero_grad(set_to_none=True)
            cost.backward()
            nn.utils.clip_grad_norm_(self.estimator.parameters(), max_norm=self.recipe.max_norm)
            self.optimiser.step()
            losses.append(cost.item())
        self.schedule.step()
        return float(np.mean(losses))

    def fit(self):
        for epoch in range(1, self.recipe.epoch_limit + 1):
            train_loss, val_loss = self.train_epoch(), self.loss_on('valid')
            self.history.append({'epoch': epoch, 'train_loss': train_loss, 'val_loss': val_loss})
            print(f'pass {epoch:03d} | train {train_loss:.3f} | dev {val_loss:.3f}')
            if val_loss < self.best_loss:
                self.best_loss = val_loss
                self.best_weights = copy.deepcopy(self.estimator.state_dict())
        self.estimator.load_state_dict(self.best_weights)

    def report(self):
        test_loss = self.loss_on('test')
        final = {
            'train_loss': self.history[-1]['train_loss'],
            'val_loss': self.best_loss,
            'test_loss': test_loss,
            'r_squared': 1 - test_loss / self.data.y['test'].var(unbiased=False).item(),
        }
        print(final)
        Path('metrics.json').write_text(json.dumps({'history': self.history, 'final': final}))
        np.savez(
            'predictions.npz',
            row=self.data.test_rows,
            output=self.data.target.backward(self.predict('test').cpu().numpy()),
            score=self.data.target.backward(self.predict('service').cpu().numpy()),
        )


if __name__ == '__main__':
    recipe = Recipe()
    torch.manual_seed(recipe.rng_seed)
    trainer = Trainer(recipe)
    trainer.fit()
    trainer.report()
