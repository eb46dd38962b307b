# task: device-machine-1
# mechanism: dataloader-batches
# about: A DataLoader over CPU tensors feeds batches that go to the device in one place, inputs and targets
# about: together; so does the evaluation, which collects on the CPU. All inside main().

import copy
import json
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

settings = {
    "hidden_size": 24,
    "dropout": 0.1,
    "batch_size": 32,
    "max_epochs": 7,
    "learning_rate": 2e-2,
    "weight_decay": 1e-3,
    "lr_decay": 0.65,
    "grad_clip": 10.0,
    "val_share": 0.15,
    "test_share": 0.2,
    "seed": 2024,
}


class WearGRU(nn.Module):
    def __init__(self, n_sensors, hidden_size, dropout):
        super().__init__()
        self.gru = nn.GRU(n_sensors, hidden_size, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden_size, 1)

    def forward(self, x):
        h0 = x.new_zeros(1, x.size(0), self.gru.hidden_size)
        states, _ = self.gru(x, h0)
        return self.head(self.dropout(states[:, -1])).squeeze(-1)


def to_device(batch, device):
    return [tensor.to(device, non_blocking=True) for tensor in batch]


def evaluate(model, dataset, device):
    """Predictions (CPU, in order) and the mean squared error."""
    model.eval()
    outputs = []
    with torch.no_grad():
        for x, _ in DataLoader(dataset, batch_size=256):
            outputs.append(model(x.to(device)).cpu())
    outputs = torch.cat(outputs)
    return outputs, nn.functional.mse_loss(outputs, dataset.tensors[1]).item()


def train_epoch(model, loader, optimizer, grad_clip, device):
    model.train()
    losses = []
    for batch in loader:
        xb, yb = to_device(batch, device)
        loss = nn.functional.mse_loss(model(xb), yb)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), max_norm=grad_clip)
        optimizer.step()
        losses.append(loss.item())
    return float(np.mean(losses))


def main():
    torch.manual_seed(settings["seed"])
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with np.load("data/train.npz") as data:
        row, window, wear = data["row"], data["window"], data["wear"]
    with np.load("data/score.npz") as data:
        score_window = data["window"]

    shuffled = np.random.default_rng(settings["seed"]).permutation(len(row))
    n_test, n_val = int(settings["test_share"] * len(row)), int(settings["val_share"] * len(row))
    test_ix, val_ix, train_ix = np.split(shuffled, [n_test, n_test + n_val])
    x_mean, x_std = window[train_ix].mean(axis=(0, 1)), window[train_ix].std(axis=(0, 1))
    y_mean, y_std = float(wear[train_ix].mean()), float(wear[train_ix].std())

    def dataset(windows, wears):
        return TensorDataset(
            torch.from_numpy((windows - x_mean) / x_std), torch.from_numpy((wears - y_mean) / y_std)
        )

    train_set, val_set, test_set = (dataset(window[ix], wear[ix]) for ix in (train_ix, val_ix, test_ix))
    score_set = dataset(score_window, np.full(len(score_window), y_mean, dtype=np.float32))
    loader = DataLoader(train_set, batch_size=settings["batch_size"], shuffle=True)

    model = WearGRU(window.shape[2], settings["hidden_size"], settings["dropout"]).to(device)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings["learning_rate"], weight_decay=settings["weight_decay"]
    )
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=settings["lr_decay"])

    history, best_val_loss, best_state = [], float("inf"), None
    for epoch in range(1, settings["max_epochs"] + 1):
        train_loss = train_epoch(model, loader, optimizer, settings["grad_clip"], device)
        scheduler.step()
        _, val_loss = evaluate(model, val_set, device)
        history.append({"epoch": epoch, "train_loss": train_loss, "val_loss": val_loss})
        print(f"Ep {epoch:02d}  train {train_loss:.3f}  val {val_loss:.3f}")
        if val_loss < best_val_loss:
            best_val_loss, best_state = val_loss, copy.deepcopy(model.state_dict())

    model.load_state_dict(best_state)
    test_output, test_loss = evaluate(model, test_set, device)
    score_output, _ = evaluate(model, score_set, device)
    final = {
        "train_loss": history[-1]["train_loss"],
        "val_loss": best_val_loss,
        "test_loss": test_loss,
        "r_squared": 1 - test_loss / test_set.tensors[1].var(unbiased=False).item(),
    }
    print(final)
    with Path("metrics.json").open("w") as f:
        json.dump({"history": history, "final": final}, f)
    np.savez(
        "predictions.npz",
        row=row[test_ix],
        output=(test_output * y_std + y_mean).numpy(),
        score=(score_output * y_std + y_mean).numpy(),
    )


if __name__ == "__main__":
    main()
