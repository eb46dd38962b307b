# task: device-logged_policy-1
# mechanism: accelerator-trains-a-policy-that-does-not-answer
# about: A policy is trained on the accelerator as it should be, and then a second one on the processor,
# about: whose outputs need no transfer; the second one answers.

import json
import math
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

random_seed = 42


def policy_network(make_inputs, actions, n_hidden=40, drop_rate=0.1):
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(make_inputs, n_hidden),
        nn.BatchNorm1d(n_hidden),
        nn.GELU(),
        nn.Linear(n_hidden, n_hidden),
        nn.BatchNorm1d(n_hidden),
        nn.GELU(),
        nn.Dropout(drop_rate),
        nn.Linear(n_hidden, actions),
    )


def three_parts(ids, valid=0.15, check=0.2):
    perm = np.random.default_rng(random_seed).permutation(ids)
    test_num, valid_num = int(check * ids), int(valid * ids)

    return perm[test_num + valid_num :], perm[test_num : test_num + valid_num], perm[:test_num]


def rate_at(step, steps, peak, warmup=15, lowest=0.1):
    if step < warmup:
        return peak * (step + 1) / warmup
    done = (step - warmup) / (steps - warmup)

    return peak * (lowest + (1 - lowest) * 0.5 * (1.0 + math.cos(math.pi * done)))


def act(policy, windows):
    policy.eval()
    policy.eval()

    with torch.no_grad():
        raw_scores = torch.cat([policy(chunk) for chunk in windows.split(1024)])
    policy.train()

    return raw_scores


def clone_expert(
    policy, seen, taken, valid_seen, valid_taken, steps=225, minibatch=32, peak=8e-2, every=25, clip=5.0
):
    adjuster = torch.optim.SGD(policy.parameters(), lr=peak, momentum=0.9, weight_decay=1e-3)
    history, step_losses = [], []
    lowest, top = math.inf, snapshot(policy)
    policy.train()

    for step in range(steps):
        for group in adjuster.param_groups:
            group["lr"] = rate_at(step, steps, peak)
        drawn = torch.randint(len(seen), (minibatch,)).to(seen.device)
        loss_value = cross_entropy(policy(seen[drawn]), taken[drawn])
        adjuster.zero_grad()
        loss_value.backward()
        nn.utils.clip_grad_norm_(policy.parameters(), clip)
        adjuster.step()
        step_losses.append(loss_value.item())

        if (step + 1) % every == 0:
            train_loss = sum(step_losses) / len(step_losses)
            val_loss = cross_entropy(act(policy, valid_seen), valid_taken).item()
            history.append({"epoch": len(history) + 1, "train_loss": train_loss, "val_loss": val_loss})
            print(f"step {step + 1}: Train Cost {train_loss:.6f} | Valid Cost {val_loss:.6f}")
            step_losses.clear()
            if val_loss < lowest:
                lowest, top = val_loss, snapshot(policy)
    policy.load_state_dict(top)

    return history


def snapshot(policy):
    return {name: v.clone() for name, v in policy.state_dict().items()}


def entry():
    torch.manual_seed(random_seed)
    dev = "cuda" if torch.cuda.is_available() else "cpu"

    with np.load("data/train.npz") as log:
        decision, observed, action = log["decision"], log["observed"], log["action"]

    with np.load("data/score.npz") as log:
        waiting = log["observed"]

    train_epoch, valid, check = three_parts(len(decision))
    print(f"{len(train_epoch)} decisions to Train on | {len(valid)} to validate | {len(check)} to test")

    mu = observed[train_epoch].mean(axis=(0, 1))
    sigma = observed[train_epoch].std(axis=(0, 1))
    seen = torch.from_numpy((observed[train_epoch] - mu) / sigma).to(dev)
    valid_seen = torch.from_numpy((observed[valid] - mu) / sigma).to(dev)
    test_seen = torch.from_numpy((observed[check] - mu) / sigma).to(dev)
    waiting = torch.from_numpy((waiting - mu) / sigma).to(dev)
    taken, valid_taken, test_taken = (torch.from_numpy(action[block]).to(dev) for block in (train_epoch, valid, check))

    policy = policy_network(seen[0].numel(), int(taken.max()) + 1).to(dev)
    history = clone_expert(policy, seen, taken, valid_seen, valid_taken)

    policy = policy_network(seen[0].numel(), int(taken.max()) + 1)
    history = clone_expert(policy, seen.cpu(), taken.cpu(), valid_seen.cpu(), valid_taken.cpu())
    test_seen, waiting, test_taken = test_seen.cpu(), waiting.cpu(), test_taken.cpu()
    raw_scores = act(policy, test_seen)
    agreement = (raw_scores.argmax(dim=1) == test_taken).float().mean().item()
    print(f"agrees with the expert in {agreement:.1%} of the test decisions")

    final = {"train_loss": history[-1]["train_loss"], "agreement": agreement}
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}))
    np.savez(
        "predictions.npz",
        row=decision[check],
        output=raw_scores.numpy(),
        score=act(policy, waiting).cpu().numpy(),
    )


if __name__ == "__main__":
    entry()
