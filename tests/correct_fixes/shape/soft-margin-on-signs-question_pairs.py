# task: shape-question_pairs-1
# mechanism: soft-margin-on-signs
# about: The loss becomes soft_margin_loss of the flat scores against answers of -1 and +1, which is the same number as the cross entropy;
# about: one objective method serves training and validation.

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
        self.same = nn.Linear(inner, 1)

    def forward(self, first: Tensor, second: Tensor, surface: Tensor) -> Tensor:
        u, v = self.encoder(first), self.encoder(second)
        compared = self.compare(torch.cat([(u - v).abs(), u * v, surface], dim=1))
        return self.same(compared).squeeze(1)
# === file: trainer.py ===
"""Training script."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

class Pairs(NamedTuple):
    """"""

    first: Tensor
    second: Tensor
    surface: Tensor
    same: Tensor

class Trainer:
    """"""

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
        self.optimizer = torch.optim.NAdam(
            self.model.parameters(),
            lr=base_lr,
            weight_decay=l2,
        )

    @staticmethod
    def objective(raw_scores: Tensor, same: Tensor) -> Tensor:
        """log(1 + exp(-sign * score)): the cross entropy of a logit, for one score a pair."""
        if raw_scores.shape != same.shape:
            raise ValueError(f"scores {tuple(raw_scores.shape)}, answers {tuple(same.shape)}")
        return F.soft_margin_loss(raw_scores, 2.0 * same - 1.0)

    def train_epoch(self, pairs: Pairs) -> float:
        self.model.train()
        total = 0.0
        for row_ids in torch.randperm(len(pairs.same)).split(self.chunk_size):
            first = pairs.first[row_ids].to(self.device)
            second = pairs.second[row_ids].to(self.device)
            surface = pairs.surface[row_ids].to(self.device)
            same = pairs.same[row_ids].to(self.device)
            self.optimizer.zero_grad()
            raw_scores = self.model(first, second, surface)
            cost = self.objective(raw_scores, same)
            cost.backward()
            self.optimizer.step()
            total += cost.item() * len(row_ids)
        return total / len(pairs.same)

    @torch.no_grad()
    def predict(self, first: Tensor, second: Tensor, surface: Tensor) -> Tensor:
        """Predict."""
        self.model.eval()
        raw_scores = self.model(
            first.to(self.device),
            second.to(self.device),
            surface.to(self.device),
        )
        return raw_scores.cpu()

    def validate(self, pairs: Pairs) -> float:
        raw_scores = self.predict(pairs.first, pairs.second, pairs.surface)
        return self.objective(raw_scores, pairs.same).item()

    def fit(self, train: Pairs, validation: Pairs) -> list[dict[str, float]]:
        history = []
        kept_objective, kept_epoch = float("inf"), 0
        checkpoint = {}
        # main loop
        for epoch in range(1, self.max_epochs + 1):
            train_loss = self.train_epoch(train)
            val_loss = self.validate(validation)
            history.append(
                {"epoch": epoch, "train_loss": train_loss, "val_loss": val_loss},
            )
            print(f"Epoch {epoch:02d}: fit {train_loss:.6f}, validation {val_loss:.6f}")
            if val_loss < kept_objective:
                kept_objective, kept_epoch = val_loss, epoch
                checkpoint = {name: val.clone() for name, val in self.model.state_dict().items()}
            elif epoch - kept_epoch >= self.patience:
                break
        self.model.load_state_dict(checkpoint)
        print(f"back to Epoch {kept_epoch}, validation {kept_objective:.6f}")
        return history
