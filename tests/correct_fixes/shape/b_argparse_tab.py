# task: shape-tabular-1
# mechanism: argparse-rewrite
# about: A rewrite with command line options (all with defaults), both norms as wide as their layers by
# about: construction, AdamW, and gradient clipping.

"""Train a small MLP on the records in data/train.npz and score data/score.npz."""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_


def parse_options(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--held-out", type=float, default=0.2)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--dropout", type=float, default=0.2)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--rate", type=float, default=5e-3)
    parser.add_argument("--decay", type=float, default=1e-2)
    parser.add_argument("--clip", type=float, default=2.0)
    return parser.parse_args(arguments)


class RowNet(nn.Module):
    def __init__(self, num_features, num_labels, hidden, dropout):
        super().__init__()
        self.hidden_layers = nn.Sequential(
            nn.Linear(num_features, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Dropout(dropout),
            nn.Linear(hidden, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Dropout(dropout),
        )
        self.readout = nn.Linear(hidden, num_labels)

    def forward(self, x):
        return self.readout(self.hidden_layers(x))


def read(path, *names):
    with np.load(path) as archive:
        return [archive[name] for name in names]


def logits_for(estimator, inputs):
    estimator.eval()
    with torch.no_grad():
        return torch.cat([estimator(part) for part in inputs.split(1000)])


def fit_epoch(estimator, inputs, answers, optimizer, options, source):
    estimator.train()
    order = torch.randperm(len(inputs), generator=source).to(inputs.device)
    total = 0.0
    for batch in order.split(options.batch_size):
        optimizer.zero_grad(set_to_none=True)
        loss = nn.functional.cross_entropy(estimator(inputs[batch]), answers[batch])
        loss.backward()
        clip_grad_norm_(estimator.parameters(), options.clip)
        optimizer.step()
        total += loss.item() * len(batch)
    return total / len(inputs)


def main():
    options = parse_options()
    torch.manual_seed(options.seed)
    source = torch.Generator().manual_seed(options.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    records, features, labels = read(options.data / "train.npz", "row", "features", "label")
    (scoring,) = read(options.data / "score.npz", "features")
    order = torch.randperm(len(records), generator=source).numpy()
    kept_back, used = np.split(order, [int(len(order) * options.held_out)])

    centre, spread = features[used].mean(axis=0), features[used].std(axis=0)
    train_x, eval_x, scoring_x = (
        torch.from_numpy((part - centre) / spread).to(device)
        for part in (features[used], features[kept_back], scoring)
    )
    train_y, eval_y = (torch.from_numpy(labels[part]).to(device) for part in (used, kept_back))
    num_labels = int(train_y.max().item()) + 1

    estimator = RowNet(features.shape[1], num_labels, options.hidden, options.dropout)
    estimator = estimator.to(device)
    optimizer = torch.optim.AdamW(estimator.parameters(), lr=options.rate, weight_decay=options.decay)

    history = []
    for epoch in range(1, options.epochs + 1):
        train_loss = fit_epoch(estimator, train_x, train_y, optimizer, options, source)
        logits = logits_for(estimator, eval_x)
        held_out_loss = nn.functional.cross_entropy(logits, eval_y).item()
        accuracy = (logits.argmax(dim=1) == eval_y).float().mean().item()
        history.append(
            {"epoch": epoch, "train_loss": train_loss, "held_out_loss": held_out_loss, "accuracy": accuracy}
        )
        print(f"ep {epoch:03d} | {train_loss:.3f} | {held_out_loss:.3f} | acc {accuracy:.2f}")

    final = {name: value for name, value in history[-1].items() if name != "epoch"}
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}, indent=2))
    np.savez(
        "predictions.npz",
        row=records[kept_back],
        output=logits_for(estimator, eval_x).cpu().numpy(),
        score=logits_for(estimator, scoring_x).cpu().numpy(),
    )


if __name__ == "__main__":
    main()
