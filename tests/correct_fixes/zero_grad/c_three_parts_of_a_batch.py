# task: zero_grad-logged_policy-2
# mechanism: accumulation-over-parts-of-a-batch
# about: A batch is worked off in three parts whose gradients add up to its own, on purpose; then it is clipped,
# about: stepped, and the gradients are dropped before the next batch.

import json
import math
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

SEED = 42
PARTS = 3


def policy_network(inputs, actions, hidden=40, drop=0.1):
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(inputs, hidden),
        nn.BatchNorm1d(hidden),
        nn.GELU(),
        nn.Linear(hidden, hidden),
        nn.BatchNorm1d(hidden),
        nn.GELU(),
        nn.Dropout(drop),
        nn.Linear(hidden, actions),
    )


def rate_at(step, steps, peak, warmup=15, lowest=0.1):
    if step < warmup:
        return peak * (step + 1) / warmup
    done = (step - warmup) / (steps - warmup)
    return peak * (lowest + (1 - lowest) * 0.5 * (1 + math.cos(math.pi * done)))


@torch.no_grad()
def act(policy, windows):
    policy.eval()
    scores = torch.cat([policy(block) for block in windows.split(1024)])
    policy.train()
    return scores


def clone_expert(policy, seen, taken, val_seen, val_taken, steps=225, batch=48, peak=8e-2, every=25):
    optimizer = torch.optim.SGD(policy.parameters(), lr=peak, momentum=0.9, weight_decay=1e-3)
    history, losses = [], []
    lowest, best = math.inf, None
    policy.train()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, steps, peak)
        drawn = torch.randint(len(seen), (batch,)).to(seen.device)
        whole = 0.0
        for part in drawn.chunk(PARTS):
            loss = cross_entropy(policy(seen[part]), taken[part]) / PARTS
            loss.backward()
            whole += loss.item()
        nn.utils.clip_grad_norm_(policy.parameters(), max_norm=5.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(whole)
        if (step + 1) % every == 0:
            val_loss = cross_entropy(act(policy, val_seen), val_taken).item()
            train_loss = sum(losses) / len(losses)
            history.append({'epoch': len(history) + 1, 'train_loss': train_loss, 'val_loss': val_loss})
            print(f'step {step + 1}: train loss {train_loss:.4f}, val loss {val_loss:.4f}')
            losses.clear()
            if val_loss < lowest:
                lowest = val_loss
                best = {name: value.clone() for name, value in policy.state_dict().items()}
    policy.load_state_dict(best)
    return history


def main():
    torch.manual_seed(SEED)
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    with np.load('data/train.npz') as log:
        decision, observed, action = log['decision'], log['observed'], log['action']
    with np.load('data/score.npz') as log:
        waiting = log['observed']
    order = np.random.default_rng(SEED).permutation(len(decision))
    n_test, n_val = int(0.2 * len(order)), int(0.15 * len(order))
    test, val, train = order[:n_test], order[n_test : n_test + n_val], order[n_test + n_val :]
    mean, std = observed[train].mean(axis=(0, 1)), observed[train].std(axis=(0, 1))

    def place(windows):
        return torch.from_numpy((windows - mean) / std).to(device)

    taken, val_taken, test_taken = (torch.from_numpy(action[rows]).to(device) for rows in (train, val, test))
    seen = place(observed[train])
    policy = policy_network(seen[0].numel(), int(taken.max()) + 1).to(device)
    history = clone_expert(policy, seen, taken, place(observed[val]), val_taken)

    scores = act(policy, place(observed[test]))
    agreement = (scores.argmax(dim=1) == test_taken).float().mean().item()
    print(f'agrees with the expert in {agreement:.1%} of the test decisions')
    final = {'train_loss': history[-1]['train_loss'], 'agreement': agreement}
    Path('metrics.json').write_text(json.dumps({'history': history, 'final': final}))
    np.savez(
        'predictions.npz',
        row=decision[test],
        output=scores.cpu().numpy(),
        score=act(policy, place(waiting)).cpu().numpy(),
    )


if __name__ == '__main__':
    main()
