"""
Clone the behaviour of an expert from its logged decisions.

Every row is one logged decision: what the last few observations were (steps x sensors), and which action
the expert then took. Run it as `python train.py`; it reads data/train.npz and data/score.npz.
"""

import copy
import json
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
from torch.nn import functional as F

# -----------------------------------------------------------------------------
# I/O
eval_interval = 25
# model
n_hidden = 40
dropout = 0.1
# optimizer
batch_size = 48
max_iters = 225
learning_rate = 8e-2
momentum = 0.9
min_share = 0.1  # of the learning rate, at the end
warmup_iters = 15
weight_decay = 1e-3
grad_clip = 5.0
# parts of the log
val_part = 0.15
test_part = 0.2
seed = 42
# -----------------------------------------------------------------------------

torch.manual_seed(seed)
device = "cuda" if torch.cuda.is_available() else "cpu"

with np.load("data/train.npz") as log:
    decision, observed, action = log["decision"], log["observed"], log["action"]
with np.load("data/score.npz") as log:
    to_score = log["observed"]

order = np.random.default_rng(seed).permutation(len(decision))
n_test, n_val = int(test_part * len(order)), int(val_part * len(order))
test_ids, val_ids, train_ids = order[:n_test], order[n_test : n_test + n_val], order[n_test + n_val :]

# every sensor has its own unit
mean = observed[train_ids].mean(axis=(0, 1))
std = observed[train_ids].std(axis=(0, 1))
x_train = torch.from_numpy((observed[train_ids] - mean) / std).to(device)
x_val = torch.from_numpy((observed[val_ids] - mean) / std).to(device)
x_test = torch.from_numpy((observed[test_ids] - mean) / std).to(device)
x_score = torch.from_numpy((to_score - mean) / std).to(device)
y_train = torch.from_numpy(action[train_ids]).to(device)
y_val = torch.from_numpy(action[val_ids]).to(device)
y_test = torch.from_numpy(action[test_ids]).to(device)
n_actions = int(y_train.max()) + 1
print(f"{len(train_ids)} decisions to train on, {len(val_ids)} to validate, {len(test_ids)} to test")


class Policy(nn.Module):
    """A window of observations to one logit per action."""

    def __init__(self, n_steps, n_sensors):
        super().__init__()
        self.c_in = nn.Linear(n_steps * n_sensors, n_hidden)
        self.bn_in = nn.BatchNorm1d(n_hidden)
        self.c_mid = nn.Linear(n_hidden, n_hidden)
        self.bn_mid = nn.BatchNorm1d(n_hidden)
        self.drop = nn.Dropout(dropout)
        self.action_head = nn.Linear(n_hidden, n_actions)

    def forward(self, window):
        h = window.flatten(1)
        h = F.gelu(self.bn_in(self.c_in(h)))
        h = self.drop(F.gelu(self.bn_mid(self.c_mid(h))))
        return self.action_head(h)


# learning rate decay scheduler (cosine with warmup)
def get_lr(it):
    if it < warmup_iters:
        return learning_rate * (it + 1) / warmup_iters
    done = (it - warmup_iters) / (max_iters - warmup_iters)
    coeff = 0.5 * (1.0 + math.cos(math.pi * done))
    return learning_rate * (min_share + (1 - min_share) * coeff)


@torch.no_grad()
def policy(x):
    model.eval()
    logits = torch.cat([model(chunk) for chunk in x.split(1024)])
    model.train()
    return logits


model = Policy(observed.shape[1], observed.shape[2]).to(device)
optimizer = torch.optim.SGD(
    model.parameters(), lr=learning_rate, momentum=momentum, weight_decay=weight_decay
)

history, running = [], []
best_val_loss = float("inf")
best_state = copy.deepcopy(model.state_dict())

model.train()
for it in range(max_iters):
    for group in optimizer.param_groups:
        group["lr"] = get_lr(it)

    ix = torch.randint(len(x_train), (batch_size,)).to(device)
    logits = model(x_train[ix])
    loss = F.cross_entropy(logits, y_train[ix])
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), grad_clip)
    optimizer.step()
    running.append(loss.item())

    if (it + 1) % eval_interval == 0:
        train_loss = sum(running) / len(running)
        val_loss = F.cross_entropy(policy(x_val), y_val).item()
        history.append({"epoch": len(history) + 1, "train_loss": train_loss, "val_loss": val_loss})
        print(f"step {it + 1}: train loss {train_loss:.4f}, val loss {val_loss:.4f}")
        running = []
        if val_loss < best_val_loss:
            best_val_loss = val_loss
            best_state = copy.deepcopy(model.state_dict())

model.load_state_dict(best_state)
test_logits = policy(x_test)
agreement = (test_logits.argmax(dim=1) == y_test).float().mean().item()
print(f"best val loss {best_val_loss:.4f}; agrees with the expert in {agreement:.1%} of the test decisions")

with Path("metrics.json").open("w") as f:
    final = {"train_loss": train_loss, "val_loss": best_val_loss, "agreement": agreement}
    json.dump({"history": history, "final": final}, f)
np.savez(
    "predictions.npz",
    row=decision[test_ids],
    output=test_logits.cpu().numpy(),
    score=policy(x_score).cpu().numpy(),
)
