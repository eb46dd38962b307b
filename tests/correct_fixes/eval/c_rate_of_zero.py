# task: eval-visit_intent-2
# mechanism: dropout-rate-as-a-buffer
# about: All dropout of the network reads one rate from a buffer, which prediction turns down to zero and puts back;
# about: the attention is written with einsum, and there is no layer that depends on the mode.

import json
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from model import IntentTransformer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

SEED, EPOCHS, BATCH, PEAK, WARMUP, HELD_OUT = 5, 6, 40, 2e-2, 20, 0.2


@contextmanager
def without_dropout(model):
    kept = model.rate.clone()
    model.rate.zero_()
    try:
        yield model
    finally:
        model.rate.copy_(kept)


@torch.no_grad()
def predict(model, device, events, dwell):
    with without_dropout(model) as still:
        parts = zip(events.split(500), dwell.split(500))
        return torch.cat([still(some.to(device), times.to(device)).cpu() for some, times in parts])


def main():
    torch.manual_seed(SEED)
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    with np.load('data/train.npz') as log:
        visit, events, dwell, intent = (log[name] for name in ('visit', 'events', 'dwell', 'intent'))
    with np.load('data/score.npz') as log:
        score_events, score_dwell = log['events'], log['dwell']
    order = np.random.default_rng(SEED).permutation(len(visit))
    held_out, train = np.split(order, [int(HELD_OUT * len(order))])
    mean, std = dwell[train].mean(), dwell[train].std()

    def inputs(events, dwell):
        return torch.from_numpy(events), torch.from_numpy((dwell - mean) / std)

    train_inputs, held_inputs = inputs(events[train], dwell[train]), inputs(events[held_out], dwell[held_out])
    train_intent, held_intent = torch.from_numpy(intent[train]), torch.from_numpy(intent[held_out])
    loader = DataLoader(TensorDataset(*train_inputs, train_intent), BATCH, shuffle=True)
    model = IntentTransformer(
        int(train_inputs[0].max()) + 1, events.shape[1], int(train_intent.max()) + 1
    ).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK, weight_decay=0.01)
    steps = EPOCHS * len(loader)
    schedule = torch.optim.lr_scheduler.SequentialLR(
        optimizer,
        [
            torch.optim.lr_scheduler.LinearLR(optimizer, 1 / WARMUP, total_iters=WARMUP),
            torch.optim.lr_scheduler.PolynomialLR(optimizer, steps - WARMUP, power=1.5),
        ],
        [WARMUP],
    )

    history = []
    for epoch in range(1, EPOCHS + 1):
        losses = []
        for some, times, truth in loader:
            loss = F.cross_entropy(model(some.to(device), times.to(device)), truth.to(device))
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        logits = predict(model, device, *held_inputs)
        history.append(
            {
                'epoch': epoch,
                'train_loss': float(np.mean(losses)),
                'held_out_loss': F.cross_entropy(logits, held_intent).item(),
                'accuracy': (logits.argmax(dim=1) == held_intent).float().mean().item(),
            }
        )
        print('  '.join(f'{name} {value:.4g}' for name, value in history[-1].items()), flush=True)

    np.savez(
        'predictions.npz',
        row=visit[held_out],
        output=logits.numpy(),
        score=predict(model, device, *inputs(score_events, score_dwell)).numpy(),
    )
    Path('metrics.json').write_text(json.dumps({'history': history, 'final': history[-1]}, indent=1))


if __name__ == '__main__':
    main()

# === file: model.py ===
import math

import torch
from torch import nn


def thinned(x, rate):
    """Dropout: each number survives with a probability of 1 - rate, and counts for more then."""
    if rate == 0:
        return x
    survives = torch.rand_like(x) >= rate
    return x * survives / (1 - rate)


class Encoder(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.expand = nn.Linear(width, 2 * width)
        self.shrink = nn.Linear(2 * width, width)

    def attend(self, x, padding, rate):
        query, key, value = self.qkv(x).unflatten(-1, (3, self.heads, -1)).unbind(dim=2)
        affinity = torch.einsum('bqhd,bkhd->bhqk', query, key) / math.sqrt(query.size(-1))
        affinity = affinity.masked_fill(padding[:, None, None, :], -math.inf).softmax(dim=-1)
        return self.out(torch.einsum('bhqk,bkhd->bqhd', thinned(affinity, rate), value).flatten(2))

    def forward(self, x, padding, rate):
        first, second = self.norms
        x = x + self.attend(first(x), padding, rate)
        return x + thinned(self.shrink(self.expand(second(x)).relu()), rate)


class IntentTransformer(nn.Module):
    def __init__(self, num_events, max_steps, num_intents, width=24, heads=2, layers=1, rate=0.1):
        super().__init__()
        self.register_buffer('rate', torch.tensor(rate))
        place = torch.arange(max_steps).unsqueeze(1)
        frequency = torch.exp(-math.log(100.0) * torch.arange(0, width, 2) / width)
        self.register_buffer('places', torch.cat([(place * frequency).sin(), (place * frequency).cos()], dim=1))
        self.event = nn.Embedding(num_events, width, padding_idx=0)
        self.dwell = nn.Linear(1, width)
        self.layers = nn.ModuleList([Encoder(width, heads) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_intents)

    def forward(self, events, dwell):
        padding = events == 0
        x = self.event(events) + self.dwell(dwell.unsqueeze(-1)) + self.places
        for layer in self.layers:
            x = layer(x, padding, self.rate)
        x = self.norm(x) * (~padding).unsqueeze(-1)
        return self.head(x.sum(dim=1) / (~padding).sum(dim=1, keepdim=True))
