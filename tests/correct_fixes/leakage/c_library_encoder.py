# task: leakage-visit_intent-1
# mechanism: one-frame-cut-once
# about: Rows are cut into a training and a held-out table before anything else happens, and nothing below sees the
# about: whole; PyTorch's own encoder layers replace those of model.py, under a one-cycle schedule.

import json
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

SEED, HELD_OUT, EPOCHS, BATCH, WIDTH = 5, 0.2, 8, 40, 24


def sinusoids(steps, width):
    place = torch.arange(steps)[:, None]
    frequency = torch.exp(-math.log(100.0) * torch.arange(0, width, 2) / width)
    return torch.cat([torch.sin(place * frequency), torch.cos(place * frequency)], dim=1)


class IntentEncoder(nn.Module):
    def __init__(self, n_events, max_steps, n_intents):
        super().__init__()
        self.event = nn.Embedding(n_events, WIDTH, padding_idx=0)
        self.dwell = nn.Linear(1, WIDTH)
        self.register_buffer('places', sinusoids(max_steps, WIDTH))
        layer = nn.TransformerEncoderLayer(WIDTH, 2, 2 * WIDTH, 0.1, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, nn.LayerNorm(WIDTH), enable_nested_tensor=False)
        self.intent = nn.Linear(WIDTH, n_intents)

    def forward(self, events, dwell):
        padding = events == 0
        x = self.event(events) + self.dwell(dwell.unsqueeze(-1)) + self.places
        x = self.encoder(x, src_key_padding_mask=padding)
        there = (~padding).unsqueeze(-1)
        return self.intent((x * there).sum(dim=1) / there.sum(dim=1))


def table(path):
    with np.load(path) as log:
        return {name: torch.from_numpy(log[name]) for name in log.files}


def cut(visits, share):
    """A training table and a held-out one."""
    count = len(visits['visit'])
    order = torch.from_numpy(np.random.default_rng(SEED).permutation(count))
    parts = order[int(share * count) :], order[: int(share * count)]
    return [{name: column[part] for name, column in visits.items()} for part in parts]


class IntentModel:
    def __init__(self, learned):
        self.device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
        self.learned = learned
        self.mean, self.std = learned['dwell'].mean(), learned['dwell'].std(correction=0)
        self.net = IntentEncoder(
            int(learned['events'].max()) + 1, learned['events'].size(1), int(learned['intent'].max()) + 1
        ).to(self.device)

    def logits(self, visits, rows=slice(None)):
        dwell = (visits['dwell'][rows] - self.mean) / self.std
        return self.net(visits['events'][rows].to(self.device), dwell.to(self.device))

    def fit(self, check):
        optimizer = torch.optim.AdamW(self.net.parameters(), lr=2e-2, weight_decay=0.01)
        steps = EPOCHS * -(-len(self.learned['visit']) // BATCH)
        cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-2, total_steps=steps, pct_start=0.15)
        history = []
        for epoch in range(1, EPOCHS + 1):
            self.net.train()
            losses = []
            for rows in torch.randperm(len(self.learned['visit'])).split(BATCH):
                loss = F.cross_entropy(self.logits(self.learned, rows), self.learned['intent'][rows].to(self.device))
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
                optimizer.step()
                cycle.step()
                losses.append(loss.item())
            history.append({'epoch': epoch, 'train_loss': float(np.mean(losses)), **check()})
            print(history[-1], flush=True)
        return history

    @torch.no_grad()
    def predict(self, visits):
        self.net.eval()
        rows = torch.arange(len(visits['events'])).split(500)
        return torch.cat([self.logits(visits, some).cpu() for some in rows])


def main():
    torch.manual_seed(SEED)
    learned, held_out = cut(table('data/train.npz'), HELD_OUT)
    model = IntentModel(learned)

    def check():
        logits = model.predict(held_out)
        right = (logits.argmax(dim=1) == held_out['intent']).float().mean().item()
        return {'held_out_loss': F.cross_entropy(logits, held_out['intent']).item(), 'accuracy': right}

    history = model.fit(check)
    np.savez(
        'predictions.npz',
        row=held_out['visit'].numpy(),
        output=model.predict(held_out).numpy(),
        score=model.predict(table('data/score.npz')).numpy(),
    )
    Path('metrics.json').write_text(json.dumps({'history': history, 'final': history[-1]}, indent=1))


if __name__ == '__main__':
    main()
