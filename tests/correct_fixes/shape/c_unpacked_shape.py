# task: shape-load_forecast-2
# mechanism: unpacked-shape
# about: The shape of the futures is unpacked by name, so the horizon cannot be confused with the
# about: number of rows.

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
        )

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
    _, _, inp_channels = part_train.window.shape
    _, horizon = part_train.future.shape
    network = ReadTCN(inp_channels, horizon)
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
