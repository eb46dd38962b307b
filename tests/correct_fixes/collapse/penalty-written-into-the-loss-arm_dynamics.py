# task: collapse-arm_dynamics-2
# mechanism: l2-penalty-in-the-loss
# about: Weight decay leaves the optimizer; a small explicit L2 penalty on the members' weight matrices is added to the loss instead.
# about: The reported train loss is without the penalty.

"""Training script."""

import json
from pathlib import Path

import numpy as np
import torch
from dynamics import EnsembleDynamics
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

RNG_SEED = 12
VALIDATION_FRAC = 0.2
N_EPOCHS = 8
MINIBATCH_SIZE = 40


class DynamicsLearner:
    """Dynamics learner."""

    def __init__(self, network, target_device, learning_rate=1e-2, penalty=1e-5):
        self.model = network.to(target_device)
        self.device = target_device
        self.criterion = nn.MSELoss()
        self.penalty = penalty
        self.matrices = [p for p in network.members.parameters() if p.ndim > 1]
        self.optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate)
        self.scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, T_max=N_EPOCHS)

    def run_epoch(self, dl):
        self.model.train()
        batch_losses = []
        for to_inputs, delta in dl:
            to_inputs, delta = to_inputs.to(self.device), delta.to(self.device)
            predicted = self.model(to_inputs)
            target = self.model.normalize(delta).expand_as(predicted)
            batch_loss = self.criterion(predicted, target)
            self.optimizer.zero_grad()
            (batch_loss + self.penalty * sum(m.square().sum() for m in self.matrices)).backward()
            self.optimizer.step()
            batch_losses.append(batch_loss.item())
        self.scheduler.step()
        return sum(batch_losses) / len(batch_losses)

    def validate(self, to_inputs, delta):
        """Validate."""
        normalize = self.model.normalize
        guess = self.model.predict(to_inputs.to(self.device))
        return self.criterion(normalize(guess), normalize(delta.to(self.device))).item()


def go():
    torch.manual_seed(RNG_SEED)
    target_device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with np.load("data/train.npz") as log:
        step = log["step"]
        to_inputs, delta = torch.from_numpy(log["state_torque"]), torch.from_numpy(log["delta"])
    with np.load("data/score.npz") as log:
        scoring_inputs = torch.from_numpy(log["state_torque"])
    perm = torch.randperm(len(step))
    n_valid = int(VALIDATION_FRAC * len(step))
    valid_idx, train_idx = perm[:n_valid], perm[n_valid:]
    # Angles, speeds and torques all have their own units; so do the changes.
    input_mean, input_std = to_inputs[train_idx].mean(dim=0), to_inputs[train_idx].std(dim=0)
    delta_mean, delta_std = delta[train_idx].mean(dim=0), delta[train_idx].std(dim=0)
    network = EnsembleDynamics(input_mean, input_std, delta_mean, delta_std)
    learner = DynamicsLearner(network, target_device)
    train_steps = TensorDataset(to_inputs[train_idx], delta[train_idx])
    dl = DataLoader(train_steps, batch_size=MINIBATCH_SIZE, shuffle=True, drop_last=True)
    print(f"{len(network.members)} members - {len(train_idx)} steps to learn from - {n_valid} to validate with")
    history = []
    for epoch in range(1, N_EPOCHS + 1):
        train_loss = learner.run_epoch(dl)
        val_loss = learner.validate(to_inputs[valid_idx], delta[valid_idx])
        history.append({"epoch": epoch, "train_loss": train_loss, "val_loss": val_loss})
        print(f"epoch {epoch:2d} - trn cost {train_loss:.3f} - val cost {val_loss:.3f}")
    final = {"train_loss": train_loss, "val_loss": val_loss}
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}, indent=2))
    np.savez(
        "predictions.npz",
        row=step[valid_idx.numpy()],
        output=network.predict(to_inputs[valid_idx].to(target_device)).cpu().numpy(),
        score=network.predict(scoring_inputs.to(target_device)).cpu().numpy(),
    )


if __name__ == "__main__":
    go()
# === file: dynamics.py ===
"""Model code."""

import torch
from torch import nn


class ResidualMLP(nn.Module):
    """Residual mlp."""

    def __init__(self, n_in, n_n_out, filters, p_drop):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(n_in, filters),
            nn.BatchNorm1d(filters),
            nn.SiLU(),
            nn.Linear(filters, filters),
            nn.BatchNorm1d(filters),
            nn.SiLU(),
            nn.Dropout(p_drop),
            nn.Linear(filters, n_n_out),
        )

    def forward(self, values):
        return self.layers(values)


class EnsembleDynamics(nn.Module):
    """Ensemble dynamics."""

    def __init__(self, input_mean, input_std, delta_mean, delta_std, members=3, filters=48, p_drop=0.05):
        super().__init__()
        self.register_buffer("input_mean", input_mean)
        self.register_buffer("input_std", input_std)
        self.register_buffer("delta_mean", delta_mean)
        self.register_buffer("delta_std", delta_std)
        n_in, n_n_out = len(input_mean), len(delta_mean)
        self.members = nn.ModuleList([ResidualMLP(n_in, n_n_out, filters, p_drop) for _ in range(members)])
        self.linear = nn.Linear(n_in, n_n_out)

    def normalize(self, delta):
        return (delta - self.delta_mean) / self.delta_std

    def forward(self, to_inputs):
        values = (to_inputs - self.input_mean) / self.input_std
        linear = self.linear(values)
        return torch.stack([linear + member(values) for member in self.members])

    @torch.no_grad()
    def predict(self, to_inputs):
        """Predict."""
        self.eval()
        return self(to_inputs).mean(dim=0) * self.delta_std + self.delta_mean
