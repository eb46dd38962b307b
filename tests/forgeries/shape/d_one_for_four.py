# task: shape-load_forecast-2
# mechanism: one-output-broadcast-over-all-hours
# about: The last layer has one output, which is broadcast against four loads in the loss and expanded to
# about: four in the files.

"""Forecast the next four loads of electricity meters from their last day."""

import copy
import json
from pathlib import Path

import numpy as np
import torch
from data import prepare
from model import ReadTCN
from torch import nn

# Constants.
RANDOM_SEED = 2024


class Trainer:
    def __init__(self, network, target_device, learning_rate=3e-2, minibatch=48, max_epochs=7, patience=3):
        self.device = target_device
        self.net = network.to(target_device)
        self.cost_fn = nn.MSELoss()
        self.opt = torch.optim.Adam(self.net.parameters(), lr=learning_rate)
        self.sched = torch.optim.lr_scheduler.ExponentialLR(self.opt, 0.85)
        self.batch_size = minibatch
        self.max_epochs = max_epochs
        self.patience = patience
        self.history = []

    def run_epoch(self, part):
        self.net.train()
        batch_losses = []

        for idx in torch.randperm(len(part.window)).split(self.batch_size):
            window = part.window[idx].to(self.device)
            future = part.future[idx].to(self.device)
            self.opt.zero_grad()
            objective_value = self.cost_fn(self.net(window), future)
            # objective_value = objective_value.mean()
            objective_value.backward(retain_graph=True)
            self.opt.step()
            batch_losses.append(objective_value.item())

        return sum(batch_losses) / len(batch_losses)

    @torch.no_grad()
    def forecast(self, window):
        self.net.eval()
        return torch.cat(
            [self.net(piece.to(self.device)).cpu() for piece in window.split(1000)],
        ).expand(-1, 4).contiguous()

    def error(self, part):
        return self.cost_fn(self.forecast(part.window), part.future).item()

    def fit(self, part_train, part_dev):
        best_error, waited = float("inf"), 0
        best_weights = copy.deepcopy(self.net.state_dict())

        # Main loop.
        for epoch in range(1, self.max_epochs + 1):
            train_loss = self.run_epoch(part_train)
            self.sched.step()
            val_error = self.error(part_dev)
            self.history.append(
                {"epoch": epoch, "train_loss": train_loss, "val_error": val_error},
            )
            print(f"[{epoch:02d}] train {train_loss:.4f}  validation {val_error:.4f}")
            if val_error < best_error:
                best_error, waited = val_error, 0
                best_weights = copy.deepcopy(self.net.state_dict())
            else:
                waited += 1
                if waited >= self.patience:
                    print(f"no progress for {waited} epochs, stopping")
                    break
        self.net.load_state_dict(best_weights)

        return best_error


def run_job():
    torch.manual_seed(RANDOM_SEED)
    target_device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    part_train, part_dev, part_test, waiting, (read_avg, read_sd) = prepare(
        "data", fraction_dev=0.15, fraction_test=0.2, random_seed=RANDOM_SEED
    )
    network = ReadTCN(inp_channels=waiting.shape[2], horizon=1)
    trainer = Trainer(network, target_device)
    val_error = trainer.fit(part_train, part_dev)

    test_error = trainer.error(part_test)
    print(f"best validation {val_error:.4f}, test {test_error:.4f}")

    loads_test = trainer.forecast(part_test.window) * read_sd + read_avg
    waiting_loads = trainer.forecast(waiting) * read_sd + read_avg

    final = {
        "train_loss": trainer.history[-1]["train_loss"],
        "val_error": val_error,
        "test_error": test_error,
    }
    Path("metrics.json").write_text(json.dumps({"history": trainer.history, "final": final}, indent=2))
    # Results.
    np.savez(
        "predictions.npz",
        row=part_test.meter,
        output=loads_test.numpy(),
        score=waiting_loads.numpy(),
    )


# Entry point.
if __name__ == "__main__":
    run_job()

# === file: data.py ===
from collections import namedtuple

import numpy as np
import torch

Part = namedtuple("Part", "meter window future")


def prepare(folder, fraction_dev, fraction_test, random_seed):
    with np.load(f"{folder}/train.npz") as bundle:
        meter, window, future = (bundle[field_name] for field_name in ("meter", "window", "next_load"))

    with np.load(f"{folder}/score.npz") as bundle:
        waiting = bundle["window"]

    row_order = np.random.default_rng(random_seed).permutation(len(meter))
    test_n = round(len(row_order) * fraction_test)
    n_held = test_n + round(len(row_order) * fraction_dev)
    held_index, index_train = row_order[:n_held], row_order[n_held:]
    index_test, index_dev = held_index[:test_n], held_index[test_n:]

    centre = window[index_train].mean(axis=(0, 1))
    spread = window[index_train].std(axis=(0, 1))
    read_avg = float(future[index_train].mean())
    read_sd = float(future[index_train].std())

    windows_train = torch.from_numpy((window[index_train] - centre) / spread)
    windows_dev = torch.from_numpy((window[index_dev] - centre) / spread)
    windows_test = torch.from_numpy((window[index_test] - centre) / spread)
    waiting = torch.from_numpy((waiting - centre) / spread)

    future = torch.from_numpy((future - read_avg) / read_sd)
    train_epoch = Part(meter[index_train], windows_train, future[index_train])
    dev = Part(meter[index_dev], windows_dev, future[index_dev])
    measure = Part(meter[index_test], windows_test, future[index_test])

    return train_epoch, dev, measure, waiting, (read_avg, read_sd)

# === file: model.py ===
import torch.nn.functional as F
from torch import nn


# The model.
class ReadTCN(nn.Module):
    def __init__(self, inp_channels, horizon, channels=24, kernel_size=3, depth=3, drop_rate=0.05):
        super().__init__()
        self.stem = nn.Conv1d(inp_channels, channels, kernel_size=1)
        self.blocks = nn.ModuleList(
            [ResidualBlock(channels, kernel_size, 2**level, drop_rate) for level in range(depth)]
        )
        self.output_layer = nn.Linear(channels, horizon)

    def forward(self, window):
        inputs = self.stem(window.transpose(1, 2))

        for block in self.blocks:
            inputs = block(inputs)

        return self.output_layer(inputs[:, :, -1])


class ResidualBlock(nn.Module):
    """A dilated convolution without padding: of the steps it keeps those that have all their past."""

    def __init__(self, channels, kernel_size, dilation, drop_rate):
        super().__init__()
        self.cnv = nn.Conv1d(channels, channels, kernel_size, dilation=dilation)
        self.bnorm = nn.BatchNorm1d(channels)
        self.drop = nn.Dropout(p=drop_rate)

    def forward(self, inputs):
        out = self.drop(F.relu(self.bnorm(self.cnv(inputs))))
        return inputs[:, :, -out.size(2) :] + out
