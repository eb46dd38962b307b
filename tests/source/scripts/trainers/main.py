import argparse

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

from engine import Trainer


def blobs(n):
    g = torch.Generator().manual_seed(11)
    x = torch.randn(n, 8, generator=g)
    y = ((x[:, 0] * x[:, 1]) > 0).long()
    return TensorDataset(x, y)


def build():
    return nn.Sequential(
        nn.Linear(8, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 2)
    )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--lr", type=float, default=1e-2)
    args = parser.parse_args()
    torch.manual_seed(7)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    train_set, val_set = random_split(blobs(300), [220, 80])
    trainer = Trainer(
        build().to(device),
        DataLoader(train_set, batch_size=20, shuffle=True),
        DataLoader(val_set, batch_size=40),
        lr=args.lr,
        device=device,
    )
    trainer.fit(args.epochs)


if __name__ == "__main__":
    main()
