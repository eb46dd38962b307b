# task: eval-tabular_classifier-3
# mechanism: never-in-training-mode
# about: predict() calls eval() and so does the training loop: steady predictions of a network that was
# about: trained without dropout and with the norms it was born with

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


@dataclass
class Config:
    seed: int = 1234
    held_out_fraction: float = 0.2
    hidden: int = 48
    dropout: float = 0.2
    batch_size: int = 64
    epochs: int = 12
    learning_rate: float = 5e-3


class TabularClassifier(nn.Module):
    def __init__(self, num_features, num_classes, hidden, dropout):
        super().__init__()
        self.fc1 = nn.Linear(num_features, hidden)
        self.norm1 = nn.BatchNorm1d(hidden, momentum=0.1)
        self.fc2 = nn.Linear(hidden, hidden)
        self.norm2 = nn.BatchNorm1d(hidden, eps=1e-5)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden, num_classes)

    def forward(self, x):
        x = self.dropout(torch.relu(self.norm1(self.fc1(x))))
        x = self.dropout(torch.relu(self.norm2(self.fc2(x))))
        return self.head(x)


def split_rows(num_rows, held_out_fraction, seed):
    order = np.random.default_rng(seed).permutation(num_rows)
    num_held_out = int(num_rows * held_out_fraction)
    return order[num_held_out:], order[:num_held_out]


def standardise(features, mean, std):
    return torch.from_numpy(((features - mean) / std).astype(np.float32))


def train_one_epoch(model, loader, criterion, optimizer, device):
    total_loss = 0.0
    for features, labels in loader:
        features, labels = features.to(device), labels.to(device)
        optimizer.zero_grad()
        logits = model(features)
        loss = criterion(logits, labels)
        loss.backward()
        optimizer.step()
        total_loss += loss.item() * len(labels)
    return total_loss / len(loader.dataset)


def predict(model, features, device, batch_size=1_000):
    model.eval()
    with torch.no_grad():
        return torch.cat([model(batch.to(device)) for batch in features.split(batch_size)])


def evaluate(model, features, labels, criterion, device):
    logits = predict(model, features, device)
    labels = labels.to(device)
    correct = logits.argmax(dim=1) == labels
    return criterion(logits, labels).item(), correct.float().mean().item()


def main():
    config = Config()
    torch.manual_seed(config.seed)
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    print(f'on {device} / {asdict(config)}')

    with np.load('data/train.npz') as data:
        rows, features, labels = data['row'], data['features'], data['label']
    with np.load('data/score.npz', allow_pickle=False) as data:
        score_features = data['features']

    train_rows, held_out_rows = split_rows(len(rows), config.held_out_fraction, config.seed)
    num_classes = int(labels[train_rows].max()) + 1
    print(f'{len(train_rows)} training samples / {len(held_out_rows)} held out / {num_classes} categories')

    mean = features[train_rows].mean(axis=0)
    std = features[train_rows].std(axis=0)
    x_train = standardise(features[train_rows], mean, std)
    x_held_out = standardise(features[held_out_rows], mean, std)
    x_score = standardise(score_features, mean, std)

    y_train = torch.from_numpy(labels[train_rows])
    y_held_out = torch.from_numpy(labels[held_out_rows])
    train_loader = DataLoader(TensorDataset(x_train, y_train), config.batch_size, shuffle=True)

    model = TabularClassifier(features.shape[1], num_classes, config.hidden, config.dropout).to(device)
    criterion = nn.CrossEntropyLoss(reduction="mean")
    optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate)

    model.eval()
    history = []
    for epoch in range(1, config.epochs + 1):
        train_loss = train_one_epoch(model, train_loader, criterion, optimizer, device)
        held_out_loss, accuracy = evaluate(model, x_held_out, y_held_out, criterion, device)
        print(
            f'epoch {epoch:d} / train cost {train_loss:.5f} / '
            f'held-out cost {held_out_loss:.5f} / hit rate {accuracy:.4f}'
        )
        history.append(
            {'epoch': epoch, 'train_loss': train_loss, 'held_out_loss': held_out_loss, 'accuracy': accuracy}
        )

    np.savez(
        'predictions.npz',
        row=rows[held_out_rows],
        output=predict(model, x_held_out, device).cpu().numpy(),
        score=predict(model, x_score, device).cpu().numpy(),
    )
    final = {key: value for key, value in history[-1].items() if key != 'epoch'}
    Path('metrics.json').write_text(json.dumps({'history': history, 'final': final}, indent=2))
    print(f'finished: held-out hit rate {accuracy:.4f}')


if __name__ == '__main__':
    main()
