"""Training with early stopping."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Pairs(NamedTuple):
    """Pairs of questions, row by row; `same` is 1 where both ask the same thing."""

    first: Tensor
    second: Tensor
    surface: Tensor
    same: Tensor


class Trainer:
    """Fits a pair classifier until the validation loss has not fallen for `patience` epochs."""

    def __init__(
        self,
        model: nn.Module,
        device: torch.device,
        lr: float,
        weight_decay: float,
        batch_size: int,
        max_epochs: int,
        patience: int,
    ) -> None:
        self.model = model.to(device)
        self.device = device
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.patience = patience
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=lr, weight_decay=weight_decay)

    def train_epoch(self, pairs: Pairs) -> float:
        self.model.train()
        total = 0.0
        for rows in torch.randperm(len(pairs.same)).split(self.batch_size):
            first = pairs.first[rows].to(self.device)
            second = pairs.second[rows].to(self.device)
            surface = pairs.surface[rows].to(self.device)
            same = pairs.same[rows].to(self.device)
            self.optimizer.zero_grad()
            logits = self.model(first, second, surface)
            loss = F.binary_cross_entropy_with_logits(logits, same)
            loss.backward()
            self.optimizer.step()
            total += loss.item() * len(rows)
        return total / len(pairs.same)

    @torch.no_grad()
    def predict(self, first: Tensor, second: Tensor, surface: Tensor) -> Tensor:
        """Logits of all pairs, on the CPU."""
        self.model.eval()
        logits = self.model(first.to(self.device), second.to(self.device), surface.to(self.device))
        return logits.cpu()

    def validate(self, pairs: Pairs) -> float:
        logits = self.predict(pairs.first, pairs.second, pairs.surface)
        return F.binary_cross_entropy_with_logits(logits, pairs.same).item()

    def fit(self, train: Pairs, validation: Pairs) -> list[dict[str, float]]:
        """Train, and leave the model as it was after its best epoch. Returns the losses of all epochs."""
        history = []
        best_loss, best_epoch = float("inf"), 0
        checkpoint = {}
        for epoch in range(1, self.max_epochs + 1):
            train_loss = self.train_epoch(train)
            val_loss = self.validate(validation)
            history.append({"epoch": epoch, "train_loss": train_loss, "val_loss": val_loss})
            print(f"epoch {epoch:2d}: train {train_loss:.4f}, validation {val_loss:.4f}")
            if val_loss < best_loss:
                best_loss, best_epoch = val_loss, epoch
                checkpoint = {name: value.clone() for name, value in self.model.state_dict().items()}
            elif epoch - best_epoch >= self.patience:
                break
        self.model.load_state_dict(checkpoint)
        print(f"back to epoch {best_epoch}, validation {best_loss:.4f}")
        return history
