from __future__ import annotations

import copy
import logging
from collections import defaultdict
from typing import Callable, Optional

import torch
from torch import nn
from torch.utils.data import DataLoader

log = logging.getLogger(__name__)


class AverageMeter:
    def __init__(self) -> None:
        self.total = 0.0
        self.count = 0

    def update(self, value: float, n: int = 1) -> None:
        self.total += value * n
        self.count += n

    @property
    def avg(self) -> float:
        return self.total / max(self.count, 1)


class Trainer:
    """Small training harness: fit, validate, remember the best weights."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        loss_fn: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
        scheduler: Optional[torch.optim.lr_scheduler.LRScheduler] = None,
        device: torch.device = torch.device("cpu"),
    ) -> None:
        self.model = model.to(device)
        self.optimizer = optimizer
        self.loss_fn = loss_fn
        self.scheduler = scheduler
        self.device = device
        self.history: dict[str, list[float]] = defaultdict(list)
        self.best_loss = float("inf")
        self.best_state: Optional[dict] = None
        self.best_epoch = -1

    def fit(self, train_loader: DataLoader, val_loader: DataLoader, epochs: int) -> dict:
        for epoch in range(epochs):
            lr = self.optimizer.param_groups[0]["lr"]
            train_loss = self.train_one_epoch(train_loader)
            val_loss, val_acc = self.validate(val_loader)
            if self.scheduler is not None:
                self.scheduler.step()

            self.history["train_loss"].append(train_loss)
            self.history["val_loss"].append(val_loss)
            self.history["val_acc"].append(val_acc)
            marker = ""
            if val_loss < self.best_loss:
                self.best_loss = val_loss
                self.best_epoch = epoch
                self.best_state = copy.deepcopy(self.model.state_dict())
                marker = " *"
            log.info(
                "epoch %02d | lr %.5f | train %.5f | val %.5f | acc %.4f%s",
                epoch, lr, train_loss, val_loss, val_acc, marker,
            )
        self.restore_best()
        return dict(self.history)

    def train_one_epoch(self, loader: DataLoader) -> float:
        self.model.train()
        meter = AverageMeter()
        for xb, yb in loader:
            xb = xb.to(self.device, non_blocking=True)
            yb = yb.to(self.device, non_blocking=True)
            logits = self.model(xb)
            loss = self.loss_fn(logits, yb)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            meter.update(loss.item(), xb.size(0))
        return meter.avg

    @torch.no_grad()
    def validate(self, loader: DataLoader) -> tuple[float, float]:
        self.model.eval()
        loss_meter, acc_meter = AverageMeter(), AverageMeter()
        for xb, yb in loader:
            xb, yb = xb.to(self.device), yb.to(self.device)
            logits = self.model(xb)
            loss_meter.update(self.loss_fn(logits, yb).item(), xb.size(0))
            pred = (logits > 0).float()
            acc_meter.update((pred == yb).float().mean().item(), xb.size(0))
        return loss_meter.avg, acc_meter.avg

    def restore_best(self) -> None:
        if self.best_state is not None:
            self.model.load_state_dict(self.best_state)
