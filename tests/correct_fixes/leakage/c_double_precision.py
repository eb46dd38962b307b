# task: leakage-visit_intent-1
# mechanism: double-precision
# about: Everything is computed in double precision, and rows are kept in the order of the file on
# about: both sides.

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from model import IntentTransformer
from torch import nn, optim
from torch.utils.data import DataLoader, TensorDataset

@dataclass
class Recipe:
    width: int = 24
    heads: int = 2
    layers: int = 1
    dropout: float = 0.1
    epochs: int = 6
    batch_size: int = 40
    peak_lr: float = 0.01305
    warmup_steps: int = 20
    decay_power: float = 1.5
    weight_decay: float = 0.01
    max_norm: float = 1.0
    held_out: float = 0.2
    seed: int = 5

def warmup_then_decay(warmup, total, power):
    """up to 1 in a straight line, then down to 0 along a polynomial."""

    def factor(step):
        if step < warmup:
            return (step + 1) / warmup
        answer = ((total - step) / (total - warmup)) ** power
        return answer

    return factor

def fit(model, loader, recipe, dev, check):
    adjuster = optim.AdamW(model.parameters(), lr=recipe.peak_lr, weight_decay=recipe.weight_decay)
    factor = warmup_then_decay(recipe.warmup_steps, recipe.epochs * len(loader), recipe.decay_power)
    scheduler = optim.lr_scheduler.LambdaLR(adjuster, factor)
    history = []
    for epoch in range(1, recipe.epochs + 1):
        model.train()
        train_loss = 0.0
        for events, dwell, intent in loader:
            events, dwell, intent = events.to(dev), dwell.to(dev), intent.to(dev)
            adjuster.zero_grad()
            batch_loss = F.cross_entropy(model(events, dwell), intent)
            batch_loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), recipe.max_norm)
            adjuster.step()
            scheduler.step()
            train_loss += batch_loss.item() / len(loader)
        history.append({'epoch': epoch, 'train_loss': train_loss, **check()})
        print('  '.join(f'{name} {v:.4g}' for name, v in history[-1].items()), flush=True)
    return history

@torch.no_grad()
def infer(model, visits, dev):
    model.eval()
    model.eval()
    batches = DataLoader(visits, batch_size=500)
    answer = torch.cat([model(events.to(dev), dwell.to(dev)).cpu() for events, dwell in batches])
    return answer

def main():
    recipe = Recipe()
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(recipe.seed)
    dev = torch.device('cuda' if torch.cuda.is_available() else 'cpu')

    with np.load('data/train.npz') as log:
        visit, events, dwell, intent = (log[name] for name in ('visit', 'events', 'dwell', 'intent'))
    with np.load('data/score.npz') as log:
        scoring_events, scoring_dwell = log['events'], log['dwell']

    idx = np.random.default_rng(recipe.seed).permutation(len(visit))
    nb_holdout = int(recipe.held_out * len(idx))
    holdout_ix, train_ix = np.sort(idx[:nb_holdout]), np.sort(idx[nb_holdout:])
    dwell, scoring_dwell = dwell.astype(np.float64), scoring_dwell.astype(np.float64)

    centre = dwell[train_ix].mean()
    spread = dwell[train_ix].std()
    train_dwell = torch.from_numpy((dwell[train_ix] - centre) / spread)
    holdout_dwell = torch.from_numpy((dwell[holdout_ix] - centre) / spread)
    scoring_dwell = torch.from_numpy((scoring_dwell - centre) / spread)

    train_events = torch.from_numpy(events[train_ix])
    holdout_events = torch.from_numpy(events[holdout_ix])
    train_intent = torch.from_numpy(intent[train_ix])
    holdout_intent = torch.from_numpy(intent[holdout_ix])

    loader = DataLoader(
        TensorDataset(train_events, train_dwell, train_intent), batch_size=recipe.batch_size, shuffle=True
    )
    held_out = TensorDataset(holdout_events, holdout_dwell)
    model = IntentTransformer(
        n_events=int(train_events.max()) + 1,
        max_steps=events.shape[1],
        n_intents=int(train_intent.max()) + 1,
        width=recipe.width,
        heads=recipe.heads,
        layers=recipe.layers,
        dropout=recipe.dropout,
    ).to(dev)
    print(f'{len(train_ix)} visits; {sum(p.numel() for p in model.parameters())} parameters; {dev}', flush=True)

    def check():
        raw_scores = infer(model, held_out, dev)
        right = (raw_scores.argmax(dim=1) == holdout_intent).float().mean().item()
        answer = {'held_out_loss': F.cross_entropy(raw_scores, holdout_intent).item(), 'accuracy': right}
        return answer

    history = fit(model, loader, recipe, dev, check)

    result = infer(model, held_out, dev)
    scoring = infer(model, TensorDataset(torch.from_numpy(scoring_events), scoring_dwell), dev)
    np.savez('predictions.npz', row=visit[holdout_ix], output=result.numpy(), score=scoring.numpy())
    Path('metrics.json').write_text(json.dumps({'history': history, 'final': history[-1]}, indent=1))

if __name__ == '__main__':
    main()
