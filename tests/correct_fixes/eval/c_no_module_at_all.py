# task: eval-sensor_anomalies-1
# mechanism: tensors-and-functions-only
# about: The autoencoder is a list of tensors and a function, trained with Adam on the list; noise and dropout are put in
# about: by the training loop, so the function has nothing to switch off.

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

SEED, HELD_OUT, WIDTHS, EPOCHS, BATCH = 11, 0.25, (32, 4, 32), 10, 64


def made(sensors, device):
    """A matrix and a shift for each step between two widths."""
    weights = []
    for n_in, n_out in pairwise((sensors, *WIDTHS, sensors)):
        bound = n_in**-0.5
        for shape in ((n_in, n_out), (n_out,)):
            weights.append(torch.empty(shape, device=device).uniform_(-bound, bound).requires_grad_())
    return weights


def restore(record, weights, keep=None):
    first, a, second, b, third, c, fourth, d = weights
    hidden = torch.tanh(record @ first + a)
    if keep is not None:
        hidden = hidden * keep
    return torch.tanh((hidden @ second + b) @ third + c) @ fourth + d


@torch.no_grad()
def oddness(records, weights, device):
    parts = [part.to(device) for part in records.split(1000)]
    return torch.cat([(restore(x, weights) - x).square().mean(dim=1).log().cpu() for x in parts]).numpy()


def main():
    torch.manual_seed(SEED)
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    with np.load('data/train.npz') as arrays:
        row, reading, anomaly = arrays['row'], arrays['reading'], arrays['anomaly'] == 1
    with np.load('data/score.npz') as arrays:
        incoming = arrays['reading']
    held_out = np.random.default_rng(SEED).random(len(row)) < HELD_OUT
    normal = ~held_out & ~anomaly
    centre, spread = reading[normal].mean(axis=0), reading[normal].std(axis=0)
    x_normal, x_held_out, x_incoming = (
        torch.from_numpy((part - centre) / spread) for part in (reading[normal], reading[held_out], incoming)
    )

    weights = made(reading.shape[1], device)
    optimizer = torch.optim.AdamW(weights, lr=1e-2, weight_decay=1e-4)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [6, 8], gamma=0.3)
    truth = anomaly[held_out]
    history = []
    for epoch in range(1, EPOCHS + 1):
        losses = []
        for rows in torch.randperm(len(x_normal)).split(BATCH):
            clean = x_normal[rows].to(device)
            keep = (torch.rand(len(clean), WIDTHS[0], device=device) >= 0.05) / 0.95
            loss = (restore(clean + 0.2 * torch.randn_like(clean), weights, keep) - clean).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        scheduler.step()
        scores = oddness(x_held_out, weights, device)
        auc = float((scores[truth][:, None] > scores[~truth]).mean())
        history.append({'epoch': epoch, 'train_loss': float(np.mean(losses)), 'auc': auc})
        print(history[-1])

    final = {'train_loss': history[-1]['train_loss'], 'auc': auc}
    Path('metrics.json').write_text(json.dumps({'history': history, 'final': final}))
    np.savez(
        'predictions.npz', row=row[held_out], output=scores, score=oddness(x_incoming, weights, device)
    )


if __name__ == '__main__':
    main()
