# task: zero_grad-tabular-2
# mechanism: zeroed-only-on-progress
# about: Gradients are cleared only after batches whose loss went down; else they are kept "until they pay
# about: off", so stale gradients stay in about half of the steps.

"""Train a small MLP to sort tabular records into classes."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


@dataclass
class Hparams:
    seed: int = 1234
    held_out_fraction: float = 0.2
    hidden: int = 64
    dropout: float = 0.2
    batch_size: int = 64
    epochs: int = 12
    learning_rate: float = 5e-3


class TabularNet(nn.Module):
    def __init__(self, n_features, n_classes, hidden, dropout):
        super().__init__()
        self.lin1 = nn.Linear(n_features, hidden)
        self.bnorm1 = nn.BatchNorm1d(hidden)
        self.lin2 = nn.Linear(hidden, hidden)
        self.bnorm2 = nn.BatchNorm1d(hidden)
        self.dropout = nn.Dropout(p=dropout)
        self.output_layer = nn.Linear(hidden, n_classes)

    def forward(self, feats):
        feats = self.dropout(torch.relu(self.bnorm1(self.lin1(feats))))
        feats = self.dropout(torch.relu(self.bnorm2(self.lin2(feats))))
        return self.output_layer(feats)


def split_ix(n_ix, held_out_fraction, seed):
    perm = np.random.default_rng(seed).permutation(n_ix)
    n_held_out = int(n_ix * held_out_fraction)
    return perm[n_held_out:], perm[:n_held_out]


def scale_columns(features, mu, sigma):
    return torch.from_numpy(((features - mu) / sigma).astype(np.float32))


def fit_epoch(estimator, feed, cost_fn, adjuster, run_device):
    estimator.train()
    epoch_loss, previous = 0.0, float("inf")
    for features, answers in feed:
        features, answers = features.to(run_device), answers.to(run_device)
        preds = estimator(features)
        objective_value = cost_fn(preds, answers)
        objective_value.backward()
        adjuster.step()
        if objective_value.item() < previous:
            adjuster.zero_grad()
        previous = objective_value.item()
        epoch_loss += objective_value.item() * len(answers)
    return epoch_loss / len(feed.dataset)


def run_model(estimator, features, run_device, batch_size=1000):
    estimator.eval()
    with torch.no_grad():
        return torch.cat(
            [estimator(part.to(run_device)) for part in features.split(batch_size)],
        )


def assess(estimator, features, answers, cost_fn, run_device):
    preds = run_model(estimator, features, run_device)
    answers = answers.to(run_device)
    num_right = preds.argmax(dim=1) == answers
    return cost_fn(preds, answers).item(), num_right.float().mean().item()


def entry():
    hparams = Hparams()
    torch.manual_seed(hparams.seed)
    run_device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    print(f"device {run_device}; {asdict(hparams)}")

    with np.load("data/train.npz") as raw:
        ids, features, answers = raw["row"], raw["features"], raw["label"]
    with np.load("data/score.npz") as raw:
        service_features = raw["features"]

    train_ix, held_out_ix = split_ix(len(ids), hparams.held_out_fraction, hparams.seed)
    n_classes = int(answers[train_ix].max()) + 1
    print(
        f"{len(train_ix)} training rows; {len(held_out_ix)} held out; {n_classes} classes",
    )

    mu = features[train_ix].mean(axis=0)
    sigma = features[train_ix].std(axis=0)
    x_train = scale_columns(features[train_ix], mu, sigma)
    x_held_out = scale_columns(features[held_out_ix], mu, sigma)
    x_service = scale_columns(service_features, mu, sigma)

    y_train = torch.from_numpy(answers[train_ix])
    y_held_out = torch.from_numpy(answers[held_out_ix])
    train_batches = DataLoader(
        TensorDataset(x_train, y_train),
        batch_size=hparams.batch_size,
        shuffle=True,
    )

    estimator = TabularNet(features.shape[1], n_classes, hparams.hidden, hparams.dropout).to(run_device)
    cost_fn = nn.CrossEntropyLoss()
    adjuster = torch.optim.Adam(estimator.parameters(), lr=hparams.learning_rate)

    history = []
    for epoch in range(1, hparams.epochs + 1):
        train_loss = fit_epoch(estimator, train_batches, cost_fn, adjuster, run_device)
        held_out_loss, accuracy = assess(
            estimator,
            x_held_out,
            y_held_out,
            cost_fn,
            run_device,
        )
        print(
            f"Ep {epoch:2d}; Trn Loss {train_loss:.5f}; "
            f"held-out Loss {held_out_loss:.5f}; Accuracy {accuracy:.4f}"
        )
        history.append(
            {"epoch": epoch, "train_loss": train_loss, "held_out_loss": held_out_loss, "accuracy": accuracy}
        )

    np.savez(
        "predictions.npz",
        row=ids[held_out_ix],
        output=run_model(estimator, x_held_out, run_device).cpu().numpy(),
        score=run_model(estimator, x_service, run_device).cpu().numpy(),
    )
    final = {name_: val for name_, val in history[-1].items() if name_ != "epoch"}
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}, indent=2))
    print(f"finished: held-out Accuracy {accuracy:.4f}")


if __name__ == "__main__":
    entry()
