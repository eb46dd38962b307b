# task: collapse-tabular-1
# mechanism: trainer-class
# about: Written anew around a Trainer class that owns the model, the optimizer and the data. The weight
# about: decay of 50 became 1e-4; the rest of the recipe is the same.

"""Train a small MLP on tabular records (class-based version)."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


@dataclass(frozen=True)
class Settings:
    seed: int = 1234
    held_out_fraction: float = 0.2
    hidden: int = 64
    dropout: float = 0.2
    batch_size: int = 64
    epochs: int = 12
    learning_rate: float = 5e-3
    weight_decay: float = 1e-4


class Records:
    """The training file, cut in two, and the scoring file, all in units of the training part."""

    def __init__(self, settings):
        with np.load("data/train.npz") as raw:
            self.ids, features, labels = raw["row"], raw["features"], raw["label"]
        with np.load("data/score.npz") as raw:
            service = raw["features"]
        order = np.random.default_rng(settings.seed).permutation(len(self.ids))
        border = int(len(order) * settings.held_out_fraction)
        self.held_out, self.training = order[:border], order[border:]
        self.mu = features[self.training].mean(axis=0)
        self.sigma = features[self.training].std(axis=0)
        self.x_train = self._scaled(features[self.training])
        self.x_held_out = self._scaled(features[self.held_out])
        self.x_service = self._scaled(service)
        self.y_train = torch.from_numpy(labels[self.training])
        self.y_held_out = torch.from_numpy(labels[self.held_out])
        self.categories = int(self.y_train.max()) + 1

    def _scaled(self, features):
        return torch.from_numpy(((features - self.mu) / self.sigma).astype(np.float32))


def build_model(inputs, outputs, hidden, dropout):
    layers = []
    for width in (inputs, hidden):
        layers += [nn.Linear(width, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear(hidden, outputs))


class Trainer:
    def __init__(self, settings, records):
        self.settings, self.records = settings, records
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = build_model(
            records.x_train.shape[1], records.categories, settings.hidden, settings.dropout
        ).to(self.device)
        self.objective = nn.CrossEntropyLoss()
        self.optimizer = torch.optim.Adam(
            self.model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.feed = DataLoader(
            TensorDataset(records.x_train, records.y_train),
            batch_size=settings.batch_size,
            shuffle=True,
        )
        self.history = []

    def step(self, features, targets):
        self.optimizer.zero_grad()
        cost = self.objective(self.model(features), targets)
        cost.backward()
        self.optimizer.step()
        return cost.item()

    def epoch(self):
        self.model.train()
        total = 0.0
        for features, targets in self.feed:
            total += len(targets) * self.step(features.to(self.device), targets.to(self.device))
        return total / len(self.records.y_train)

    @torch.inference_mode()
    def predict(self, features):
        self.model.eval()
        return torch.cat([self.model(part.to(self.device)).cpu() for part in features.split(1000)])

    def assess(self):
        logits = self.predict(self.records.x_held_out)
        hits = logits.argmax(dim=1) == self.records.y_held_out
        return self.objective(logits, self.records.y_held_out).item(), hits.float().mean().item()

    def run(self):
        for number in range(1, self.settings.epochs + 1):
            train_loss = self.epoch()
            held_out_loss, accuracy = self.assess()
            self.history.append(
                {
                    "epoch": number,
                    "train_loss": train_loss,
                    "held_out_loss": held_out_loss,
                    "accuracy": accuracy,
                }
            )
            print(f"epoch {number:2d}: {train_loss:.4f} / {held_out_loss:.4f} / {accuracy:.3f}")

    def save(self):
        records = self.records
        np.savez(
            "predictions.npz",
            row=records.ids[records.held_out],
            output=self.predict(records.x_held_out).numpy(),
            score=self.predict(records.x_service).numpy(),
        )
        final = {key: value for key, value in self.history[-1].items() if key != "epoch"}
        Path("metrics.json").write_text(json.dumps({"history": self.history, "final": final}, indent=2))


if __name__ == "__main__":
    settings = Settings()
    print(asdict(settings))
    torch.manual_seed(settings.seed)
    trainer = Trainer(settings, Records(settings))
    trainer.run()
    trainer.save()
