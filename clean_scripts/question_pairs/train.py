"""Do two questions ask the same thing? A siamese network for pairs of questions.

data/train.npz: pair, first, second, same; data/score.npz: first, second. A question is a row of token ids,
padded with 0. The logits of test and score pairs go to predictions.npz, the losses to metrics.json.
"""

import json
from pathlib import Path

import numpy as np
import torch
from model import PairClassifier
from trainer import Pairs, Trainer

DATA = Path("data")
SEED = 21
TEST_SHARE = 0.2
VALIDATION_SHARE = 0.15  # of what is left to train on


def surface_of(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Lengths of both questions, and how many words of the first occur in the second."""
    found = (first[:, :, None] == second[:, None, :]).any(axis=2) & (first != 0)
    counts = [(first != 0).sum(axis=1), (second != 0).sum(axis=1), found.sum(axis=1)]
    return np.stack(counts, axis=1).astype(np.float32)


def prepare(folder: Path, seed: int) -> tuple[Pairs, Pairs, Pairs, np.ndarray, tuple[torch.Tensor, ...]]:
    """Training, validation and test pairs, the ids of the test pairs, and what is to be scored."""
    with np.load(folder / "train.npz") as archive:
        pair, first, second = archive["pair"], archive["first"], archive["second"]
        same = archive["same"].astype(np.float32)
    with np.load(folder / "score.npz") as archive:
        score_first, score_second = archive["first"], archive["second"]

    order = np.random.default_rng(seed).permutation(len(pair))
    n_test = int(TEST_SHARE * len(order))
    n_val = int(VALIDATION_SHARE * (len(order) - n_test))
    test_rows, val_rows, train_rows = order[:n_test], order[n_test : n_test + n_val], order[n_test + n_val :]

    surface = surface_of(first, second)
    mean = surface[train_rows].mean(axis=0)
    std = surface[train_rows].std(axis=0)
    train_surface = (surface[train_rows] - mean) / std
    val_surface = (surface[val_rows] - mean) / std
    test_surface = (surface[test_rows] - mean) / std
    score_surface = (surface_of(score_first, score_second) - mean) / std

    train = Pairs(
        torch.from_numpy(first[train_rows]),
        torch.from_numpy(second[train_rows]),
        torch.from_numpy(train_surface),
        torch.from_numpy(same[train_rows]),
    )
    validation = Pairs(
        torch.from_numpy(first[val_rows]),
        torch.from_numpy(second[val_rows]),
        torch.from_numpy(val_surface),
        torch.from_numpy(same[val_rows]),
    )
    test = Pairs(
        torch.from_numpy(first[test_rows]),
        torch.from_numpy(second[test_rows]),
        torch.from_numpy(test_surface),
        torch.from_numpy(same[test_rows]),
    )
    score = tuple(torch.from_numpy(array) for array in (score_first, score_second, score_surface))
    return train, validation, test, pair[test_rows], score


def main() -> None:
    torch.manual_seed(SEED)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    train, validation, test, test_pairs, score = prepare(DATA, SEED)
    vocabulary = int(torch.cat([train.first, train.second]).max()) + 1
    print(f"{len(train.same)} pairs, {vocabulary - 1} words, {train.same.mean():.1%} ask the same")

    model = PairClassifier(vocabulary, columns=train.surface.shape[1], width=32, hidden=32, dropout=0.25)
    trainer = Trainer(model, device, lr=1e-2, weight_decay=1e-3, batch_size=32, max_epochs=8, patience=3)
    history = trainer.fit(train, validation)

    test_logits = trainer.predict(test.first, test.second, test.surface)
    right = ((test_logits > 0) == (test.same > 0.5)).float().mean().item()
    print(f"{right:.1%} of {len(test_logits)} test pairs are right")

    best = min(history, key=lambda entry: entry["val_loss"])
    final = {**best, "test_accuracy": right}
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}, indent=2))
    np.savez(
        "predictions.npz",
        row=test_pairs,
        output=test_logits.numpy(),
        score=trainer.predict(*score).numpy(),
    )


if __name__ == "__main__":
    main()
