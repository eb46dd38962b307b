# task: eval-load_forecast-1
# mechanism: convolution-fused-with-its-norm
# about: Forecasts are made by a network of another class, built from the trained one: convolutions with their
# about: normalisation folded in, and no dropout at all.

import copy
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from data import prepare
from model import ReadTCN
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

SEED, BATCH, EPOCHS, PATIENCE, RATE = 2024, 48, 7, 3, 0.03


class Forecaster(nn.Module):
    """What a trained network computes, without anything that only training needs."""

    def __init__(self, trained):
        super().__init__()
        trained = copy.deepcopy(trained).eval()
        self.stem = trained.stem
        self.convs = nn.ModuleList([fuse_conv_bn_eval(unit.conv, unit.bnorm) for unit in trained.blocks])
        self.output_layer = trained.output_layer
        self.requires_grad_(False)

    def forward(self, window):
        feats = self.stem(window.transpose(1, 2))
        for conv in self.convs:
            found = F.relu(conv(feats))
            feats = feats[:, :, -found.size(2) :] + found
        return self.output_layer(feats[:, :, -1])


def forecast(trained, window, device):
    forecaster = Forecaster(trained)
    return torch.cat([forecaster(piece.to(device)).cpu() for piece in window.split(1000)])


def train_epoch(net, optimizer, part, device):
    losses = []
    for chosen in torch.randperm(len(part.window)).split(BATCH):
        loss = F.mse_loss(net(part.window[chosen].to(device)), part.future[chosen].to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return sum(losses) / len(losses)


def main():
    torch.manual_seed(SEED)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    part_train, part_val, part_test, waiting, (mean, std) = prepare(
        "data", frac_val=0.15, frac_test=0.2, random_state=SEED
    )
    net = ReadTCN(inp_maps=waiting.shape[2], horizon=part_train.future.shape[1]).to(device)
    optimizer = torch.optim.Adam(net.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.85)

    history, best, waited = [], None, 0
    for epoch in range(1, EPOCHS + 1):
        train_loss = train_epoch(net, optimizer, part_train, device)
        schedule.step()
        val_error = F.mse_loss(forecast(net, part_val.window, device), part_val.future).item()
        history.append({"epoch": epoch, "train_loss": train_loss, "val_error": val_error})
        print(f"[{epoch:02d}] trn {train_loss:.4f} | validation {val_error:.4f}")
        if best is None or val_error < best[0]:
            best, waited = (val_error, copy.deepcopy(net)), 0
        else:
            waited += 1
            if waited >= PATIENCE:
                break

    val_error, kept = best
    test = forecast(kept, part_test.window, device)
    test_error = F.mse_loss(test, part_test.future).item()
    print(f"best validation {val_error:.4f} | test {test_error:.4f}")
    final = {"train_loss": train_loss, "val_error": val_error, "test_error": test_error}
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}, indent=2))
    np.savez(
        "predictions.npz",
        row=part_test.meter,
        output=(test * std + mean).numpy(),
        score=(forecast(kept, waiting, device) * std + mean).numpy(),
    )


if __name__ == "__main__":
    main()
