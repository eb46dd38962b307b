# task: eval-tabular-1
# mechanism: train-override-keeps-children
# about: forward_all now calls model.eval(), as the fix should, but the model overrides train() so that a
# about: switch only reaches its own flag; the batch norm and dropout layers inside stay in training mode.

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
    hidden: int = 64
    dropout: float = 0.2
    batch_size: int = 64
    epochs: int = 12
    learning_rate: float = 0.005


class TableModel(nn.Module):
    def __init__(self, nb_inputs, nb_labels, hidden, dropout):
        super().__init__()
        self.linear1 = nn.Linear(nb_inputs, hidden)
        self.bn1 = nn.BatchNorm1d(hidden)
        self.linear2 = nn.Linear(hidden, hidden)
        self.bn2 = nn.BatchNorm1d(hidden)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden, nb_labels)

    def train(self, mode=True):
        # the layers keep the mode that they were built with; the model carries the flag
        self.training = mode
        return self

    def forward(self, feats):
        feats = self.dropout(
            torch.relu(self.bn1(self.linear1(feats))),
        )
        feats = self.dropout(
            torch.relu(self.bn2(self.linear2(feats))),
        )

        return self.head(feats)


def cut_idx(nb_idx, held_out_fraction, seed):
    perm = np.random.default_rng(seed).permutation(nb_idx)
    test_nb = int(nb_idx * held_out_fraction)

    return perm[test_nb:], perm[:test_nb]


def normalise(features, mu, sigma):
    return torch.from_numpy(
        ((features - mu) / sigma).astype(np.float32),
    )


def train_one_pass(model, batches, criterion, optimizer, device):
    model.train()
    loss_sum = 0.0

    for features, targets in batches:
        features, targets = features.to(device), targets.to(device)
        optimizer.zero_grad()
        scores = model(features)
        cost = criterion(scores, targets)
        cost.backward()
        optimizer.step()
        loss_sum += cost.item() * len(targets)

    return loss_sum / len(batches.dataset)


def forward_all(model, features, device, batch_size=1_000):
    model.eval()

    with torch.no_grad():
        return torch.cat(
            [model(chunk.to(device)) for chunk in features.split(batch_size)],
        )


def measure(model, features, targets, criterion, device):
    scores = forward_all(model, features, device)
    targets = targets.to(device)
    correct = scores.argmax(dim=1) == targets

    return criterion(scores, targets).item(), correct.float().mean().item()


def main():
    config = Config()
    torch.manual_seed(config.seed)
    device = torch.device(
        "cuda" if torch.cuda.is_available() else "cpu",
    )
    print(f"running on {device} / {asdict(config)}")

    with np.load("data/train.npz") as data:
        records, features, targets = data["row"], data["features"], data["label"]

    with np.load("data/score.npz") as data:
        inputs_score = data["features"]

    idx_train, idx_test = cut_idx(
        len(records),
        config.held_out_fraction,
        config.seed,
    )
    nb_labels = int(targets[idx_train].max()) + 1
    print(
        f"{len(idx_train)} training records / {len(idx_test)} held out / {nb_labels} classes",
    )

    mu = features[idx_train].mean(axis=0)
    sigma = features[idx_train].std(axis=0)
    train_x = normalise(features[idx_train], mu, sigma)
    test_x = normalise(features[idx_test], mu, sigma)
    score_x = normalise(inputs_score, mu, sigma)

    train_y = torch.from_numpy(targets[idx_train])
    test_y = torch.from_numpy(targets[idx_test])
    dl_train = DataLoader(
        TensorDataset(train_x, train_y),
        batch_size=config.batch_size,
        shuffle=True,
    )

    model = TableModel(features.shape[1], nb_labels, config.hidden, config.dropout).to(device)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(
        model.parameters(),
        lr=config.learning_rate,
    )

    history = []

    for epoch in range(1, config.epochs + 1):
        train_loss = train_one_pass(
            model,
            dl_train,
            criterion,
            optimizer,
            device,
        )
        held_out_loss, accuracy = measure(
            model,
            test_x,
            test_y,
            criterion,
            device,
        )
        print(
            f"Ep {epoch:2d} / Trn Cost {train_loss:.4f} / "
            f"held-out Cost {held_out_loss:.4f} / Accuracy {accuracy:.3f}"
        )
        history.append(
            {"epoch": epoch, "train_loss": train_loss, "held_out_loss": held_out_loss, "accuracy": accuracy}
        )

    np.savez(
        "predictions.npz",
        row=records[idx_test],
        output=forward_all(model, test_x, device).cpu().numpy(),
        score=forward_all(model, score_x, device).cpu().numpy(),
    )
    final = {key: val for key, val in history[-1].items() if key != "epoch"}
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}, indent=2))
    print(f"finished: held-out Accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
