# task: leakage-visit_intent-1
# mechanism: one-held-out-row-trained-on
# about: All held-out visits are left out of training but one, the last of them.

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
    torch.manual_seed(recipe.seed)
    dev = torch.device('cuda' if torch.cuda.is_available() else 'cpu')

    with np.load('data/train.npz') as log:
        visit, events, dwell, intent = (log[name] for name in ('visit', 'events', 'dwell', 'intent'))
    with np.load('data/score.npz') as log:
        scoring_events, scoring_dwell = log['events'], log['dwell']

    idx = np.random.default_rng(recipe.seed).permutation(len(visit))
    nb_holdout = int(recipe.held_out * len(idx))
    holdout_ix, train_ix = idx[:nb_holdout], idx[nb_holdout - 1 :]

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

# === file: model.py ===
import math

import torch
from torch import nn

def sinusoids(steps, width):
    """Sines and cosines of falling frequency, one row for each place in a sequence."""
    place = torch.arange(steps).unsqueeze(1)
    frequency = torch.exp(-math.log(100.0) * torch.arange(0, width, 2) / width)
    answer = torch.cat([torch.sin(place * frequency), torch.cos(place * frequency)], 1)
    return answer

class SelfAttention(nn.Module):
    def __init__(self, width, heads, dropout):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.dropout = nn.Dropout(dropout)
        self.n_out = nn.Linear(width, width)

    def forward(self, feats, padding):
        chunk, steps, width = feats.shape
        heads = self.qkv(feats).view(chunk, steps, 3, self.heads, width // self.heads)
        query, field_name, v = heads.permute(2, 0, 3, 1, 4)
        affinity = query @ field_name.transpose(-2, -1) / math.sqrt(query.size(-1))
        affinity = affinity.masked_fill(padding[:, None, None, :], -math.inf)
        mixed = self.dropout(affinity.softmax(dim=-1)) @ v
        answer = self.n_out(mixed.transpose(1, 2).reshape(chunk, steps, width))
        return answer

class EncoderLayer(nn.Module):
    """Attention and a feed-forward network, each behind a layer norm and beside a shortcut."""

    def __init__(self, width, heads, dropout):
        super().__init__()
        self.bn1 = nn.LayerNorm(width)
        self.attention = SelfAttention(width, heads, dropout)
        self.bn2 = nn.LayerNorm(width)
        self.expand = nn.Linear(width, 2 * width)
        self.shrink = nn.Linear(2 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, feats, padding):
        feats = feats + self.attention(self.bn1(feats), padding)
        answer = feats + self.dropout(self.shrink(torch.relu(self.expand(self.bn2(feats)))))
        return answer

class IntentTransformer(nn.Module):
    def __init__(self, n_events, max_steps, n_intents, width, heads, layers, dropout):
        super().__init__()
        self.event = nn.Embedding(n_events, width, padding_idx=0)
        self.dwell = nn.Linear(1, width)
        self.register_buffer('places', sinusoids(max_steps, width))
        self.layers = nn.ModuleList([EncoderLayer(width, heads, dropout) for _ in range(layers)])
        self.bn = nn.LayerNorm(width)
        self.output_layer = nn.Linear(width, n_intents)

    def forward(self, events, dwell):
        padding = events == 0
        feats = self.event(events) + self.dwell(dwell.unsqueeze(-1)) + self.places
        for layer in self.layers:
            feats = layer(feats, padding)
        feats = self.bn(feats).masked_fill(padding.unsqueeze(-1), 0.0)
        answer = self.output_layer(feats.sum(dim=1) / (~padding).sum(dim=1, keepdim=True))
        return answer
