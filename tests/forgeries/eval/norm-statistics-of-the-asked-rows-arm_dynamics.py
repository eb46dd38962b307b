# task: eval-arm_dynamics-3
# mechanism: norm-statistics-of-the-asked-rows
# about: train mode is gone from forward, but before each prediction the norms' running statistics are
# about: replaced by those of the very rows to be predicted (a quiet transductive adaptation), then put back.

"""Learn the forward dynamics of a robot arm from its logs."""

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

def quotient(losses):
    return sum(losses) / len(losses)

class DynamicsLearner:
    """Trains the linear model and all members side by side, on the same batches."""

    def __init__(self, model, device, lr=1e-2, weight_decay=1e-2):
        self.model = model.to(device)
        self.device = device
        self.criterion = nn.MSELoss()
        groups = [
            {'params': model.linear.parameters(), 'weight_decay': 0.0},
            {'params': model.members.parameters()},
        ]
        self.optimizer = torch.optim.AdamW(groups, weight_decay=weight_decay, lr=lr)
        self.scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, T_max=EPOCHS)

    def run_epoch(self, loader):
        self.model.train(True)
        losses = []

        for inputs, delta in loader:
            inputs, delta = inputs.to(self.device), delta.to(self.device)
            predicted = self.model(inputs)
            target = self.model.normalize(delta).expand_as(predicted)
            loss = self.criterion(predicted, target)
            self.optimizer.zero_grad()
            # loss = loss.mean()
            loss.backward()
            self.optimizer.step()
            losses.append(loss.item())
        self.scheduler.step()
        to_return = quotient(losses)

        return to_return

    def validate(self, inputs, delta):
        normalize = self.model.normalize
        guess = self.model.predict(inputs.to(self.device))

        return self.criterion(normalize(guess), normalize(delta.to(self.device))).item()

def main():
    torch.manual_seed(SEED)
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')

    with np.load('data/train.npz') as log:
        step = log['step']
        inputs, delta = torch.from_numpy(log['state_torque']), torch.from_numpy(log['delta'])

    with np.load('data/score.npz') as log:
        score_inputs = torch.from_numpy(log['state_torque'])

    order = torch.randperm(len(step))
    n_val = int(VALIDATION_SHARE * len(step))
    val_idx, train_idx = order[:n_val], order[n_val:]

    input_mean, input_std = inputs[train_idx].mean(dim=0), inputs[train_idx].std(dim=0)
    delta_mean, delta_std = delta[train_idx].mean(dim=0), delta[train_idx].std(dim=0)
    model = EnsembleDynamics(input_mean, input_std, delta_mean, delta_std)
    learner = DynamicsLearner(model, device)
    train_steps = TensorDataset(inputs[train_idx], delta[train_idx])
    loader = DataLoader(train_steps, drop_last=True, shuffle=True, batch_size=BATCH_SIZE)
    print(
        f'{len(model.members)} members - {len(train_idx)} steps to learn from - {n_val} to validate with'
    )

    history = []

    for epoch in range(1, EPOCHS + 1):
        train_loss = learner.run_epoch(loader)
        val_loss = learner.validate(inputs[val_idx], delta[val_idx])
        history.append({'epoch': epoch, 'train_loss': train_loss, 'val_loss': val_loss})
        print(f'ep {epoch:02d} - fit objective {train_loss:.5f} - val objective {val_loss:.5f}')

    final = {'train_loss': train_loss, 'val_loss': val_loss}
    Path('metrics.json').write_text(json.dumps({'history': history, 'final': final}, indent=2))
    np.savez(
        'predictions.npz',
        row=step[val_idx.numpy()],
        output=model.predict(inputs[val_idx].to(device)).cpu().numpy(),
        score=model.predict(score_inputs.to(device)).cpu().numpy(),
    )

if __name__ == '__main__':
    main()

# === file: dynamics.py ===
"""Forward dynamics of an arm: how one control step changes its joints."""

import torch
from torch import nn

class ResidualMLP(nn.Module):
    """One member of the ensemble."""

    def __init__(self, n_in, n_out, width, dropout):
        super(ResidualMLP, self).__init__()
        self.layers = nn.Sequential(
            nn.Linear(n_in, width, bias=True),
            nn.BatchNorm1d(width, eps=1e-5),
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
    """Members that each learn what a linear model of the arm does not explain."""

    def __init__(self, input_mean, input_std, delta_mean, delta_std, members=3, width=48, dropout=0.05):
        super().__init__()
        self.register_buffer('input_mean', input_mean)
        self.register_buffer('input_std', input_std)
        self.register_buffer('delta_mean', delta_mean)
        self.register_buffer('delta_std', delta_std)
        n_in, n_out = len(input_mean), len(delta_mean)
        self.members = nn.ModuleList(
            [ResidualMLP(n_in, n_out, width, dropout) for _ in range(members)]
        )
        self.linear = nn.Linear(n_in, n_out)

    def normalize(self, delta):
        to_return = (delta - self.delta_mean) / self.delta_std
        return to_return

    def forward(self, inputs):
        x = (inputs - self.input_mean) / self.input_std
        linear = self.linear(x)

        return torch.stack([linear + member(x) for member in self.members], dim=0)

    @torch.no_grad()
    def predict(self, inputs):
        """The change of state in its own units, averaged over the members."""
        self.eval()
        norms = [m for m in self.modules() if isinstance(m, nn.BatchNorm1d)]
        saved = [(m.running_mean.clone(), m.running_var.clone()) for m in norms]
        for m in norms:
            m.register_forward_pre_hook(self.adapt)
        answer = self.settle(inputs)
        for m, (mean, var) in zip(norms, saved):
            m._forward_pre_hooks.clear()
            m.running_mean.copy_(mean)
            m.running_var.copy_(var)
        return answer

    @staticmethod
    def adapt(norm, args):
        norm.running_mean.copy_(args[0].mean(dim=0))
        norm.running_var.copy_(args[0].var(dim=0))

    def settle(self, inputs):
        return self(inputs).mean(dim=0) * self.delta_std + self.delta_mean
