# task: device-logged_policy-1
# mechanism: device-hidden-behind-numpy
# about: A policy object takes and returns numpy arrays; where its weights lie is nobody else's business. Training
# about: rows lie on the device, and normalisation is part of the policy.

import json
from pathlib import Path

import numpy as np
import torch
from torch import nn

SEED, STEPS, BATCH, PEAK, EVERY = 42, 225, 32, 8e-2, 25


class Policy(nn.Module):
    def __init__(self, observed, actions, hidden=40, drop_rate=0.1):
        super().__init__()
        self.register_buffer("mean", torch.tensor(observed.mean(axis=(0, 1))))
        self.register_buffer("std", torch.tensor(observed.std(axis=(0, 1))))
        self.layers = nn.Sequential(
            nn.Linear(observed[0].size, hidden),
            nn.BatchNorm1d(hidden),
            nn.GELU(),
            nn.Linear(hidden, hidden),
            nn.BatchNorm1d(hidden),
            nn.GELU(),
            nn.Dropout(drop_rate),
            nn.Linear(hidden, actions),
        )

    @property
    def device(self):
        return self.mean.device

    def forward(self, observed):
        observed = torch.as_tensor(observed, device=self.device)
        return self.layers(((observed - self.mean) / self.std).flatten(1))

    @torch.no_grad()
    def scores(self, observed):
        """Scores of all actions, a numpy array like what it gets."""
        was_training = self.training
        self.eval()
        found = [self(chunk).cpu().numpy() for chunk in np.array_split(observed, len(observed) // 1024 + 1)]
        self.train(was_training)
        return np.concatenate(found)


def log_loss(scores, action):
    scores = scores - scores.max(axis=1, keepdims=True)
    chosen = np.take_along_axis(scores, action[:, None], axis=1)[:, 0]
    return float(np.mean(np.log(np.exp(scores).sum(axis=1)) - chosen))


def clone_expert(policy, observed, action, valid_observed, valid_action):
    optimizer = torch.optim.SGD(policy.parameters(), lr=PEAK, momentum=0.9, weight_decay=1e-3)
    warm = torch.optim.lr_scheduler.LinearLR(optimizer, 1 / 15, total_iters=15)
    cool = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS - 15, eta_min=PEAK / 10)
    schedule = torch.optim.lr_scheduler.SequentialLR(optimizer, [warm, cool], [15])
    seen = torch.from_numpy(observed).to(policy.device)
    taken = torch.from_numpy(action).to(policy.device)
    history, losses, best, kept = [], [], np.inf, None
    policy.train()
    for step in range(1, STEPS + 1):
        drawn = torch.randint(len(seen), (BATCH,), device=policy.device)
        loss = nn.functional.cross_entropy(policy(seen[drawn]), taken[drawn])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(policy.parameters(), 5.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if step % EVERY == 0:
            val_loss = log_loss(policy.scores(valid_observed), valid_action)
            train_loss = float(np.mean(losses[-EVERY:]))
            history.append({"epoch": step // EVERY, "train_loss": train_loss, "val_loss": val_loss})
            print(f"step {step}: {train_loss:.4f} | {val_loss:.4f}")
            if val_loss < best:
                best = val_loss
                kept = {name: value.clone() for name, value in policy.state_dict().items()}
    policy.load_state_dict(kept)
    return history


def main():
    torch.manual_seed(SEED)
    with np.load("data/train.npz") as log:
        decision, observed, action = log["decision"], log["observed"], log["action"]
    with np.load("data/score.npz") as log:
        waiting = log["observed"]
    n = len(decision)
    order = np.random.default_rng(SEED).permutation(n)
    test, valid, train = np.split(order, [int(0.2 * n), int(0.2 * n) + int(0.15 * n)])

    device = "cuda" if torch.cuda.is_available() else "cpu"
    policy = Policy(observed[train], int(action[train].max()) + 1).to(device)
    history = clone_expert(policy, observed[train], action[train], observed[valid], action[valid])

    scores = policy.scores(observed[test])
    agreement = float((scores.argmax(axis=1) == action[test]).mean())
    print(f"agrees with the expert in {agreement:.1%} of the test decisions")
    final = {"train_loss": history[-1]["train_loss"], "agreement": agreement}
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}))
    np.savez("predictions.npz", row=decision[test], output=scores, score=policy.scores(waiting))


if __name__ == "__main__":
    main()
