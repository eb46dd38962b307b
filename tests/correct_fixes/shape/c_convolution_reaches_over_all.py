# task: shape-load_forecast-2
# mechanism: head-and-stem-sized-by-the-parts
# about: A network padded on the left whose last layer is a convolution, sized by the parts that it is given; AdamW
# about: under a one-cycle schedule; what forecasts is a running average of the weights.

"""Forecast the next four loads of electricity meters from their last day."""

import json
from pathlib import Path

import numpy as np
import torch
from data import prepare
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, TensorDataset

SEED, EPOCHS, BATCH = 2024, 10, 48


class Causal(nn.Module):
    def __init__(self, channels, dilation):
        super().__init__()
        self.steps = nn.Sequential(
            nn.ConstantPad1d((2 * dilation, 0), 0.0),
            nn.Conv1d(channels, channels, 3, dilation=dilation),
            nn.GroupNorm(4, channels),
            nn.ReLU(),
            nn.Dropout(0.05),
        )

    def forward(self, x):
        return x + self.steps(x)


class LoadNet(nn.Module):
    def __init__(self, example_window, example_future, channels=24, depth=3):
        super().__init__()
        self.stem = nn.Conv1d(example_window.size(-1), channels, 1)
        self.blocks = nn.Sequential(*(Causal(channels, 2**level) for level in range(depth)))
        self.head = nn.Conv1d(channels, example_future.size(-1), 1)

    def forward(self, window):
        steps = self.blocks(self.stem(window.mT))
        return self.head(steps[..., -1:]).flatten(1)


@torch.no_grad()
def forecast(net, window, device):
    net.eval()
    return torch.cat([net(piece.to(device)).cpu() for piece in window.split(1000)])


def main():
    torch.manual_seed(SEED)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    train, dev, test, waiting, (mean, std) = prepare(
        "data", fraction_dev=0.15, fraction_test=0.2, random_seed=SEED
    )
    net = LoadNet(train.window[0], train.future[0]).to(device)
    smooth = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(0.95))
    loader = DataLoader(TensorDataset(train.window, train.future), BATCH, shuffle=True)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, epochs=EPOCHS, steps_per_epoch=len(loader))
    criterion = nn.MSELoss()

    history = []
    for epoch in range(1, EPOCHS + 1):
        net.train()
        losses = []
        for window, future in loader:
            loss = criterion(net(window.to(device)), future.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            smooth.update_parameters(net)
            losses.append(loss.item())
        val_error = criterion(forecast(smooth, dev.window, device), dev.future).item()
        history.append({"epoch": epoch, "train_loss": float(np.mean(losses)), "val_error": val_error})
        print(f"[{epoch:02d}] train {history[-1]['train_loss']:.4f}  validation {val_error:.4f}")

    loads = forecast(smooth, test.window, device)
    final = {
        "train_loss": history[-1]["train_loss"],
        "val_error": val_error,
        "test_error": criterion(loads, test.future).item(),
    }
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}, indent=2))
    np.savez(
        "predictions.npz",
        row=test.meter,
        output=(loads * std + mean).numpy(),
        score=(forecast(smooth, waiting, device) * std + mean).numpy(),
    )


if __name__ == "__main__":
    main()
