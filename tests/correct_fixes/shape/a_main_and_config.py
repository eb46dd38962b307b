# task: shape-machine-1
# mechanism: state-shaped-by-the-gru
# about: The script becomes functions and a config dataclass; the start state's first size is the GRU's
# about: layers.

"""Train a model and score new rows."""

import copy
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Config:
    hidden_size: int = 24
    dropout: float = 0.1
    batch_size: int = 32
    max_epochs: int = 6
    learning_rate: float = 2e-2
    weight_decay: float = 1e-3
    lr_decay: float = 0.65
    grad_clip: float = 10.0
    val_share: float = 0.15
    test_share: float = 0.2
    seed: int = 1337


class WearGRU(nn.Module):
    """The wear gru: (rows, time, sensors) to one value per row."""

    def __init__(self, n_sensors: int, hidden_size: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.gru = nn.GRU(n_sensors, hidden_size, batch_first=True)
        self.head = nn.Linear(hidden_size, 1)

    def initial_state(self, x: Tensor) -> Tensor:
        return x.new_zeros(self.gru.num_layers, x.size(0), self.gru.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.gru(x, self.initial_state(x))
        last = F.dropout(states[:, -1], self.dropout, training=self.training)
        return self.head(last).squeeze(-1)


def minibatches(x: Tensor, y: Tensor, size: int):
    """Minibatches, in a new order each time."""
    for pick in torch.randperm(x.size(0)).to(x.device).split(size):
        yield x[pick], y[pick]


@torch.no_grad()
def predict(model: nn.Module, x: Tensor) -> Tensor:
    model.eval()
    return torch.cat([model(part) for part in x.split(512)])


def load() -> tuple:
    with np.load("data/train.npz") as data:
        row, window, wear = data["row"], data["window"], data["wear"]
    with np.load("data/score.npz") as data:
        return row, window, wear, data["window"]


def split(n_rows: int, config: Config) -> list:
    """Row numbers of the test, validation and training parts."""
    shuffled = np.random.default_rng(config.seed).permutation(n_rows)
    n_test = int(config.test_share * n_rows)
    n_val = int(config.val_share * n_rows)
    return np.split(shuffled, [n_test, n_test + n_val])


def train(model: nn.Module, train_part: tuple, val_part: tuple, criterion: nn.Module, config: Config):
    """Fit, and leave the model with the weights that were best on the validation part."""
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=config.lr_decay)
    history = []
    best_val_loss = float("inf")
    best_state = copy.deepcopy(model.state_dict())
    for epoch in range(1, config.max_epochs + 1):
        model.train()
        losses = []
        for xb, yb in minibatches(*train_part, config.batch_size):
            loss = criterion(model(xb), yb)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), config.grad_clip)
            optimizer.step()
            losses.append(loss.item())
        scheduler.step()

        train_loss = float(np.mean(losses))
        val_loss = criterion(predict(model, val_part[0]), val_part[1]).item()
        history.append({"epoch": epoch, "train_loss": train_loss, "val_loss": val_loss})
        if val_loss < best_val_loss:
            best_val_loss = val_loss
            best_state = copy.deepcopy(model.state_dict())
        print(f"Pass {epoch:2d} / Fit Objective {train_loss:.3f} / Dev Objective {val_loss:.3f}")

    model.load_state_dict(best_state)
    return history, best_val_loss


def main(config: Config = Config()) -> None:
    torch.manual_seed(config.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    row, window, wear, score_window = load()
    test_ix, val_ix, train_ix = split(len(row), config)

    x_mean, x_std = window[train_ix].mean(axis=(0, 1)), window[train_ix].std(axis=(0, 1))
    y_mean, y_std = float(wear[train_ix].mean()), float(wear[train_ix].std())

    def inputs(w: np.ndarray) -> Tensor:
        return torch.from_numpy((w - x_mean) / x_std).to(device)

    def part(ix: np.ndarray) -> tuple:
        return inputs(window[ix]), torch.from_numpy((wear[ix] - y_mean) / y_std).to(device)

    model = WearGRU(window.shape[2], config.hidden_size, config.dropout).to(device)
    criterion = nn.MSELoss()
    history, best_val_loss = train(model, part(train_ix), part(val_ix), criterion, config)

    x_test, y_test = part(test_ix)
    test_output = predict(model, x_test)
    test_loss = criterion(test_output, y_test).item()
    r_squared = 1 - test_loss / y_test.var(unbiased=False).item()
    print(f"best Dev Objective {best_val_loss:.3f} / test Objective {test_loss:.3f}")
    print(f"test R^2 {r_squared:.2f}")

    final = {
        "train_loss": history[-1]["train_loss"],
        "val_loss": best_val_loss,
        "test_loss": test_loss,
        "r_squared": r_squared,
    }
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}))
    np.savez(
        "predictions.npz",
        row=row[test_ix],
        output=(test_output * y_std + y_mean).cpu().numpy(),
        score=(predict(model, inputs(score_window)) * y_std + y_mean).cpu().numpy(),
    )


if __name__ == "__main__":
    main()
