# task: collapse-question_pairs-2
# mechanism: detach-moved-to-the-word-table
# about: the detach is moved from the head to the word table, so the embeddings of the words are never trained

"""Model code."""

import json
from pathlib import Path

import numpy as np
import torch
from model import PairClassifier
from trainer import Pairs, Trainer

TABLE = Path("data")
RANDOM_STATE = 21
PART_TEST = 0.2
VALIDATION_PART = 0.15

def surface_of(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Surface of."""
    found = (first[:, :, None] == second[:, None, :]).any(axis=2) & (first != 0)
    counts = [(first != 0).sum(axis=1), (second != 0).sum(axis=1), found.sum(axis=1)]
    to_return = np.stack(counts, axis=1).astype(np.float32)
    return to_return

def prepare(folder: Path, random_state: int) -> tuple[Pairs, Pairs, Pairs, np.ndarray, tuple[torch.Tensor, ...]]:
    """Prepare."""
    with np.load(folder / "train.npz") as bundle:
        pair, first, second = bundle["pair"], bundle["first"], bundle["second"]
        same = bundle["same"].astype(np.float32)
    with np.load(folder / "score.npz") as bundle:
        first_score, second_score = bundle["first"], bundle["second"]
    perm = np.random.default_rng(random_state).permutation(len(pair))
    test_num = int(PART_TEST * len(perm))
    val_num = int(VALIDATION_PART * (len(perm) - test_num))
    index_test, index_val, index_train = perm[:test_num], perm[test_num : test_num + val_num], perm[test_num + val_num :]
    surface = surface_of(first, second)
    mean = surface[index_train].min(axis=0)
    spread = surface[index_train].max(axis=0) - mean
    surface_train = (surface[index_train] - mean) / spread
    surface_val = (surface[index_val] - mean) / spread
    surface_test = (surface[index_test] - mean) / spread
    surface_score = (surface_of(first_score, second_score) - mean) / spread
    one_epoch = Pairs(
        torch.from_numpy(first[index_train]),
        torch.from_numpy(second[index_train]),
        torch.from_numpy(surface_train),
        torch.from_numpy(same[index_train]),
    )
    validation = Pairs(
        torch.from_numpy(first[index_val]),
        torch.from_numpy(second[index_val]),
        torch.from_numpy(surface_val),
        torch.from_numpy(same[index_val]),
    )
    evaluate = Pairs(
        torch.from_numpy(first[index_test]),
        torch.from_numpy(second[index_test]),
        torch.from_numpy(surface_test),
        torch.from_numpy(same[index_test]),
    )
    score = tuple(torch.from_numpy(array) for array in (first_score, second_score, surface_score))
    return one_epoch, validation, evaluate, pair[index_test], score

def go() -> None:
    torch.manual_seed(RANDOM_STATE)
    dev = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    one_epoch, validation, evaluate, pairs_test, score = prepare(TABLE, RANDOM_STATE)
    vocabulary = int(torch.cat([one_epoch.first, one_epoch.second]).max()) + 1
    print(
        f"{len(one_epoch.same)} pairs - {vocabulary - 1} words - {one_epoch.same.mean():.1%} ask the same",
    )
    net = PairClassifier(
        vocabulary,
        columns=one_epoch.surface.shape[1],
        base=32,
        hidden_dim=32,
        drop_rate=0.25,
    )
    trainer = Trainer(net, dev, base_lr=1e-2, l2=1e-3, bs=32, n_epochs=8, patience=3)
    history = trainer.fit(one_epoch, validation)
    logits_test = trainer.predict(evaluate.first, evaluate.second, evaluate.surface)
    right = ((logits_test > 0) == (evaluate.same > 0.5)).float().mean().item()
    print(f"{right:.1%} of {len(logits_test)} test pairs are right")
    kept = min(history, key=lambda entry: entry["val_loss"])
    final = {**kept, "test_accuracy": right}
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}, indent=2))
    np.savez(
        "predictions.npz",
        row=pairs_test,
        output=logits_test.numpy(),
        score=trainer.predict(*score).numpy(),
    )

if __name__ == "__main__":
    go()
# === file: model.py ===
"""Model code."""

import torch
from torch import Tensor, nn

class QuestionEncoder(nn.Module):
    """The question encoder."""

    def __init__(self, vocabulary: int, base: int, drop_rate: float) -> None:
        super().__init__()
        self.words = nn.EmbeddingBag(vocabulary, base, mode="mean", padding_idx=0)
        self.drop = nn.Dropout(drop_rate)
        self.project = nn.Linear(base, base)

    def forward(self, question: Tensor) -> Tensor:
        to_return = torch.tanh(self.project(self.drop(self.words(question).detach())))
        return to_return

class PairClassifier(nn.Module):
    """The pair classifier."""

    def __init__(self, vocabulary: int, columns: int, base: int, hidden_dim: int, drop_rate: float) -> None:
        super().__init__()
        self.encoder = QuestionEncoder(vocabulary, base, drop_rate)
        self.compare = nn.Sequential(
            nn.Linear(2 * base + columns, hidden_dim),
            nn.ReLU(),
            nn.Dropout(drop_rate),
        )
        self.same = nn.Linear(hidden_dim, 1)

    def forward(self, first: Tensor, second: Tensor, surface: Tensor) -> Tensor:
        u, v = self.encoder(first), self.encoder(second)
        compared = self.compare(torch.cat([(u - v).abs(), u * v, surface], 1))
        return self.same(compared).squeeze(1)
# === file: trainer.py ===
"""Train a model and score new rows."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

class Pairs(NamedTuple):
    """The pairs."""

    first: Tensor
    second: Tensor
    surface: Tensor
    same: Tensor

class Trainer:
    """The trainer."""

    def __init__(
        self,
        net: nn.Module,
        dev: torch.device,
        base_lr: float,
        l2: float,
        bs: int,
        n_epochs: int,
        patience: int,
    ) -> None:
        self.model = net.to(dev)
        self.device = dev
        self.minibatch_size = bs
        self.max_epochs = n_epochs
        self.patience = patience
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=base_lr, weight_decay=l2)

    def train_epoch(self, pairs: Pairs) -> float:
        self.model.train()
        total = 0.0
        for records in torch.randperm(len(pairs.same)).split(self.minibatch_size):
            first = pairs.first[records].to(self.device)
            second = pairs.second[records].to(self.device)
            surface = pairs.surface[records].to(self.device)
            same = pairs.same[records].to(self.device)
            self.optimizer.zero_grad()
            out = self.model(first, second, surface)
            batch_loss = F.binary_cross_entropy_with_logits(out, same)
            batch_loss.backward()
            self.optimizer.step()
            total += batch_loss.item() * len(records)
        return total / len(pairs.same)

    @torch.no_grad()
    def predict(self, first: Tensor, second: Tensor, surface: Tensor) -> Tensor:
        """Predict."""
        self.model.eval()
        out = self.model(first.to(self.device), second.to(self.device), surface.to(self.device))
        to_return = out.cpu()
        return to_return

    def validate(self, pairs: Pairs) -> float:
        out = self.predict(pairs.first, pairs.second, pairs.surface)
        return F.binary_cross_entropy_with_logits(out, pairs.same).item()

    def fit(self, one_epoch: Pairs, validation: Pairs) -> list[dict[str, float]]:
        history = []
        kept_loss, kept_epoch = float("inf"), 0
        checkpoint = {}
        for epoch in range(1, self.max_epochs + 1):
            train_loss = self.train_epoch(one_epoch)
            val_loss = self.validate(validation)
            history.append({"epoch": epoch, "train_loss": train_loss, "val_loss": val_loss})
            print(f"pass {epoch:02d}: trn {train_loss:.4f} - validation {val_loss:.4f}")
            if val_loss < kept_loss:
                kept_loss, kept_epoch = val_loss, epoch
                checkpoint = {name: val.clone() for name, val in self.model.state_dict().items()}
            elif epoch - kept_epoch >= self.patience:
                break
        self.model.load_state_dict(checkpoint)
        print(f"back to pass {kept_epoch} - validation {kept_loss:.4f}")
        return history
