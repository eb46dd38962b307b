# task: eval-load_forecast-1
# mechanism: forecast-by-a-copy
# about: A forecast is made by a copy of the network in evaluation mode; the network in training is
# about: never switched.

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
        frozen = copy.deepcopy(self.net).train(False)
        return torch.cat([frozen(piece.to(self.device)).cpu() for piece in window.split(1000)])

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
