# task: collapse-tabular-1
# mechanism: adamw-with-usual-decay
# about: AdamW with its decoupled decay of 0.01 instead of Adam with an L2 term of 50.

"""Training script."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


@dataclass
class Settings:
    seed: int = 1234
    held_out_fraction: float = 0.2
    hidden: int = 64
    dropout: float = 0.2
    batch_size: int = 64
    epochs: int = 12
    learning_rate: float = 5e-3
    weight_decay: float = 1e-2


class TabularClassifier(nn.Module):
    """Tabular classifier."""

    def __init__(self, nb_features, nb_categories, hidden, dropout):
        super().__init__()
        self.lin1 = nn.Linear(nb_features, hidden)
        self.bnorm1 = nn.BatchNorm1d(hidden)
        self.lin2 = nn.Linear(hidden, hidden)
        self.bnorm2 = nn.BatchNorm1d(hidden)
        self.dropout = nn.Dropout(dropout)
        self.readout = nn.Linear(hidden, nb_categories)

    def forward(self, inputs):
        inputs = self.dropout(
            torch.relu(self.bnorm1(self.lin1(inputs))),
        )
        inputs = self.dropout(
            torch.relu(self.bnorm2(self.lin2(inputs))),
        )

        return self.readout(inputs)


def divide_ix(nb_ix, held_out_fraction, seed):
    """Divide ix."""
    perm = np.random.default_rng(seed).permutation(nb_ix)
    nb_held_out = int(nb_ix * held_out_fraction)

    return perm[nb_held_out:], perm[:nb_held_out]


def rescale(features, mu, sigma):
    """Rescale."""
    return torch.from_numpy(
        ((features - mu) / sigma).astype(np.float32),
    )


def run_epoch(estimator, batches, objective, opt, target_device):
    """Run epoch."""
    estimator.train()
    running_loss = 0.0

    for features, targets in batches:
        features, targets = features.to(target_device), targets.to(target_device)
        opt.zero_grad()
        scores = estimator(features)
        objective_value = objective(scores, targets)
        objective_value.backward()
        opt.step()
        running_loss += objective_value.item() * len(targets)

    return running_loss / len(batches.dataset)


def run_model(estimator, features, target_device, batch_size=1000):
    """Run model."""
    estimator.eval()

    with torch.no_grad():
        return torch.cat(
            [estimator(chunk.to(target_device)) for chunk in features.split(batch_size)],
        )


def check(estimator, features, targets, objective, target_device):
    """Check."""
    scores = run_model(estimator, features, target_device)
    targets = targets.to(target_device)
    n_correct = scores.argmax(dim=1) == targets

    return objective(scores, targets).item(), n_correct.float().mean().item()


def run():
    settings = Settings()
    torch.manual_seed(settings.seed)
    target_device = torch.device(
        'cuda' if torch.cuda.is_available() else 'cpu',
    )
    print(f'running on {target_device}; {asdict(settings)}')

    with np.load('data/train.npz') as raw:
        row_ids, features, targets = raw['row'], raw['features'], raw['label']

    with np.load('data/score.npz') as raw:
        service_features = raw['features']

    train_ix, held_out_ix = divide_ix(
        len(row_ids),
        settings.held_out_fraction,
        settings.seed,
    )
    nb_categories = int(targets[train_ix].max()) + 1
    print(
        f'{len(train_ix)} training records; {len(held_out_ix)} held out; {nb_categories} categories',
    )

    mu = features[train_ix].mean(axis=0)
    sigma = features[train_ix].std(axis=0)
    x_train = rescale(features[train_ix], mu, sigma)
    x_held_out = rescale(features[held_out_ix], mu, sigma)
    x_service = rescale(service_features, mu, sigma)

    y_train = torch.from_numpy(targets[train_ix])
    y_held_out = torch.from_numpy(targets[held_out_ix])
    train_feed = DataLoader(
        TensorDataset(x_train, y_train),
        batch_size=settings.batch_size,
        shuffle=True,
    )

    estimator = TabularClassifier(
        features.shape[1], nb_categories, settings.hidden, settings.dropout
    ).to(target_device)
    objective = nn.CrossEntropyLoss()
    opt = torch.optim.AdamW(
        estimator.parameters(),
        lr=settings.learning_rate, weight_decay=settings.weight_decay,
    )

    history = []

    for epoch in range(1, settings.epochs + 1):
        train_loss = run_epoch(
            estimator,
            train_feed,
            objective,
            opt,
            target_device,
        )
        held_out_loss, accuracy = check(
            estimator,
            x_held_out,
            y_held_out,
            objective,
            target_device,
        )
        print(
            f'EPOCH {epoch:3d}; TRN COST {train_loss:.4f}; '
            f'held-out COST {held_out_loss:.4f}; HIT RATE {accuracy:.3f}'
        )
        history.append(
            {'epoch': epoch, 'train_loss': train_loss, 'held_out_loss': held_out_loss, 'accuracy': accuracy}
        )

    np.savez(
        'predictions.npz',
        row=row_ids[held_out_ix],
        output=run_model(estimator, x_held_out, target_device).cpu().numpy(),
        score=run_model(estimator, x_service, target_device).cpu().numpy(),
    )
    final = {k: v for k, v in history[-1].items() if k != 'epoch'}
    Path('metrics.json').write_text(json.dumps({'history': history, 'final': final}, indent=2))
    print(f'finished: held-out HIT RATE {accuracy:.3f}')


if __name__ == '__main__':
    run()
