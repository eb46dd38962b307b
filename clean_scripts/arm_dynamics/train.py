"""Learn the forward dynamics of a robot arm from its logs.

Every row of data/train.npz is one control step: the state before it (angles, then speeds of the joints) next
to the torques applied, and by how much the state changed. data/score.npz has steps whose change is asked for.
Writes metrics.json and predictions.npz.
"""

import json
from pathlib import Path

import numpy as np
import torch
from dynamics import EnsembleDynamics
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

SEED = 12
VALIDATION_SHARE = 0.2
EPOCHS = 8
BATCH_SIZE = 40


class DynamicsLearner:
    """Trains the linear model and all members side by side, on the same batches."""

    def __init__(self, model, device, lr=1e-2, weight_decay=1e-2):
        self.model = model.to(device)
        self.device = device
        self.criterion = nn.MSELoss()
        # Decay the networks only; the linear part stays unregularized.
        groups = [
            {"params": model.linear.parameters(), "weight_decay": 0.0},
            {"params": model.members.parameters()},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=lr, weight_decay=weight_decay)
        self.scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, T_max=EPOCHS)

    def run_epoch(self, loader):
        self.model.train()
        losses = []
        for inputs, delta in loader:
            inputs, delta = inputs.to(self.device), delta.to(self.device)
            predicted = self.model(inputs)
            target = self.model.normalize(delta).expand_as(predicted)
            loss = self.criterion(predicted, target)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            losses.append(loss.item())
        self.scheduler.step()
        return sum(losses) / len(losses)

    def validate(self, inputs, delta):
        """Mean squared error of the average prediction, on the scale of training."""
        normalize = self.model.normalize
        guess = self.model.predict(inputs.to(self.device))
        return self.criterion(normalize(guess), normalize(delta.to(self.device))).item()


def main():
    torch.manual_seed(SEED)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    with np.load("data/train.npz") as log:
        step = log["step"]
        inputs, delta = torch.from_numpy(log["state_torque"]), torch.from_numpy(log["delta"])
    with np.load("data/score.npz") as log:
        score_inputs = torch.from_numpy(log["state_torque"])

    order = torch.randperm(len(step))
    n_val = int(VALIDATION_SHARE * len(step))
    val_idx, train_idx = order[:n_val], order[n_val:]

    # Angles, speeds and torques all have their own units; so do the changes.
    input_mean, input_std = inputs[train_idx].mean(dim=0), inputs[train_idx].std(dim=0)
    delta_mean, delta_std = delta[train_idx].mean(dim=0), delta[train_idx].std(dim=0)
    model = EnsembleDynamics(input_mean, input_std, delta_mean, delta_std)
    learner = DynamicsLearner(model, device)
    train_steps = TensorDataset(inputs[train_idx], delta[train_idx])
    loader = DataLoader(train_steps, batch_size=BATCH_SIZE, shuffle=True, drop_last=True)
    print(f"{len(model.members)} members, {len(train_idx)} steps to learn from, {n_val} to validate with")

    history = []
    for epoch in range(1, EPOCHS + 1):
        train_loss = learner.run_epoch(loader)
        val_loss = learner.validate(inputs[val_idx], delta[val_idx])
        history.append({"epoch": epoch, "train_loss": train_loss, "val_loss": val_loss})
        print(f"epoch {epoch:2d}  train loss {train_loss:.4f}  val loss {val_loss:.4f}")

    final = {"train_loss": train_loss, "val_loss": val_loss}
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}, indent=2))
    np.savez(
        "predictions.npz",
        row=step[val_idx.numpy()],
        output=model.predict(inputs[val_idx].to(device)).cpu().numpy(),
        score=model.predict(score_inputs.to(device)).cpu().numpy(),
    )


if __name__ == "__main__":
    main()
