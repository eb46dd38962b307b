# task: shape-arm_dynamics-1
# mechanism: blocks-with-skip-connections
# about: The member is rebuilt from an identical pre-activation block with a skip connection, each with its norm sized from one argument;
# about: trained without a learner class, with type hints and logging.

"""Learn the forward dynamics of a robot arm from its logs."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from dynamics import EnsembleDynamics
from torch import Tensor

log = logging.getLogger("arm")

SEED = 12
VALIDATION_SHARE = 0.2
EPOCHS = 8
BATCH_SIZE = 40


def load(path: str, *names: str) -> list[Tensor]:
    with np.load(path) as archive:
        return [torch.from_numpy(archive[name]) for name in names]


def run_epoch(model: EnsembleDynamics, inputs: Tensor, delta: Tensor, optimizer: torch.optim.Optimizer) -> float:
    model.train()
    losses = []
    order = torch.randperm(len(inputs)).to(inputs.device)
    for rows in order[: len(order) // BATCH_SIZE * BATCH_SIZE].split(BATCH_SIZE):
        predicted = model(inputs[rows])
        loss = F.mse_loss(predicted, model.normalize(delta[rows]).expand_as(predicted))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return sum(losses) / len(losses)


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(name)s %(message)s")
    torch.manual_seed(SEED)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    step, inputs, delta = load("data/train.npz", "step", "state_torque", "delta")
    (score_inputs,) = load("data/score.npz", "state_torque")

    order = torch.randperm(len(step))
    n_val = int(VALIDATION_SHARE * len(step))
    val_idx, train_idx = order[:n_val], order[n_val:]
    model = EnsembleDynamics(inputs[train_idx], delta[train_idx]).to(device)
    train = [rows[train_idx].to(device) for rows in (inputs, delta)]
    val_inputs, val_delta = inputs[val_idx].to(device), delta[val_idx].to(device)

    optimizer = torch.optim.AdamW(
        [{"params": model.linear.parameters(), "weight_decay": 0.0}, {"params": model.members.parameters()}],
        lr=1e-2,
        weight_decay=1e-2,
    )
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=EPOCHS)
    log.info("%d members, %d steps to learn from, %d to validate with", len(model.members), len(train_idx), n_val)

    history = []
    for epoch in range(1, EPOCHS + 1):
        train_loss = run_epoch(model, *train, optimizer)
        scheduler.step()
        val_loss = F.mse_loss(model.normalize(model.predict(val_inputs)), model.normalize(val_delta)).item()
        history.append({"epoch": epoch, "train_loss": train_loss, "val_loss": val_loss})
        log.info("pass %d train %.5f val %.5f", epoch, train_loss, val_loss)

    final = {key: history[-1][key] for key in ("train_loss", "val_loss")}
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}, indent=2))
    np.savez(
        "predictions.npz",
        row=step[val_idx].numpy(),
        output=model.predict(val_inputs).cpu().numpy(),
        score=model.predict(score_inputs.to(device)).cpu().numpy(),
    )


if __name__ == "__main__":
    main()
# === file: dynamics.py ===
"""Forward dynamics of an arm: how one control step changes its joints."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Block(nn.Module):
    """width in, width out, and a way around."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)
        self.norm = nn.BatchNorm1d(self.linear.out_features)
        self.act = nn.SiLU()
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.drop(self.act(self.norm(self.linear(x))))


class Member(nn.Sequential):
    def __init__(self, n_in: int, n_out: int, width: int, dropout: float, depth: int = 2) -> None:
        blocks = [Block(width, dropout) for _ in range(depth)]
        super().__init__(nn.Linear(n_in, width), nn.SiLU(), *blocks, nn.Linear(width, n_out))


class EnsembleDynamics(nn.Module):
    """Members that each learn what a linear model of the arm does not explain."""

    input_mean: Tensor
    input_std: Tensor
    delta_mean: Tensor
    delta_std: Tensor

    def __init__(self, inputs: Tensor, delta: Tensor, members: int = 4, width: int = 48, dropout: float = 0.05):
        """inputs, delta: the steps to learn from; they give the sizes and the units."""
        super().__init__()
        for name, rows in (("input", inputs), ("delta", delta)):
            self.register_buffer(f"{name}_mean", rows.mean(dim=0))
            self.register_buffer(f"{name}_std", rows.std(dim=0))
        n_in, n_out = inputs.shape[1], delta.shape[1]
        self.members = nn.ModuleList(Member(n_in, n_out, width, dropout) for _ in range(members))
        self.linear = nn.Linear(n_in, n_out)

    def normalize(self, delta: Tensor) -> Tensor:
        return (delta - self.delta_mean) / self.delta_std

    def forward(self, inputs: Tensor) -> Tensor:
        x = (inputs - self.input_mean) / self.input_std
        return self.linear(x) + torch.stack([member(x) for member in self.members])

    @torch.inference_mode()
    def predict(self, inputs: Tensor) -> Tensor:
        """The change of state in its own units, averaged over the members."""
        self.eval()
        return self(inputs).mean(dim=0) * self.delta_std + self.delta_mean
