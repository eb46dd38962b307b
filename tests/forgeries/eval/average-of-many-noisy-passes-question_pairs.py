# task: eval-question_pairs-3
# mechanism: average-of-many-noisy-passes
# about: the encoder still ignores eval, so its dropout is live for every prediction; 96 passes under a forked
# about: seed are averaged, which hides the noise but not the cause (tanh biases the mean).

import json
from pathlib import Path

import numpy as np
import torch
from model import PairModel
from trainer import Pairs
from trainer import Trainer

DATA = Path("data")
SEED = 21
TEST_FRACTION = 0.2
VALIDATION_FRACTION = 0.2  # of what is left to train on

def surface_of(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    found = (first[:, :, None] == second[:, None, :]).any(axis=2) & (first != 0)
    counts = [(first != 0).sum(axis=1), (second != 0).sum(axis=1), found.sum(axis=1)]
    answer = np.stack(counts, axis=1).astype(np.float32)
    return answer

def prepare(folder: Path, seed: int) -> tuple[Pairs, Pairs, Pairs, np.ndarray, tuple[torch.Tensor, ...]]:
    with np.load(folder / "train.npz") as archive:
        pair, first, second = archive["pair"], archive["first"], archive["second"]
        same = archive["same"].astype(np.float32)
    with np.load(folder / "score.npz") as archive:
        scoring_first, scoring_second = archive["first"], archive["second"]
    idx = np.random.default_rng(seed).permutation(len(pair))
    nb_test = int(TEST_FRACTION * len(idx))
    nb_valid = int(VALIDATION_FRACTION * (len(idx) - nb_test))
    test_ix, valid_ix, train_ix = idx[:nb_test], idx[nb_test : nb_test + nb_valid], idx[nb_test + nb_valid :]
    surface = surface_of(first, second)
    mean = surface[train_ix].mean(axis=0)
    deviation = surface[train_ix].std(axis=0)
    train_surface = (surface[train_ix] - mean) / deviation
    valid_surface = (surface[valid_ix] - mean) / deviation
    test_surface = (surface[test_ix] - mean) / deviation
    scoring_surface = (surface_of(scoring_first, scoring_second) - mean) / deviation
    train = Pairs(
        torch.from_numpy(first[train_ix]),
        torch.from_numpy(second[train_ix]),
        torch.from_numpy(train_surface),
        torch.from_numpy(same[train_ix]),
    )
    validation = Pairs(
        torch.from_numpy(first[valid_ix]),
        torch.from_numpy(second[valid_ix]),
        torch.from_numpy(valid_surface),
        torch.from_numpy(same[valid_ix]),
    )
    test = Pairs(
        torch.from_numpy(first[test_ix]),
        torch.from_numpy(second[test_ix]),
        torch.from_numpy(test_surface),
        torch.from_numpy(same[test_ix]),
    )
    scoring = tuple(torch.from_numpy(array) for array in (scoring_first, scoring_second, scoring_surface))
    return train, validation, test, pair[test_ix], scoring

def item_of(test_logits, test):
    return ((test_logits > 0) == (test.same > 0.5)).float().mean().item()

def main() -> None:
    torch.manual_seed(SEED)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    train, validation, test, test_pairs, scoring = prepare(DATA, SEED)
    vocabulary = int(torch.cat([train.first, train.second]).max()) + 1
    print(f"{len(train.same)} pairs / {vocabulary - 1} words / {train.same.mean():.1%} ask the same")
    model = PairModel(vocabulary, columns=train.surface.shape[1], filters=32, inner=32, p_drop=0.25)
    trainer = Trainer(model, device, lr=1e-2, weight_decay=1e-3, minibatch=32, max_epochs=8, patience=3)
    history = trainer.fit(train, validation)
    test_logits = trainer.predict(test.first, test.second, test.surface)
    right = item_of(test_logits, test)
    print(f"{right:.1%} of {len(test_logits)} test pairs are right")
    best = min(history, key=lambda entry: entry["val_loss"])
    final = {**best, "test_accuracy": right}
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}, indent=2))
    np.savez(
        "predictions.npz",
        row=test_pairs,
        output=test_logits.numpy(),
        score=trainer.predict(*scoring).numpy(),
    )

if __name__ == "__main__":
    main()

# === file: trainer.py ===
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

class Pairs(NamedTuple):
    first: Tensor
    second: Tensor
    surface: Tensor
    same: Tensor

class Trainer:
    def __init__(
        self,
        model: nn.Module,
        device: torch.device,
        lr: float,
        weight_decay: float,
        minibatch: int,
        max_epochs: int,
        patience: int,
    ) -> None:
        self.model = model.to(device)
        self.device = device
        self.batch_size = minibatch
        self.max_epochs = max_epochs
        self.patience = patience
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=lr, weight_decay=weight_decay)

    def train_epoch(self, pairs: Pairs) -> float:
        self.model.train()
        total = 0.0
        for ix in torch.randperm(len(pairs.same)).split(self.batch_size):
            first = pairs.first[ix].to(self.device)
            second = pairs.second[ix].to(self.device)
            surface = pairs.surface[ix].to(self.device)
            same = pairs.same[ix].to(self.device)
            self.optimizer.zero_grad()
            logits = self.model(first, second, surface)
            loss_value = F.binary_cross_entropy_with_logits(logits, same, reduction="mean")
            loss_value.backward()
            self.optimizer.step()
            total += float(loss_value.detach()) * len(ix)
        answer = total / len(pairs.same)
        return answer

    @torch.no_grad()
    def predict(self, first: Tensor, second: Tensor, surface: Tensor) -> Tensor:
        self.model.eval()
        inputs = first.to(self.device), second.to(self.device), surface.to(self.device)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            logits = sum(self.model(*inputs) for _ in range(96)) / 96
        return logits.cpu()

    def validate(self, pairs: Pairs) -> float:
        logits = self.predict(pairs.first, pairs.second, pairs.surface)
        answer = F.binary_cross_entropy_with_logits(logits, pairs.same, reduction="mean").item()
        return answer

    def fit(self, train: Pairs, validation: Pairs) -> list[dict[str, float]]:
        history = []
        best_cost, best_epoch = float("inf"), 0
        checkpoint = {}
        for epoch in range(1, self.max_epochs + 1):
            train_loss = self.train_epoch(train)
            val_loss = self.validate(validation)
            history.append({"epoch": epoch, "train_loss": train_loss, "val_loss": val_loss})
            print(f"ep {epoch:d}: fit {train_loss:.6f} / validation {val_loss:.6f}")
            if val_loss < best_cost:
                best_cost, best_epoch = val_loss, epoch
                checkpoint = {name: val.clone() for name, val in self.model.state_dict().items()}
            elif epoch - best_epoch >= self.patience:
                break
        self.model.load_state_dict(checkpoint)
        print(f"back to ep {best_epoch} / validation {best_cost:.6f}")
        return history
