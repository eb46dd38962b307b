# task: leakage-tabular-1
# mechanism: retrain-after-selection
# about: No test row is trained on. The number of epochs is chosen on a validation part of the remaining
# about: rows; then a fresh model is trained for that many epochs on training and validation rows together,
# about: with scaling fitted on those.

"""Choose the number of epochs on validation rows, then train from scratch on all but the test rows."""

import json
from pathlib import Path

import numpy as np
import torch
from torch import nn

SEED = 1234
BATCH_SIZE = 64
LEARNING_RATE = 5e-3
EPOCH_RANGE = range(10, 15)


def seeded_model(n_columns, n_classes, device, hidden=64, dropout=0.2):
    torch.manual_seed(SEED)
    return nn.Sequential(
        nn.Linear(n_columns, hidden),
        nn.BatchNorm1d(hidden),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(hidden, hidden),
        nn.BatchNorm1d(hidden),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(hidden, n_classes),
    ).to(device)


def fit_scaler(features):
    offset, divisor = features.mean(axis=0), features.std(axis=0)
    return lambda block: torch.from_numpy(((block - offset) / divisor).astype(np.float32))


def predict(net, values, device):
    net.eval()
    with torch.no_grad():
        return net(values.to(device)).cpu()


def training(net, values, answers, n_epochs, device):
    """Train epoch by epoch; after each one, hand its number and mean loss to the caller."""
    opt = torch.optim.Adam(net.parameters(), lr=LEARNING_RATE)
    values, answers = values.to(device), answers.to(device)
    for epoch in range(1, n_epochs + 1):
        net.train()
        total = 0.0
        for batch in torch.randperm(len(values)).to(device).split(BATCH_SIZE):
            opt.zero_grad()
            cost = nn.functional.cross_entropy(net(values[batch]), answers[batch])
            cost.backward()
            opt.step()
            total += cost.item() * len(batch)
        yield epoch, total / len(values)


def main():
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with np.load("data/train.npz") as raw:
        records, features, labels = raw["row"], raw["features"], torch.from_numpy(raw["label"])
    with np.load("data/score.npz") as raw:
        scoring = raw["features"]
    order = np.random.default_rng(SEED).permutation(len(records))
    n_test, n_valid = len(order) // 5, len(order) // 8
    test, valid, train = np.split(order, [n_test, n_test + n_valid])
    rest = np.concatenate([valid, train])
    n_classes = int(labels[rest].max()) + 1

    # first run: how many epochs?
    scale = fit_scaler(features[train])
    net = seeded_model(features.shape[1], n_classes, device)
    valid_loss = {}
    for epoch, train_loss in training(net, scale(features[train]), labels[train], max(EPOCH_RANGE), device):
        logits = predict(net, scale(features[valid]), device)
        valid_loss[epoch] = nn.functional.cross_entropy(logits, labels[valid]).item()
        print(f"selection {epoch:2d}: train {train_loss:.3f}, validation {valid_loss[epoch]:.3f}")
    n_epochs = min(EPOCH_RANGE, key=valid_loss.get)

    # second run: a fresh model, for that many epochs, on everything that is not test
    scale = fit_scaler(features[rest])
    net = seeded_model(features.shape[1], n_classes, device)
    history = []
    for epoch, train_loss in training(net, scale(features[rest]), labels[rest], n_epochs, device):
        history.append({"epoch": epoch, "train_loss": train_loss, "selection_loss": valid_loss[epoch]})
        print(f"final {epoch:2d}: train {train_loss:.3f}")

    output = predict(net, scale(features[test]), device)
    final = {
        "train_loss": history[-1]["train_loss"],
        "held_out_loss": nn.functional.cross_entropy(output, labels[test]).item(),
        "accuracy": (output.argmax(dim=1) == labels[test]).float().mean().item(),
    }
    print(f"{n_epochs} epochs, test {final}")
    np.savez(
        "predictions.npz",
        row=records[test],
        output=output.numpy(),
        score=predict(net, scale(scoring), device).numpy(),
    )
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}, indent=2))


if __name__ == "__main__":
    main()
