# task: shape-question_pairs-1
# mechanism: two-logit-cross-entropy
# about: The head tells two classes apart, trained with cross_entropy on class numbers, so that targets need no shape of a column;
# about: the saved score is the difference of the two logits, which is the logit of being the same.

"""Model code."""

import json
from pathlib import Path

import numpy as np
import torch
from model import PairModel
from trainer import Pairs, Trainer

# settings
ARCHIVE = Path("data")
SEED = 21
SHARE_TEST = 0.2
VALIDATION_SHARE = 0.15

def surface_of(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Surface of."""
    found = (first[:, :, None] == second[:, None, :]).any(axis=2) & (first != 0)
    counts = [(first != 0).sum(axis=1), (second != 0).sum(axis=1), found.sum(axis=1)]
    return np.stack(counts, axis=1).astype(np.float32)

def prepare(folder: Path, seed: int) -> tuple[Pairs, Pairs, Pairs, np.ndarray, tuple[torch.Tensor, ...]]:
    """Prepare."""
    with np.load(folder / "train.npz") as archive:
        pair, first, second = archive["pair"], archive["first"], archive["second"]
        same = archive["same"].astype(np.float32)
    with np.load(folder / "score.npz") as archive:
        first_score, second_score = archive["first"], archive["second"]

    row_order = np.random.default_rng(seed).permutation(len(pair))
    test_n = int(SHARE_TEST * len(row_order))
    dev_n = int(VALIDATION_SHARE * (len(row_order) - test_n))
    index_test, index_dev, index_train = row_order[:test_n], row_order[test_n : test_n + dev_n], row_order[test_n + dev_n :]

    surface = surface_of(first, second)
    mean = surface[index_train].mean(axis=0)
    sigma = surface[index_train].std(axis=0)
    surface_train = (surface[index_train] - mean) / sigma
    surface_dev = (surface[index_dev] - mean) / sigma
    surface_test = (surface[index_test] - mean) / sigma
    surface_score = (surface_of(first_score, second_score) - mean) / sigma

    train = Pairs(
        torch.from_numpy(first[index_train]),
        torch.from_numpy(second[index_train]),
        torch.from_numpy(surface_train),
        torch.from_numpy(same[index_train]),
    )
    validation = Pairs(
        torch.from_numpy(first[index_dev]),
        torch.from_numpy(second[index_dev]),
        torch.from_numpy(surface_dev),
        torch.from_numpy(same[index_dev]),
    )
    measure = Pairs(
        torch.from_numpy(first[index_test]),
        torch.from_numpy(second[index_test]),
        torch.from_numpy(surface_test),
        torch.from_numpy(same[index_test]),
    )
    score = tuple(
        torch.from_numpy(array) for array in (first_score, second_score, surface_score)
    )
    return train, validation, measure, pair[index_test], score

def run_job() -> None:
    torch.manual_seed(SEED)
    dev = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    train, validation, measure, pairs_test, score = prepare(ARCHIVE, SEED)
    vocabulary = int(torch.cat([train.first, train.second]).max()) + 1
    print(
        f"{len(train.same)} pairs, {vocabulary - 1} words, {train.same.mean():.1%} ask the same",
    )

    model = PairModel(
        vocabulary,
        columns=train.surface.shape[1],
        filters=32,
        inner=32,
        drop=0.25,
    )
    trainer = Trainer(
        model,
        dev,
        base_lr=1e-2,
        l2=1e-3,
        batch_rows=32,
        epoch_limit=8,
        patience=3,
    )
    history = trainer.fit(train, validation)

    logits_test = trainer.predict(measure.first, measure.second, measure.surface)
    right = ((logits_test > 0) == (measure.same > 0.5)).float().mean().item()
    print(f"{right:.1%} of {len(logits_test)} test pairs are right")

    kept = min(history, key=lambda entry: entry["val_loss"])
    final = {**kept, "test_accuracy": right}
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}, indent=2))
    # results
    np.savez(
        "predictions.npz",
        row=pairs_test,
        output=logits_test.numpy(),
        score=trainer.predict(*score).numpy(),
    )

# entry point
if __name__ == "__main__":
    run_job()
# === file: model.py ===
"""Model code."""

import torch
from torch import Tensor, nn

# the model
class QuestionEncoder(nn.Module):
    """"""

    def __init__(self, vocabulary: int, filters: int, drop: float) -> None:
        super().__init__()
        self.words = nn.EmbeddingBag(vocabulary, filters, mode="mean", padding_idx=0)
        self.dropout = nn.Dropout(p=drop)
        self.project = nn.Linear(filters, filters)

    def forward(self, question: Tensor) -> Tensor:
        return torch.tanh(self.project(self.dropout(self.words(question))))

class PairModel(nn.Module):
    """"""

    def __init__(self, vocabulary: int, columns: int, filters: int, inner: int, drop: float) -> None:
        super().__init__()
        self.encoder = QuestionEncoder(vocabulary, filters, drop)
        self.compare = nn.Sequential(
            nn.Linear(2 * filters + columns, inner),
            nn.ReLU(),
            nn.Dropout(p=drop),
        )
        self.classes = nn.Linear(inner, 2)

    def forward(self, first: Tensor, second: Tensor, surface: Tensor) -> Tensor:
        u, v = self.encoder(first), self.encoder(second)
        compared = self.compare(torch.cat([(u - v).abs(), u * v, surface], dim=1))
        return self.classes(compared)
# === file: trainer.py ===
"""Training script."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

class Pairs(NamedTuple):
    """What is known about some pairs."""

    first: Tensor
    second: Tensor
    surface: Tensor
    same: Tensor

class Trainer:
    """Fits a classifier of two classes; class 1 is "the same"."""

    def __init__(
        self,
        model: nn.Module,
        dev: torch.device,
        base_lr: float,
        l2: float,
        batch_rows: int,
        epoch_limit: int,
        patience: int,
    ) -> None:
        self.model = model.to(dev)
        self.device = dev
        self.chunk_size = batch_rows
        self.max_epochs = epoch_limit
        self.patience = patience
        self.optimizer = torch.optim.NAdam(self.model.parameters(), lr=base_lr, weight_decay=l2)

    def train_epoch(self, loader: DataLoader) -> float:
        self.model.train()
        total, seen = 0.0, 0
        for batch in loader:
            first, second, surface, same = (part.to(self.device) for part in batch)
            self.optimizer.zero_grad()
            cost = F.cross_entropy(self.model(first, second, surface), same.long())
            cost.backward()
            self.optimizer.step()
            total += cost.item() * len(same)
            seen += len(same)
        return total / seen

    @torch.no_grad()
    def class_logits(self, first: Tensor, second: Tensor, surface: Tensor) -> Tensor:
        self.model.eval()
        return self.model(first.to(self.device), second.to(self.device), surface.to(self.device)).cpu()

    def predict(self, first: Tensor, second: Tensor, surface: Tensor) -> Tensor:
        """The logit of asking the same: log p(same) - log p(different)."""
        other, same = self.class_logits(first, second, surface).unbind(dim=1)
        return same - other

    def validate(self, pairs: Pairs) -> float:
        return F.cross_entropy(self.class_logits(*pairs[:3]), pairs.same.long()).item()

    def fit(self, train: Pairs, validation: Pairs) -> list[dict[str, float]]:
        loader = DataLoader(TensorDataset(*train), batch_size=self.chunk_size, shuffle=True)
        history = []
        kept_objective, kept_epoch = float("inf"), 0
        checkpoint = {}
        for epoch in range(1, self.max_epochs + 1):
            train_loss = self.train_epoch(loader)
            val_loss = self.validate(validation)
            history.append({"epoch": epoch, "train_loss": train_loss, "val_loss": val_loss})
            print(f"Epoch {epoch:02d}: fit {train_loss:.6f}, validation {val_loss:.6f}")
            if val_loss < kept_objective:
                kept_objective, kept_epoch = val_loss, epoch
                checkpoint = {name: val.clone() for name, val in self.model.state_dict().items()}
            elif epoch - kept_epoch >= self.patience:
                break
        self.model.load_state_dict(checkpoint)
        print(f"back to Epoch {kept_epoch}, validation {kept_objective:.6f}")
        return history
