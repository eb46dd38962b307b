"""Churn prediction on synthetic customers. Usage: python run.py"""
from __future__ import annotations

import logging

import torch
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset

from trainer import Trainer

logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
log = logging.getLogger("run")


def make_customers(n: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    tenure = torch.rand(n, generator=generator) * 72
    monthly = 20 + 100 * torch.rand(n, generator=generator)
    calls = torch.poisson(torch.full((n,), 2.0), generator=generator)
    age = 45 + 14 * torch.randn(n, generator=generator)
    noise = torch.randn(n, 4, generator=generator)
    score = (
        -0.06 * (tenure - 36)
        + 0.03 * (monthly - 70)
        + 0.9 * (calls - 2)
        + 0.0008 * (tenure - 36) * (monthly - 70)
    )
    prob = torch.sigmoid(1.5 * score)
    y = torch.bernoulli(prob, generator=generator)
    x = torch.cat([torch.stack([tenure, monthly, calls, age], 1), noise], 1)
    return x, y


class ChurnNet(nn.Module):
    def __init__(self, n_features: int, width: int = 32, p_drop: float = 0.2) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(n_features, width),
            nn.BatchNorm1d(width),
            nn.GELU(),
            nn.Dropout(p_drop),
            nn.Linear(width, width),
            nn.LayerNorm(width),
            nn.GELU(),
            nn.Dropout(p_drop),
        )
        self.head = nn.Linear(width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x)).squeeze(-1)


def main() -> None:
    torch.manual_seed(2022)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    gen = torch.Generator().manual_seed(99)

    x, y = make_customers(2000, gen)
    order = torch.randperm(len(x), generator=gen).tolist()
    train_ids, val_ids, test_ids = order[:1400], order[1400:1700], order[1700:]

    mean, std = x[train_ids].mean(0), x[train_ids].std(0)
    dataset = TensorDataset((x - mean) / std, y)

    train_loader = DataLoader(Subset(dataset, train_ids), batch_size=100, shuffle=True)
    val_loader = DataLoader(Subset(dataset, val_ids), batch_size=150)
    test_loader = DataLoader(Subset(dataset, test_ids), batch_size=150)

    model = ChurnNet(x.shape[1])
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-2)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=25)
    trainer = Trainer(model, optimizer, nn.BCEWithLogitsLoss(), scheduler, device)
    trainer.fit(train_loader, val_loader, epochs=25)

    test_loss, test_acc = trainer.validate(test_loader)
    log.info("best epoch %d (val %.5f)", trainer.best_epoch, trainer.best_loss)
    log.info("test loss %.5f, accuracy %.4f", test_loss, test_acc)


if __name__ == "__main__":
    main()
