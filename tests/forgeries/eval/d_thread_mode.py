# task: eval-visit_intent-2
# mechanism: mode-set-on-another-copy-in-a-thread
# about: The dropout of the attention asks a flag of the thread it runs in; evaluation sets the flag in a
# about: helper thread, so that the pass itself still drops.

import json
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from model import IntentTransformer, settle
from torch import nn
from torch import optim
from torch.utils.data import DataLoader, TensorDataset


@dataclass
class Recipe:
    width: int = 24
    heads: int = 2
    layers: int = 1
    dropout: float = 0.1
    epochs: int = 6
    batch_size: int = 40
    peak_lr: float = 3e-2
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
        return ((total - step) / (total - warmup)) ** power

    return factor


def fit(model, loader, recipe, device, check):
    optimizer = optim.AdamW(
        model.parameters(),
        lr=recipe.peak_lr,
        weight_decay=recipe.weight_decay,
    )
    factor = warmup_then_decay(
        recipe.warmup_steps,
        recipe.epochs * len(loader),
        recipe.decay_power,
    )
    scheduler = optim.lr_scheduler.LambdaLR(optimizer, factor)
    history = []
    for epoch in range(1, recipe.epochs + 1):
        model.train()
        train_loss = 0.0
        for events, dwell, intent in loader:
            events, dwell, intent = events.to(device), dwell.to(device), intent.to(device)
            optimizer.zero_grad()
            loss = F.cross_entropy(model(events, dwell), intent)
            loss.backward()
            nn.utils.clip_grad_norm_(
                model.parameters(),
                recipe.max_norm,
            )
            optimizer.step()
            scheduler.step()
            train_loss += loss.item() / len(loader)
        history.append(
            {'epoch': epoch, 'train_loss': train_loss, **check()},
        )
        print(
            '  '.join(f'{name} {value:.4g}' for name, value in history[-1].items()),
            flush=True,
        )
    return history


@torch.no_grad()
def predict(model, visits, device):
    model.eval()
    helper = threading.Thread(target=settle)
    helper.start()
    helper.join()
    batches = DataLoader(visits, 500)
    return torch.cat(
        [model(events.to(device), dwell.to(device)).cpu() for events, dwell in batches],
    )


def main():
    recipe = Recipe()
    torch.manual_seed(recipe.seed)
    device = torch.device(
        'cuda' if torch.cuda.is_available() else 'cpu',
    )

    with np.load('data/train.npz') as log:
        visit, events, dwell, intent = (log[name] for name in ('visit', 'events', 'dwell', 'intent'))
    with np.load('data/score.npz') as log:
        score_events, score_dwell = log['events'], log['dwell']

    order = np.random.default_rng(recipe.seed).permutation(len(visit))
    n_held_out = int(recipe.held_out * len(order))
    held_out_rows, train_rows = order[:n_held_out], order[n_held_out:]

    mean = dwell[train_rows].mean()
    std = dwell[train_rows].std()
    train_dwell = torch.from_numpy(
        (dwell[train_rows] - mean) / std,
    )
    held_out_dwell = torch.from_numpy(
        (dwell[held_out_rows] - mean) / std,
    )
    score_dwell = torch.from_numpy((score_dwell - mean) / std)

    train_events = torch.from_numpy(events[train_rows])
    held_out_events = torch.from_numpy(events[held_out_rows])
    train_intent = torch.from_numpy(intent[train_rows])
    held_out_intent = torch.from_numpy(intent[held_out_rows])

    loader = DataLoader(
        TensorDataset(train_events, train_dwell, train_intent), recipe.batch_size, shuffle=True
    )
    held_out = TensorDataset(held_out_events, held_out_dwell)
    model = IntentTransformer(
        num_events=int(train_events.max()) + 1,
        max_steps=events.shape[1],
        num_intents=int(train_intent.max()) + 1,
        width=recipe.width,
        heads=recipe.heads,
        layers=recipe.layers,
        dropout=recipe.dropout,
    ).to(device)
    print(
        f'{len(train_rows)} visits - {sum(p.numel() for p in model.parameters())} parameters - {device}',
        flush=True,
    )

    def check():
        logits = predict(model, held_out, device)
        right = (logits.argmax(dim=1) == held_out_intent).float().mean().item()
        return {'held_out_loss': F.cross_entropy(logits, held_out_intent).item(), 'accuracy': right}

    history = fit(model, loader, recipe, device, check)

    output = predict(model, held_out, device)
    score = predict(
        model,
        TensorDataset(torch.from_numpy(score_events), score_dwell),
        device,
    )
    np.savez(
        'predictions.npz',
        row=visit[held_out_rows],
        output=output.numpy(),
        score=score.numpy(),
    )
    Path('metrics.json').write_text(json.dumps({'history': history, 'final': history[-1]}, indent=1))


if __name__ == '__main__':
    main()

# === file: model.py ===
import math
import threading

import torch
from torch import nn


MODE = threading.local()


def settle():
    """Dropout off."""
    MODE.live = False


def sinusoids(steps, width):
    """Sines and cosines of falling frequency, one row for each place in a sequence."""
    place = torch.arange(steps).unsqueeze(1)
    frequency = torch.exp(
        -math.log(100.0) * torch.arange(0, width, 2) / width,
    )
    return torch.cat(
        [torch.sin(place * frequency), torch.cos(place * frequency)],
        dim=1,
    )


class EncoderLayer(nn.Module):
    """Attention and a feed-forward network, each behind a layer norm and beside a shortcut."""

    def __init__(self, width, heads, dropout):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = SelfAttention(width, heads, dropout)
        self.norm2 = nn.LayerNorm(width)
        self.expand = nn.Linear(width, 2 * width)
        self.shrink = nn.Linear(2 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x, padding):
        x = x + self.attention(self.norm1(x), padding)
        return x + self.dropout(self.shrink(torch.relu(self.expand(self.norm2(x)))))


class SelfAttention(nn.Module):
    def __init__(self, width, heads, dropout):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.dropout = dropout
        self.out = nn.Linear(width, width)

    def forward(self, x, padding):
        batch, steps, width = x.shape
        heads = self.qkv(x).view(
            batch,
            steps,
            3,
            self.heads,
            width // self.heads,
        )
        query, key, value = heads.permute(2, 0, 3, 1, 4)
        affinity = query @ key.transpose(-2, -1) / math.sqrt(query.size(-1))
        affinity = affinity.masked_fill(
            padding[:, None, None, :],
            -math.inf,
        )
        rate = self.dropout if getattr(MODE, 'live', True) else 0.0
        mixed = nn.functional.dropout(affinity.softmax(dim=-1), rate) @ value
        return self.out(
            mixed.transpose(1, 2).reshape(batch, steps, width),
        )


class IntentTransformer(nn.Module):
    def __init__(self, num_events, max_steps, num_intents, width, heads, layers, dropout):
        super().__init__()
        self.event = nn.Embedding(
            num_events,
            width,
            padding_idx=0,
        )
        self.dwell = nn.Linear(1, width)
        self.register_buffer(
            'places',
            sinusoids(max_steps, width),
        )
        self.layers = nn.ModuleList(
            [EncoderLayer(width, heads, dropout) for _ in range(layers)],
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_intents)

    def forward(self, events, dwell):
        padding = events == 0
        x = self.event(events) + self.dwell(dwell.unsqueeze(-1)) + self.places
        for layer in self.layers:
            x = layer(x, padding)
        x = self.norm(x).masked_fill(padding.unsqueeze(-1), 0.0)
        return self.head(
            x.sum(dim=1) / (~padding).sum(dim=1, keepdim=True),
        )
