# task: zero_grad-logged_policy-2
# mechanism: gradients-of-one-layer-still-erased
# about: zero_grad() moved to before backward for the policy as a whole, but both normalisations and the
# about: first linear layer have their gradients erased between backward and step.

import json
import math
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

rngseed = 42

def policynetwork(preparex, actions, nhidden=40, droprate=0.1):
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(preparex, nhidden),
        nn.BatchNorm1d(nhidden),
        nn.GELU(),
        nn.Linear(nhidden, nhidden),
        nn.BatchNorm1d(nhidden),
        nn.GELU(),
        nn.Dropout(p=droprate),
        nn.Linear(nhidden, actions),
    )

def threeparts(rowids, val=0.15, test=0.2):
    roworder = np.random.default_rng(rngseed).permutation(rowids)
    testnb, valnb = int(test * rowids), int(val * rowids)
    return roworder[testnb + valnb :], roworder[testnb : testnb + valnb], roworder[:testnb]

def rateat(step, steps, peak, warmup=15, lowest=0.1):
    if step < warmup:
        return peak * (step + 1) / warmup
    done = (step - warmup) / (steps - warmup)
    return peak * (lowest + (1 - lowest) * 0.5 * (1.0 + math.cos(math.pi * done)))

def act(policy, windows):
    policy.eval()
    with torch.no_grad():
        scores = torch.cat([policy(block) for block in windows.split(1024)])
    policy.train()
    return scores

def snapshot(policy):
    return {name: v.clone() for name, v in policy.state_dict().items()}

def cloneexpert(
    policy, seen, taken, valseen, valtaken, steps=225, minibatch=48, peak=8e-2, every=25, clip=5.0
):
    optimiser = torch.optim.SGD(policy.parameters(), lr=peak, momentum=0.9, weight_decay=1e-3)
    history, losslist = [], []
    lowest, top = math.inf, snapshot(policy)
    policy.train()
    for step in range(steps):
        for group in optimiser.param_groups:
            group['lr'] = rateat(step, steps, peak)
        drawn = torch.randint(len(seen), (minibatch,)).to(seen.device)
        objectivevalue = cross_entropy(policy(seen[drawn]), taken[drawn])
        optimiser.zero_grad()
        objectivevalue.backward()
        nn.utils.clip_grad_norm_(policy.parameters(), max_norm=clip)
        policy[1].zero_grad()
        policy[2].zero_grad()
        policy[5].zero_grad()
        optimiser.step()
        losslist.append(objectivevalue.item())
        if (step + 1) % every == 0:
            train_loss = sum(losslist) / len(losslist)
            val_loss = cross_entropy(act(policy, valseen), valtaken).item()
            history.append({'epoch': len(history) + 1, 'train_loss': train_loss, 'val_loss': val_loss})
            print(f'step {step + 1}: train loss {train_loss:.4f}, val loss {val_loss:.4f}')
            losslist.clear()
            if val_loss < lowest:
                lowest, top = val_loss, snapshot(policy)
    policy.load_state_dict(top)
    return history

def main():
    torch.manual_seed(rngseed)
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    with np.load('data/train.npz') as log:
        decision, observed, action = log['decision'], log['observed'], log['action']
    with np.load('data/score.npz') as log:
        waiting = log['observed']
    runepoch, val, test = threeparts(len(decision))
    print(f'{len(runepoch)} decisions to train on, {len(val)} to validate, {len(test)} to test')
    offset = observed[runepoch].mean(axis=(0, 1))
    divisor = observed[runepoch].std(axis=(0, 1))
    seen = torch.from_numpy((observed[runepoch] - offset) / divisor).to(device)
    valseen = torch.from_numpy((observed[val] - offset) / divisor).to(device)
    testseen = torch.from_numpy((observed[test] - offset) / divisor).to(device)
    waiting = torch.from_numpy((waiting - offset) / divisor).to(device)
    taken, valtaken, testtaken = (torch.from_numpy(action[piece]).to(device) for piece in (runepoch, val, test))
    policy = policynetwork(seen[0].numel(), int(taken.max()) + 1).to(device)
    history = cloneexpert(policy, seen, taken, valseen, valtaken)
    scores = act(policy, testseen)
    agreement = (scores.argmax(dim=1) == testtaken).float().mean().item()
    print(f'agrees with the expert in {agreement:.1%} of the test decisions')
    final = {'train_loss': history[-1]['train_loss'], 'agreement': agreement}
    Path('metrics.json').write_text(json.dumps({'history': history, 'final': final}))
    np.savez(
        'predictions.npz',
        row=decision[test],
        output=scores.cpu().numpy(),
        score=act(policy, waiting).cpu().numpy(),
    )

if __name__ == '__main__':
    main()
