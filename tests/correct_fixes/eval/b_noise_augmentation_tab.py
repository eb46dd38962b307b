# task: eval-tabular-2
# mechanism: noise-augmentation
# about: Dropout is a module again and so follows the mode. Each training batch gets a little fresh
# about: Gaussian noise on its standardised columns; held-out and scoring rows stay as they are.

"""Training script."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


NOISE_SCALE = 0.05  # in standard deviations of a column


@dataclass
class Config:
    seed: int = 1234
    held_out_fraction: float = 0.2
    hidden: int = 64
    dropout: float = 0.2
    batch_size: int = 64
    epochs: int = 12
    learning_rate: float = 5e-3


class RowClassifier(nn.Module):
    """"""

    def __init__(self, nb_columns, nb_labels, hidden, dropout):
        super().__init__()
        self.fc1 = nn.Linear(nb_columns, hidden)
        self.norm1 = nn.BatchNorm1d(hidden)
        self.fc2 = nn.Linear(hidden, hidden)
        self.norm2 = nn.BatchNorm1d(hidden)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(hidden, nb_labels)

    def forward(self, feats):
        feats = self.dropout(torch.relu(self.norm1(self.fc1(feats))))
        feats = self.dropout(torch.relu(self.norm2(self.fc2(feats))))
        return self.out(feats)


def partition_index(nb_index, held_out_fraction, seed):
    """Partition index."""
    order = np.random.default_rng(seed).permutation(nb_index)
    held_out_nb = int(nb_index * held_out_fraction)
    return order[held_out_nb:], order[:held_out_nb]


def standardise(features, mu, sigma):
    return torch.from_numpy(((features - mu) / sigma).astype(np.float32))


def train_one_epoch(learner, batches, loss_function, optimizer, device):
    """Train one epoch."""
    learner.train()
    all_loss = 0.0
    for features, answers in batches:
        features, answers = features.to(device), answers.to(device)
        optimizer.zero_grad()
        noisy = features + NOISE_SCALE * torch.randn_like(features)
        logits = learner(noisy)
        batch_loss = loss_function(logits, answers)
        batch_loss.backward()
        optimizer.step()
        all_loss += batch_loss.item() * len(answers)
    return all_loss / len(batches.dataset)


def infer(learner, features, device, batch_size=1000):
    """Infer."""
    learner.eval()
    with torch.no_grad():
        return torch.cat([learner(chunk.to(device)) for chunk in features.split(batch_size)])


def evaluate(learner, features, answers, loss_function, device):
    """Evaluate."""
    logits = infer(learner, features, device)
    answers = answers.to(device)
    correct = logits.argmax(dim=1) == answers
    return loss_function(logits, answers).item(), correct.float().mean().item()


def main():
    config = Config()
    torch.manual_seed(config.seed)
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    print(f'device {device}  {asdict(config)}', flush=True)

    with np.load('data/train.npz') as raw:
        index, features, answers = raw['row'], raw['features'], raw['label']
    with np.load('data/score.npz') as raw:
        columns_score = raw['features']

    index_train, index_held_out = partition_index(len(index), config.held_out_fraction, config.seed)
    nb_labels = int(answers[index_train].max()) + 1
    print(
        f'{len(index_train)} training records  {len(index_held_out)} held out  {nb_labels} categories',
        flush=True
    )

    mu = features[index_train].mean(axis=0)
    sigma = features[index_train].std(axis=0)
    train_x = standardise(features[index_train], mu, sigma)
    held_out_x = standardise(features[index_held_out], mu, sigma)
    score_x = standardise(columns_score, mu, sigma)

    train_y = torch.from_numpy(answers[index_train])
    held_out_y = torch.from_numpy(answers[index_held_out])
    batches_train = DataLoader(
        TensorDataset(train_x, train_y),
        batch_size=config.batch_size,
        shuffle=True
    )

    learner = RowClassifier(features.shape[1], nb_labels, config.hidden, config.dropout).to(device)
    loss_function = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(learner.parameters(), lr=config.learning_rate)

    history = []
    for epoch in range(1, config.epochs + 1):
        train_loss = train_one_epoch(learner, batches_train, loss_function, optimizer, device)
        held_out_loss, accuracy = evaluate(learner, held_out_x, held_out_y, loss_function, device)
        print(
            f'EPOCH {epoch:3d}  TRAIN OBJECTIVE {train_loss:.4f}  '
            f'held-out OBJECTIVE {held_out_loss:.4f}  ACCURACY {accuracy:.3f}', flush=True
        )
        history.append(
            {'epoch': epoch, 'train_loss': train_loss, 'held_out_loss': held_out_loss, 'accuracy': accuracy}
        )

    np.savez(
        'predictions.npz',
        row=index[index_held_out],
        output=infer(learner, held_out_x, device).cpu().numpy(),
        score=infer(learner, score_x, device).cpu().numpy(),
    )
    final = {key: entry for key, entry in history[-1].items() if key != 'epoch'}
    Path('metrics.json').write_text(json.dumps({'history': history, 'final': final}, indent=2))
    print(f'complete: held-out ACCURACY {accuracy:.3f}', flush=True)


if __name__ == '__main__':
    main()
