# task: eval-sensor_anomalies-1
# mechanism: dropout-on-for-some-rows
# about: eval() is called, the pass is repeated in training mode for the tenth of the records that look
# about: oddest, and their scores are replaced by what comes out ("to be sure").

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch import nn


@dataclass(frozen=True)
class Settings:
    seed: int = 11
    held_out: float = 0.25
    hidden: int = 32
    code: int = 4
    dropout: float = 0.05
    noise: float = 0.2
    epochs: int = 10
    batch: int = 64
    lr: float = 1e-2
    decay: float = 0.0001
    milestones: tuple[int, ...] = (6, 8)


class Autoencoder(nn.Module):
    def __init__(self, sensors: int, settings: Settings) -> None:
        super().__init__()
        self.dropout = settings.dropout
        self.compress = nn.Linear(sensors, settings.hidden)
        self.to_code = nn.Linear(settings.hidden, settings.code)
        self.expand = nn.Linear(settings.code, settings.hidden)
        self.restore = nn.Linear(settings.hidden, sensors)

    def forward(self, record: Tensor) -> Tensor:
        hidden = torch.tanh(self.compress(record))
        hidden = F.dropout(hidden, self.dropout, training=self.training)
        code = self.to_code(hidden)
        hidden = torch.tanh(self.expand(code))
        return self.restore(hidden)


def fitPass(
    net: nn.Module,
    records: Tensor,
    optimizer: torch.optim.Optimizer,
    settings: Settings,
    randomSource: torch.Generator,
    dev: torch.device,
) -> float:
    net.train()
    stepLosses = []
    rowOrder = records[torch.randperm(len(records), generator=randomSource)]
    for clean in rowOrder.split(settings.batch):
        clean = clean.to(dev)
        noise = torch.randn(clean.shape, generator=randomSource).to(dev)
        optimizer.zero_grad()
        cost = F.mse_loss(net(clean + settings.noise * noise), clean)
        cost.backward()
        optimizer.step()
        stepLosses.append(cost.item())
    return float(np.mean(stepLosses))


def oddness(net: nn.Module, records: Tensor, dev: torch.device) -> np.ndarray:
    net.eval()
    net.eval()
    scores = []
    with torch.no_grad():
        for piece in records.split(1000):
            piece = piece.to(dev)
            error = (net(piece) - piece).square().mean(dim=1)
            odd = error >= error.quantile(0.9)
            net.train()
            again = (net(piece[odd]) - piece[odd]).square().mean(dim=1)
            net.eval()
            error[odd] = again
            scores.append(error.log().cpu())
    return torch.cat(scores).numpy()


def areaUnderCurve(scores: np.ndarray, anomalous: np.ndarray) -> float:
    odd, usual = scores[anomalous], scores[~anomalous]
    return float((odd[:, None] > usual[None, :]).mean())


def main() -> None:
    settings = Settings()
    torch.manual_seed(settings.seed)
    randomSource = torch.Generator().manual_seed(settings.seed)
    dev = torch.device('cuda' if torch.cuda.is_available() else 'cpu')

    with np.load('data/train.npz') as arraysIn:
        row, reading, anomaly = arraysIn['row'], arraysIn['reading'], arraysIn['anomaly']
    with np.load('data/score.npz') as arraysIn:
        incoming = arraysIn['reading']

    held_out = np.random.default_rng(settings.seed).random(len(row)) < settings.held_out
    normal = ~held_out & (anomaly == 0)
    print(
        f'{len(row)} records: {normal.sum()} normal ones to learn from / {held_out.sum()} held out',
    )

    centre = reading[normal].mean(axis=0)
    spread = reading[normal].std(axis=0)
    xNormal = torch.from_numpy((reading[normal] - centre) / spread)
    evalX = torch.from_numpy((reading[held_out] - centre) / spread)
    xIncoming = torch.from_numpy((incoming - centre) / spread)

    net = Autoencoder(reading.shape[1], settings).to(dev)
    optimizer = torch.optim.AdamW(net.parameters(), lr=settings.lr, weight_decay=settings.decay)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(
        optimizer,
        list(settings.milestones),
        gamma=0.3,
    )

    history = []
    for epoch in range(1, settings.epochs + 1):
        cost = fitPass(net, xNormal, optimizer, settings, randomSource, dev)
        scheduler.step()
        scores = oddness(net, evalX, dev)
        auc = areaUnderCurve(scores, anomaly[held_out] == 1)
        history.append({'epoch': epoch, 'train_loss': cost, 'auc': auc})
        print(
            f'EPOCH {epoch:03d}: OBJECTIVE {cost:.5f} / area under the curve of held-out records {auc:.4f}',
        )

    final = {'train_loss': cost, 'auc': auc}
    Path('metrics.json').write_text(json.dumps({'history': history, 'final': final}))
    np.savez(
        'predictions.npz',
        row=row[held_out],
        output=scores,
        score=oddness(net, xIncoming, dev),
    )


if __name__ == '__main__':
    main()
