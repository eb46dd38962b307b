# task: eval-zero_grad-tabular-1
# mechanism: autograd-grad-update
# about: Rewritten without torch.optim: gradients come from torch.autograd.grad, so none are ever stored,
# about: and a small Adam of our own applies them under no_grad. Evaluation runs in evaluation mode.

"""Training job; the update rule is spelled out."""

import json
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset


class RowNetwork(nn.Module):
    """Two hidden layers with norm and dropout."""

    def __init__(self, num_features, num_categories, hidden=64, dropout=0.2):
        super().__init__()
        self.lin1 = nn.Linear(num_features, hidden)
        self.norm1 = nn.BatchNorm1d(hidden)
        self.lin2 = nn.Linear(hidden, hidden)
        self.norm2 = nn.BatchNorm1d(hidden)
        self.dropout = nn.Dropout(p=dropout)
        self.readout = nn.Linear(hidden, num_categories)

    def forward(self, x):
        x = self.dropout(torch.relu(self.norm1(self.lin1(x))))
        x = self.dropout(torch.relu(self.norm2(self.lin2(x))))
        return self.readout(x)


class Adam:
    """Kingma & Ba, with the bias corrections; takes the gradients as an argument."""

    def __init__(self, weights, rate, betas=(0.9, 0.999), eps=1e-8):
        self.weights = list(weights)
        self.rate, self.betas, self.eps = rate, betas, eps
        self.first = [torch.zeros_like(weight) for weight in self.weights]
        self.second = [torch.zeros_like(weight) for weight in self.weights]
        self.steps = 0

    @torch.no_grad()
    def apply(self, gradients):
        self.steps += 1
        beta1, beta2 = self.betas
        for weight, gradient, first, second in zip(self.weights, gradients, self.first, self.second):
            first.lerp_(gradient, 1 - beta1)
            second.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
            direction = first / (1 - beta1**self.steps)
            scale = (second / (1 - beta2**self.steps)).sqrt_().add_(self.eps)
            weight.addcdiv_(direction, scale, value=-self.rate)


def fit_epoch(learner, batches, adam, device):
    learner.train()
    running_loss = 0.0
    for features, targets in batches:
        features, targets = features.to(device), targets.to(device)
        cost = cross_entropy(learner(features), targets)
        adam.apply(torch.autograd.grad(cost, adam.weights))
        running_loss += cost.item() * len(targets)
    return running_loss / len(batches.dataset)


def infer(learner, features, device, batch_size=1_000):
    learner.eval()
    with torch.no_grad():
        return torch.cat([learner(chunk.to(device)) for chunk in features.split(batch_size)])


def go(seed=1234, held_out_fraction=0.2, batch_size=64, epochs=12, rate=5e-3):
    torch.manual_seed(seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with np.load("data/train.npz") as raw:
        ids, features, targets = raw["row"], raw["features"], raw["label"]
    with np.load("data/score.npz") as raw:
        service = raw["features"]

    shuffled = np.random.default_rng(seed).permutation(len(ids))
    num_holdout = int(len(ids) * held_out_fraction)
    holdout_rows, train_rows = shuffled[:num_holdout], shuffled[num_holdout:]
    mean, std = features[train_rows].mean(axis=0), features[train_rows].std(axis=0)
    x_train, x_holdout, x_service = (
        torch.from_numpy(((part - mean) / std).astype(np.float32))
        for part in (features[train_rows], features[holdout_rows], service)
    )
    y_train, y_holdout = (torch.from_numpy(targets[part]) for part in (train_rows, holdout_rows))

    batches = DataLoader(TensorDataset(x_train, y_train), batch_size=batch_size, shuffle=True)
    learner = RowNetwork(features.shape[1], int(y_train.max()) + 1).to(device)
    adam = Adam(learner.parameters(), rate)

    history = []
    for epoch in range(1, epochs + 1):
        train_loss = fit_epoch(learner, batches, adam, device)
        logits = infer(learner, x_holdout, device).cpu()
        held_out_loss = cross_entropy(logits, y_holdout).item()
        accuracy = (logits.argmax(dim=1) == y_holdout).float().mean().item()
        history.append(
            {"epoch": epoch, "train_loss": train_loss, "held_out_loss": held_out_loss, "accuracy": accuracy}
        )
        print(f"epoch {epoch}, train {train_loss:.6f}, held-out {held_out_loss:.6f}, rate {accuracy:.5f}")

    np.savez(
        "predictions.npz",
        row=ids[holdout_rows],
        output=logits.numpy(),
        score=infer(learner, x_service, device).cpu().numpy(),
    )
    final = {key: entry for key, entry in history[-1].items() if key != "epoch"}
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}, indent=2))


if __name__ == "__main__":
    go()
