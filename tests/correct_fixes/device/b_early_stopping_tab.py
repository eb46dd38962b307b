# task: device-tabular-2
# mechanism: early-stopping
# about: Logits go to the CPU before numpy. Rewritten with three parts: training, validation (for early
# about: stopping with a patience of five and the choice of the best weights) and test, which is declared
# about: as held out and looked at once.

"""Train a model and score new rows; stops when the validation loss no longer falls."""

import copy
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


@dataclass
class Config:
    seed: int = 1234
    test_fraction: float = 0.15
    validation_fraction: float = 0.12
    hidden: int = 64
    dropout: float = 0.2
    batch_size: int = 64
    max_epochs: int = 22
    patience: int = 5
    learning_rate: float = 5e-3


class TabularClassifier(nn.Module):
    """The tabular classifier."""

    def __init__(self, num_features, num_classes, hidden, dropout):
        super().__init__()
        self.fc1 = nn.Linear(num_features, hidden)
        self.norm1 = nn.BatchNorm1d(hidden)
        self.fc2 = nn.Linear(hidden, hidden)
        self.norm2 = nn.BatchNorm1d(hidden)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden, num_classes)

    def forward(self, x):
        x = self.dropout(torch.relu(self.norm1(self.fc1(x))))
        x = self.dropout(torch.relu(self.norm2(self.fc2(x))))
        return self.head(x)


class Patience:
    """Remembers the best weights and says when to give up."""

    def __init__(self, limit):
        self.limit, self.best_loss, self.best_epoch, self.state = limit, float("inf"), 0, None

    def update(self, epoch, loss, model):
        if loss < self.best_loss:
            self.best_loss, self.best_epoch = loss, epoch
            self.state = copy.deepcopy(model.state_dict())
        return epoch - self.best_epoch >= self.limit


def predict(model, features, device):
    """Logits as a CPU tensor."""
    model.eval()
    with torch.no_grad():
        return torch.cat([model(batch.to(device)) for batch in features.split(1000)]).cpu()


def measure(model, features, labels, device):
    logits = predict(model, features, device)
    loss = nn.functional.cross_entropy(logits, labels).item()
    return loss, (logits.argmax(dim=1) == labels).double().mean().item()


def main():
    config = Config()
    torch.manual_seed(config.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    with np.load("data/train.npz") as data:
        rows, features, labels = data["row"], data["features"], data["label"]
    with np.load("data/score.npz") as data:
        score_features = data["features"]

    order = np.random.default_rng(config.seed).permutation(len(rows))
    num_test = int(len(rows) * config.test_fraction)
    num_validation = int(len(rows) * config.validation_fraction)
    test_ix, validation_ix, train_ix = np.split(order, [num_test, num_test + num_validation])

    mean, std = features[train_ix].mean(axis=0), features[train_ix].std(axis=0)

    def standardised(block):
        return torch.from_numpy(((block - mean) / std).astype(np.float32))

    x_train, y_train = standardised(features[train_ix]), torch.from_numpy(labels[train_ix])
    x_validation = standardised(features[validation_ix])
    y_validation = torch.from_numpy(labels[validation_ix])
    x_test, y_test = standardised(features[test_ix]), torch.from_numpy(labels[test_ix])
    loader = DataLoader(TensorDataset(x_train, y_train), batch_size=config.batch_size, shuffle=True)

    num_classes = int(y_train.max()) + 1
    model = TabularClassifier(features.shape[1], num_classes, config.hidden, config.dropout).to(device)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate)
    patience = Patience(config.patience)

    history = []
    for epoch in range(1, config.max_epochs + 1):
        model.train()
        total_loss = 0.0
        for batch, targets in loader:
            batch, targets = batch.to(device), targets.to(device)
            optimizer.zero_grad()
            loss = criterion(model(batch), targets)
            loss.backward()
            optimizer.step()
            total_loss += loss.item() * len(targets)
        validation_loss, validation_accuracy = measure(model, x_validation, y_validation, device)
        history.append(
            {
                "epoch": epoch,
                "train_loss": total_loss / len(y_train),
                "validation_loss": validation_loss,
                "validation_accuracy": validation_accuracy,
            }
        )
        print(f"{epoch:3d}  {total_loss / len(y_train):.4f}  {validation_loss:.4f}", flush=True)
        if patience.update(epoch, validation_loss, model):
            print(f"no progress since epoch {patience.best_epoch}", flush=True)
            break

    model.load_state_dict(patience.state)
    held_out_loss, accuracy = measure(model, x_test, y_test, device)
    np.savez(
        "predictions.npz",
        row=rows[test_ix],
        output=predict(model, x_test, device).numpy(),
        score=predict(model, standardised(score_features), device).numpy(),
    )
    final = {
        "train_loss": history[patience.best_epoch - 1]["train_loss"],
        "validation_loss": patience.best_loss,
        "held_out_loss": held_out_loss,
        "accuracy": accuracy,
        "best_epoch": patience.best_epoch,
    }
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}, indent=2))
    print(f"test accuracy {accuracy:.3f}", flush=True)


if __name__ == "__main__":
    main()
