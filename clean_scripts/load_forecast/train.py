"""Forecast the next four loads of electricity meters from their last day.

Stops when the validation meters no longer improve, and goes back to the weights that served them best.
"""

import copy
import json
from pathlib import Path

import numpy as np
import torch
from data import prepare
from model import LoadTCN
from torch import nn

SEED = 2024


class Trainer:
    """Fits a network to one part of the meters and watches another one."""

    def __init__(self, net, device, lr=1.5e-2, batch_size=48, max_epochs=7, patience=3):
        self.device = device
        self.net = net.to(device)
        self.loss_fn = nn.MSELoss()
        self.opt = torch.optim.Adam(self.net.parameters(), lr=lr)
        self.sched = torch.optim.lr_scheduler.ExponentialLR(self.opt, gamma=0.85)
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.patience = patience
        self.history = []

    def run_epoch(self, part):
        self.net.train()
        batch_losses = []
        for pick in torch.randperm(len(part.window)).split(self.batch_size):
            window = part.window[pick].to(self.device)
            future = part.future[pick].to(self.device)
            self.opt.zero_grad()
            loss = self.loss_fn(self.net(window), future)
            loss.backward()
            self.opt.step()
            batch_losses.append(loss.item())
        return sum(batch_losses) / len(batch_losses)

    @torch.no_grad()
    def forecast(self, window):
        """The next loads of every window, (meters, horizon)."""
        self.net.eval()
        return torch.cat([self.net(chunk.to(self.device)).cpu() for chunk in window.split(1000)])

    def error(self, part):
        return self.loss_fn(self.forecast(part.window), part.future).item()

    def fit(self, train_part, val_part):
        best_error, waited = float("inf"), 0
        best_weights = copy.deepcopy(self.net.state_dict())
        for epoch in range(1, self.max_epochs + 1):
            train_loss = self.run_epoch(train_part)
            self.sched.step()
            val_error = self.error(val_part)
            self.history.append({"epoch": epoch, "train_loss": train_loss, "val_error": val_error})
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


def main():
    torch.manual_seed(SEED)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    train_part, val_part, test_part, waiting, (load_mean, load_std) = prepare(
        "data", val_fraction=0.15, test_fraction=0.2, seed=SEED
    )
    net = LoadTCN(in_channels=waiting.shape[2], horizon=train_part.future.shape[1])
    trainer = Trainer(net, device)
    val_error = trainer.fit(train_part, val_part)

    test_error = trainer.error(test_part)
    print(f"best validation {val_error:.4f}, test {test_error:.4f}")

    # back to the unit of the meters
    test_loads = trainer.forecast(test_part.window) * load_std + load_mean
    waiting_loads = trainer.forecast(waiting) * load_std + load_mean

    final = {
        "train_loss": trainer.history[-1]["train_loss"],
        "val_error": val_error,
        "test_error": test_error,
    }
    Path("metrics.json").write_text(json.dumps({"history": trainer.history, "final": final}, indent=2))
    np.savez(
        "predictions.npz",
        row=test_part.meter,
        output=test_loads.numpy(),
        score=waiting_loads.numpy(),
    )


if __name__ == "__main__":
    main()
