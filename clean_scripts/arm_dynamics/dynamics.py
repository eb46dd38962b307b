"""Forward dynamics of an arm: how one control step changes its joints."""

import torch
from torch import nn


class ResidualMLP(nn.Module):
    """One member of the ensemble."""

    def __init__(self, n_in, n_out, width, dropout):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(n_in, width),
            nn.BatchNorm1d(width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.BatchNorm1d(width),
            nn.SiLU(),
            nn.Dropout(dropout),
            nn.Linear(width, n_out),
        )

    def forward(self, x):
        return self.layers(x)


class EnsembleDynamics(nn.Module):
    """Members that each learn what a linear model of the arm does not explain.

    Inputs (batch, states and torques) are in the units of the log. `forward` returns each member's normalized
    change of state, (members, batch, states).
    """

    def __init__(self, input_mean, input_std, delta_mean, delta_std, members=3, width=48, dropout=0.05):
        super().__init__()
        self.register_buffer("input_mean", input_mean)
        self.register_buffer("input_std", input_std)
        self.register_buffer("delta_mean", delta_mean)
        self.register_buffer("delta_std", delta_std)
        n_in, n_out = len(input_mean), len(delta_mean)
        self.members = nn.ModuleList([ResidualMLP(n_in, n_out, width, dropout) for _ in range(members)])
        self.linear = nn.Linear(n_in, n_out)

    def normalize(self, delta):
        return (delta - self.delta_mean) / self.delta_std

    def forward(self, inputs):
        x = (inputs - self.input_mean) / self.input_std
        linear = self.linear(x)
        return torch.stack([linear + member(x) for member in self.members])

    @torch.no_grad()
    def predict(self, inputs):
        """The change of state in its own units, averaged over the members."""
        self.eval()
        return self(inputs).mean(dim=0) * self.delta_std + self.delta_mean
