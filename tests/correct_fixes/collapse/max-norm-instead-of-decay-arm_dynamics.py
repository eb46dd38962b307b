# task: collapse-arm_dynamics-2
# mechanism: max-norm-constraint
# about: The decay that crushed the members goes; their weights are held in check by a max-norm constraint after every step.
# about: Trained with NAdam in one plain function over index batches on the device.

"""Training script."""

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from dynamics import EnsembleDynamics
from torch import nn

RNG_SEED = 12
VALIDATION_FRAC = 0.2
N_EPOCHS = 8
MINIBATCH_SIZE = 40
PEAK_LR = 1e-2
MAX_ROW_NORM = 4.0


@torch.no_grad()
def constrain(network):
    """No neuron of a member may have a longer weight vector than MAX_ROW_NORM."""
    for module in network.members.modules():
        if isinstance(module, nn.Linear):
            module.weight.copy_(module.weight.renorm(2, 0, MAX_ROW_NORM))


def mse_in_units_of_std(network, guess, delta):
    return F.mse_loss(network.normalize(guess), network.normalize(delta)).item()


def train_epoch(network, to_inputs, delta, optimizer):
    network.train()
    losses = []
    perm = torch.randperm(len(to_inputs), device=to_inputs.device)
    for batch in perm.split(MINIBATCH_SIZE):
        if len(batch) < MINIBATCH_SIZE:
            break
        optimizer.zero_grad()
        predicted = network(to_inputs[batch])
        loss = F.mse_loss(predicted, network.normalize(delta[batch]).expand_as(predicted))
        loss.backward()
        optimizer.step()
        constrain(network)
        losses.append(loss.item())
    return float(np.mean(losses))


def go():
    torch.manual_seed(RNG_SEED)
    target_device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with np.load("data/train.npz") as log:
        step = log["step"]
        to_inputs, delta = torch.from_numpy(log["state_torque"]), torch.from_numpy(log["delta"])
    with np.load("data/score.npz") as log:
        scoring_inputs = torch.from_numpy(log["state_torque"]).to(target_device)
    perm = torch.randperm(len(step))
    n_valid = int(VALIDATION_FRAC * len(step))
    valid_idx, train_idx = perm[:n_valid], perm[n_valid:]
    train_inputs, train_delta = to_inputs[train_idx].to(target_device), delta[train_idx].to(target_device)
    valid_inputs, valid_delta = to_inputs[valid_idx].to(target_device), delta[valid_idx].to(target_device)

    network = EnsembleDynamics(
        train_inputs.mean(dim=0), train_inputs.std(dim=0), train_delta.mean(dim=0), train_delta.std(dim=0)
    ).to(target_device)
    optimizer = torch.optim.NAdam(network.parameters(), lr=PEAK_LR)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=N_EPOCHS)

    history = []
    for epoch in range(1, N_EPOCHS + 1):
        train_loss = train_epoch(network, train_inputs, train_delta, optimizer)
        scheduler.step()
        guess = network.predict(valid_inputs)
        val_loss = mse_in_units_of_std(network, guess, valid_delta)
        history.append({"epoch": epoch, "train_loss": train_loss, "val_loss": val_loss})
        print(f"epoch {epoch:2d} - trn cost {train_loss:.3f} - val cost {val_loss:.3f}")
    final = {"train_loss": train_loss, "val_loss": val_loss}
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}, indent=2))
    np.savez(
        "predictions.npz",
        row=step[valid_idx.numpy()],
        output=guess.cpu().numpy(),
        score=network.predict(scoring_inputs).cpu().numpy(),
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
