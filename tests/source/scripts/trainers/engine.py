import torch
from torch import nn


class Trainer:
    def __init__(self, model, train_loader, val_loader, lr, device):
        self.model = model
        self.train_loader = train_loader
        self.val_loader = val_loader
        self.device = device
        self.criterion = nn.CrossEntropyLoss()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=lr)

    def fit(self, epochs):
        for epoch in range(epochs):
            loss = self.train_epoch()
            acc = self.validate()
            print(f"[{epoch + 1}/{epochs}] loss={loss:.4f} val_acc={acc:.3f}")

    def train_epoch(self):
        self.model.train()
        total = 0.0
        for inputs, targets in self.train_loader:
            inputs, targets = inputs.to(self.device), targets.to(self.device)
            self.optimizer.zero_grad(set_to_none=True)
            loss = self.criterion(self.model(inputs), targets)
            loss.backward()
            self.optimizer.step()
            total += loss.item()
        return total / len(self.train_loader)

    @torch.no_grad()
    def validate(self):
        self.model.eval()
        hits = count = 0
        for inputs, targets in self.val_loader:
            logits = self.model(inputs.to(self.device))
            hits += (logits.argmax(dim=1).cpu() == targets).sum().item()
            count += len(targets)
        return hits / count
