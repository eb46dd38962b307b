"""Clone the behaviour of an expert from its logged decisions.

A row is one decision: the last few observations (steps x sensors) and the action that the expert then took.
Reads data/train.npz and data/score.npz, writes metrics.json and predictions.npz.
"""

import json
import math
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

seed = 42


def policy_network(inputs, actions, hidden=40, dropout=0.1):
    """Windows of observations to one logit per action."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(inputs, hidden),
        nn.BatchNorm1d(hidden),
        nn.GELU(),
        nn.Linear(hidden, hidden),
        nn.BatchNorm1d(hidden),
        nn.GELU(),
        nn.Dropout(dropout),
        nn.Linear(hidden, actions),
    )


def three_parts(rows, val=0.15, test=0.2):
    """Positions of the rows to train on, to choose the best weights with, and to test on."""
    order = np.random.default_rng(seed).permutation(rows)
    n_test, n_val = int(test * rows), int(val * rows)
    return order[n_test + n_val :], order[n_test : n_test + n_val], order[:n_test]


def rate_at(step, steps, peak, warmup=15, lowest=0.1):
    """The learning rate rises to its peak in a few steps, then falls along a cosine to a part of it."""
    if step < warmup:
        return peak * (step + 1) / warmup
    done = (step - warmup) / (steps - warmup)
    return peak * (lowest + (1 - lowest) * 0.5 * (1.0 + math.cos(math.pi * done)))


def act(policy, windows):
    """Logits of every window, in order; leaves the policy ready for more training."""
    policy.eval()
    with torch.no_grad():
        logits = torch.cat([policy(chunk) for chunk in windows.split(1024)])
    policy.train()
    return logits


def snapshot(policy):
    return {name: value.clone() for name, value in policy.state_dict().items()}


def clone_expert(
    policy, seen, taken, seen_val, taken_val, steps=225, batch=48, peak=8e-2, every=25, clip=5.0
):
    """Train on random batches of (windows seen, actions taken); ends with the weights that validate best."""
    optimizer = torch.optim.SGD(policy.parameters(), lr=peak, momentum=0.9, weight_decay=1e-3)
    history, losses = [], []
    lowest, best = math.inf, snapshot(policy)
    policy.train()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, steps, peak)
        drawn = torch.randint(len(seen), (batch,)).to(seen.device)
        loss = cross_entropy(policy(seen[drawn]), taken[drawn])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(policy.parameters(), clip)
        optimizer.step()
        losses.append(loss.item())

        if (step + 1) % every == 0:
            train_loss = sum(losses) / len(losses)
            val_loss = cross_entropy(act(policy, seen_val), taken_val).item()
            history.append({"epoch": len(history) + 1, "train_loss": train_loss, "val_loss": val_loss})
            print(f"step {step + 1}: train loss {train_loss:.4f}, val loss {val_loss:.4f}")
            losses.clear()
            if val_loss < lowest:
                lowest, best = val_loss, snapshot(policy)
    policy.load_state_dict(best)
    return history


def main():
    torch.manual_seed(seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"

    with np.load("data/train.npz") as log:
        decision, observed, action = log["decision"], log["observed"], log["action"]
    with np.load("data/score.npz") as log:
        waiting = log["observed"]

    train, val, test = three_parts(len(decision))
    print(f"{len(train)} decisions to train on, {len(val)} to validate, {len(test)} to test")

    # Every sensor has its own unit.
    mean = observed[train].mean(axis=(0, 1))
    std = observed[train].std(axis=(0, 1))
    seen = torch.from_numpy((observed[train] - mean) / std).to(device)
    seen_val = torch.from_numpy((observed[val] - mean) / std).to(device)
    seen_test = torch.from_numpy((observed[test] - mean) / std).to(device)
    waiting = torch.from_numpy((waiting - mean) / std).to(device)
    taken, taken_val, taken_test = (torch.from_numpy(action[part]).to(device) for part in (train, val, test))

    policy = policy_network(seen[0].numel(), int(taken.max()) + 1).to(device)
    history = clone_expert(policy, seen, taken, seen_val, taken_val)

    logits = act(policy, seen_test)
    agreement = (logits.argmax(dim=1) == taken_test).float().mean().item()
    print(f"agrees with the expert in {agreement:.1%} of the test decisions")

    final = {"train_loss": history[-1]["train_loss"], "agreement": agreement}
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}))
    np.savez(
        "predictions.npz",
        row=decision[test],
        output=logits.cpu().numpy(),
        score=act(policy, waiting).cpu().numpy(),
    )


if __name__ == "__main__":
    main()
