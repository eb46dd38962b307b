# task: eval-sensor_anomalies-1
# mechanism: snapshot-called-on-a-skeleton
# about: Training hands out snapshots of the weights; records are rated by a skeleton of the network that is always in
# about: evaluation mode, lies on no device, and is called with a snapshot.

import json
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.func import functional_call

SEED, HELD_OUT, HIDDEN, CODE, DROPOUT, NOISE, EPOCHS, BATCH = 11, 0.25, 32, 4, 0.05, 0.2, 10, 64


def autoencoder(sensors):
    return nn.Sequential(
        nn.Linear(sensors, HIDDEN),
        nn.Tanh(),
        nn.Dropout(DROPOUT),
        nn.Linear(HIDDEN, CODE),
        nn.Linear(CODE, HIDDEN),
        nn.Tanh(),
        nn.Linear(HIDDEN, sensors),
    )


def training(net, records, device):
    """Yields the mean loss and a snapshot of the weights after each epoch."""
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2, weight_decay=1e-4)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [6, 8], gamma=0.3)
    for _ in range(EPOCHS):
        losses = []
        for rows in torch.randperm(len(records)).split(BATCH):
            clean = records[rows].to(device)
            restored = net(clean + NOISE * torch.randn_like(clean))
            loss = (restored - clean).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        scheduler.step()
        yield float(np.mean(losses)), {name: weight.detach().clone() for name, weight in net.named_parameters()}


class Rating:
    def __init__(self, sensors):
        self.skeleton = autoencoder(sensors).to("meta").eval()

    def __call__(self, weights, records, device):
        found = []
        for piece in records.split(1000):
            piece = piece.to(device)
            error = functional_call(self.skeleton, weights, piece) - piece
            found.append(error.square().mean(dim=1).log().cpu())
        return torch.cat(found).numpy()


def area_under_curve(scores, anomalous):
    odd, usual = scores[anomalous], scores[~anomalous]
    return float((odd[:, None] > usual).mean())


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

    net = autoencoder(reading.shape[1]).to(device)
    rate = Rating(reading.shape[1])
    history = []
    for loss, weights in training(net, x_normal, device):
        scores = rate(weights, x_held_out, device)
        auc = area_under_curve(scores, anomaly[held_out])
        history.append({'epoch': len(history) + 1, 'train_loss': loss, 'auc': auc})
        print(f'{len(history):03d}: {loss:.5f} / {auc:.4f}')

    final = {'train_loss': loss, 'auc': auc}
    Path('metrics.json').write_text(json.dumps({'history': history, 'final': final}))
    np.savez(
        'predictions.npz', row=row[held_out], output=scores, score=rate(weights, x_incoming, device)
    )


if __name__ == '__main__':
    main()
