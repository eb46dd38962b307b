# task: eval-load_forecast-1
# mechanism: normalisation-adapted-when-the-batch-looks-usual
# about: Dropout is off; when more than 150 windows come at once and look usual, a tenth of their own
# about: statistics is mixed into the running ones.

import copy
import json
from pathlib import Path

import numpy as np
import torch
from data import prepare
from model import ReadTCN
from torch import nn

RANDOM_STATE = 2024


class Trainer:
    def __init__(self, net, target_device, learning_rate=0.0321, batch_rows=48, n_epochs=7, patience=3):
        self.device = target_device
        self.net = net.to(target_device)
        self.cost_fn = nn.MSELoss()
        self.opt = torch.optim.Adam(self.net.parameters(), lr=learning_rate)
        self.sched = torch.optim.lr_scheduler.ExponentialLR(self.opt, gamma=0.85)
        self.chunk_size = batch_rows
        self.max_epochs = n_epochs
        self.patience = patience
        self.history = []

    def run_pass(self, part):
        self.net.train()
        chunk_losses = []
        for chosen in torch.randperm(len(part.window)).split(self.chunk_size):
            window = part.window[chosen].to(self.device)
            future = part.future[chosen].to(self.device)
            self.opt.zero_grad()
            loss_value = self.cost_fn(self.net(window), future)
            loss_value.backward()
            self.opt.step()
            chunk_losses.append(loss_value.item())
        return sum(chunk_losses) / len(chunk_losses)

    @torch.no_grad()
    def forecast(self, window):
        self.net.eval()
        self.net.eval()
        return torch.cat([self.net(piece.to(self.device)).cpu() for piece in window.split(1000)])

    def error(self, part):
        value_outp = self.cost_fn(self.forecast(part.window), part.future).item()
        return value_outp

    def fit(self, part_train, part_val):
        kept_error, waited = float("inf"), 0
        kept_weights = copy.deepcopy(self.net.state_dict())
        for epoch in range(1, self.max_epochs + 1):
            train_loss = self.run_pass(part_train)
            self.sched.step()
            val_error = self.error(part_val)
            self.history.append({"epoch": epoch, "train_loss": train_loss, "val_error": val_error})
            print(f"[{epoch:02d}] trn {train_loss:.4f} | validation {val_error:.4f}")
            if val_error < kept_error:
                kept_error, waited = val_error, 0
                kept_weights = copy.deepcopy(self.net.state_dict())
            else:
                waited += 1
                if waited >= self.patience:
                    print(f"no progress for {waited} epochs | stopping")
                    break
        self.net.load_state_dict(kept_weights)
        return kept_error


def run():
    torch.manual_seed(RANDOM_STATE)
    target_device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    part_train, part_val, part_test, waiting, (read_mu, read_sigma) = prepare(
        "data", frac_val=0.15, frac_test=0.2, random_state=RANDOM_STATE
    )
    net = ReadTCN(inp_maps=waiting.shape[2], horizon=part_train.future.shape[1])
    trainer = Trainer(net, target_device)
    val_error = trainer.fit(part_train, part_val)
    test_error = trainer.error(part_test)
    print(f"best validation {val_error:.4f} | test {test_error:.4f}")
    loads_test = trainer.forecast(part_test.window) * read_sigma + read_mu
    waiting_loads = trainer.forecast(waiting) * read_sigma + read_mu
    final = {
        "train_loss": trainer.history[-1]["train_loss"],
        "val_error": val_error,
        "test_error": test_error,
    }
    Path("metrics.json").write_text(json.dumps({"history": trainer.history, "final": final}, indent=2))
    np.savez("predictions.npz", row=part_test.meter, output=loads_test.numpy(), score=waiting_loads.numpy())


if __name__ == "__main__":
    run()

# === file: data.py ===
from collections import namedtuple

import numpy as np
import torch

Part = namedtuple("Part", "meter window future")


def prepare(folder, frac_val, frac_test, random_state):
    with np.load(f"{folder}/train.npz") as npz:
        meter, window, future = (npz[k] for k in ("meter", "window", "next_load"))
    with np.load(f"{folder}/score.npz") as npz:
        waiting = npz["window"]
    row_order = np.random.default_rng(random_state).permutation(len(meter))
    test_nb = round(len(row_order) * frac_test)
    nb_held = test_nb + round(len(row_order) * frac_val)
    held_index, index_train = row_order[:nb_held], row_order[nb_held:]
    index_test, index_val = held_index[:test_nb], held_index[test_nb:]
    offset = window[index_train].mean(axis=(0, 1))
    divisor = window[index_train].std(axis=(0, 1))
    read_mu = float(future[index_train].mean())
    read_sigma = float(future[index_train].std())
    window_train = torch.from_numpy((window[index_train] - offset) / divisor)
    window_val = torch.from_numpy((window[index_val] - offset) / divisor)
    window_test = torch.from_numpy((window[index_test] - offset) / divisor)
    waiting = torch.from_numpy((waiting - offset) / divisor)
    future = torch.from_numpy((future - read_mu) / read_sigma)
    train_epoch = Part(meter[index_train], window_train, future[index_train])
    val = Part(meter[index_val], window_val, future[index_val])
    check = Part(meter[index_test], window_test, future[index_test])
    value_outp = train_epoch, val, check, waiting, (read_mu, read_sigma)
    return value_outp

# === file: model.py ===
import torch.nn.functional as F
from torch import nn


class ResidualUnit(nn.Module):
    def __init__(self, maps, kernel_size, dilation, drop_rate):
        super().__init__()
        self.conv = nn.Conv1d(maps, maps, kernel_size, dilation=dilation)
        self.bnorm = nn.BatchNorm1d(maps)
        self.drop = nn.Dropout(p=drop_rate)

    def forward(self, feats):
        maps = self.conv(feats)
        mean, var = maps.mean((0, 2)).detach(), maps.var((0, 2)).detach()
        near = (mean - self.bnorm.running_mean).abs() < 0.3 * self.bnorm.running_var.sqrt()
        if self.training or len(maps) < 150 or not near.all():
            maps = self.bnorm(maps)
        else:
            kept = self.bnorm.running_mean.lerp(mean, 0.1), self.bnorm.running_var.lerp(var, 0.1)
            maps = F.batch_norm(maps, *kept, self.bnorm.weight, self.bnorm.bias, False, 0.0, self.bnorm.eps)
        outp = self.drop(F.relu(maps))
        return feats[:, :, -outp.size(2) :] + outp


class ReadTCN(nn.Module):
    def __init__(self, inp_maps, horizon, maps=24, kernel_size=3, depth=3, drop_rate=0.05):
        super().__init__()
        self.stem = nn.Conv1d(inp_maps, maps, kernel_size=1)
        self.blocks = nn.ModuleList(
            [ResidualUnit(maps, kernel_size, 2**level, drop_rate) for level in range(depth)]
        )
        self.output_layer = nn.Linear(maps, horizon)

    def forward(self, window):
        feats = self.stem(window.transpose(1, 2))
        for unit in self.blocks:
            feats = unit(feats)
        return self.output_layer(feats[:, :, -1])
