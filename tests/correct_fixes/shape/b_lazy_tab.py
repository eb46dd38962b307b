# task: shape-tabular-1
# mechanism: lazy-layers
# about: The layers find their own input width: lazy modules, materialised by one forward pass of a few
# about: training rows in evaluation mode before the optimizer is built.

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

@dataclass
class Conf:
    seed: int = 1234
    held_out_fraction: float = 0.2
    hidden: int = 64
    dropout: float = 0.2
    batch_size: int = 64
    epochs: int = 12
    learning_rate: float = 0.005

class RowNetwork(nn.Module):
    def __init__(self, num_labels, hidden, dropout):
        super().__init__()
        self.lin1 = nn.LazyLinear(hidden)
        self.norm1 = nn.LazyBatchNorm1d()
        self.lin2 = nn.LazyLinear(hidden)
        self.norm2 = nn.LazyBatchNorm1d()
        self.dropout = nn.Dropout(dropout)
        self.readout = nn.Linear(hidden, num_labels)

    def forward(self, x):
        x = self.dropout(torch.relu(self.norm1(self.lin1(x))))
        x = self.dropout(torch.relu(self.norm2(self.lin2(x))))

        return self.readout(x)

def cut_index(num_index, held_out_fraction, seed):
    perm = np.random.default_rng(seed).permutation(num_index)
    eval_num = int(num_index * held_out_fraction)

    return perm[eval_num:], perm[:eval_num]

def normalise(features, centre, spread):
    return torch.from_numpy(
        ((features - centre) / spread).astype(np.float32),
    )

def run_epoch(estimator, data_loader, cost_fn, adjuster, run_device):
    estimator.train()
    summed_loss = 0.0

    for features, y_true in data_loader:
        features, y_true = features.to(run_device), y_true.to(run_device)
        adjuster.zero_grad()
        out = estimator(features)
        loss_value = cost_fn(out, y_true)
        loss_value.backward()
        adjuster.step()
        summed_loss += loss_value.item() * len(y_true)

    return summed_loss / len(data_loader.dataset)

def infer(estimator, features, run_device, batch_size=1_000):
    estimator.eval()

    with torch.no_grad():
        return torch.cat(
            [estimator(part.to(run_device)) for part in features.split(batch_size)],
        )

def check(estimator, features, y_true, cost_fn, run_device):
    out = infer(estimator, features, run_device)
    y_true = y_true.to(run_device)
    correct = out.argmax(dim=1) == y_true

    return cost_fn(out, y_true).item(), correct.float().mean().item()

def run_job():
    conf = Conf()
    torch.manual_seed(conf.seed)
    run_device = torch.device(
        "cuda" if torch.cuda.is_available() else "cpu",
    )
    print(f"running on {run_device} | {asdict(conf)}")

    with np.load("data/train.npz") as archive:
        records, features, y_true = archive["row"], archive["features"], archive["label"]

    with np.load("data/score.npz") as archive:
        features_scoring = archive["features"]

    index_train, index_eval = cut_index(
        len(records),
        conf.held_out_fraction,
        conf.seed,
    )
    num_labels = int(y_true[index_train].max()) + 1
    print(
        f"{len(index_train)} training records | {len(index_eval)} held out | {num_labels} categories",
    )

    centre = features[index_train].mean(axis=0)
    spread = features[index_train].std(axis=0)
    train_x = normalise(features[index_train], centre, spread)
    eval_x = normalise(features[index_eval], centre, spread)
    scoring_x = normalise(features_scoring, centre, spread)

    train_y = torch.from_numpy(y_true[index_train])
    eval_y = torch.from_numpy(y_true[index_eval])
    dl_train = DataLoader(
        TensorDataset(train_x, train_y),
        batch_size=conf.batch_size,
        shuffle=True,
    )

    estimator = RowNetwork(num_labels, conf.hidden, conf.dropout)
    infer(estimator, train_x[:4], "cpu")  # gives the lazy layers their shapes
    estimator = estimator.to(run_device)
    cost_fn = nn.CrossEntropyLoss()
    adjuster = torch.optim.Adam(
        estimator.parameters(),
        lr=conf.learning_rate,
    )

    history = []

    for epoch in range(1, conf.epochs + 1):
        train_loss = run_epoch(
            estimator,
            dl_train,
            cost_fn,
            adjuster,
            run_device,
        )
        held_out_loss, accuracy = check(
            estimator,
            eval_x,
            eval_y,
            cost_fn,
            run_device,
        )
        print(
            f"ep {epoch:03d} | trn cost {train_loss:.3f} | "
            f"held-out cost {held_out_loss:.3f} | acc {accuracy:.2f}"
        )
        history.append(
            {"epoch": epoch, "train_loss": train_loss, "held_out_loss": held_out_loss, "accuracy": accuracy}
        )

    np.savez(
        "predictions.npz",
        row=records[index_eval],
        output=infer(estimator, eval_x, run_device).cpu().numpy(),
        score=infer(estimator, scoring_x, run_device).cpu().numpy(),
    )
    final = {name_: v for name_, v in history[-1].items() if name_ != "epoch"}
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}, indent=2))
    print(f"complete: held-out acc {accuracy:.2f}")

if __name__ == "__main__":
    run_job()
