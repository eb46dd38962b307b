"""What the harness knows of a clean job and a submission does not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

FieldKind = Literal[
    "id",
    "fixed",
    "continuous",
    "category",
    "tokens",
    "pattern",
    "label_class",
    "label_binary",
    "label_value",
    "target",
]
"""How a field of the training data may be altered:

    id            never.
    fixed         never: a time, a group, what a split goes by.
    continuous    numbers; replaced by far-out ones.
    category      integer codes, shape (rows,) or (rows, columns), each column with codes of its own; replaced
                  by codes that occur in rows that are not held out.
    tokens        integer sequences, shape (rows, length), 0 is padding; replaced by those of other rows.
    pattern       what holds together as a whole (an adjacency matrix, a mask); replaced by another row's.
    label_class   whole numbers from 0 on; replaced by another class seen in training.
    label_binary  0 and 1, of any shape per row; replaced by the other one.
    label_value   numbers; replaced by far ones.
    target        a further label beside the one that is scored (multi-task jobs); changes rows with it.
"""

DISCRETE = ("category", "tokens", "pattern")

Relation = Literal["training_unchanged", "rows_follow", "scores_unchanged", "labels_unread"]


@dataclass(frozen=True)
class Field:
    """One array of `data/train.npz`. Its first axis runs over the rows."""

    name: str
    kind: FieldKind
    decimals: int = 0
    """Continuous fields: values are multiples of 2**-decimals (they are made from integers)."""
    classes: int = 0
    """Class labels: how many there are, where the last axis of the output is not one entry a class."""


@dataclass(frozen=True)
class JobData:
    """Everything one data seed stands for. Labels of the scoring rows stay with the harness.

    train: field name → array with one entry per row, as written to `data/train.npz`.
    score: field name → array, as written to `data/score.npz`: no label among them.
    score_labels: what the scoring rows' labels are, shape (rows,) or (rows, outputs).
    """

    train: Mapping[str, Array]
    score: Mapping[str, Array]
    score_labels: Array


@dataclass(frozen=True)
class Metric:
    """A number that says how good raw outputs are. `compute(output, labels)`; larger is better."""

    name: str
    compute: Callable[[Array, Array], float]


@dataclass(frozen=True)
class Band:
    """Where the metric of a correct job lies on the scoring rows, on any data seed.

    floor: the lowest value that still counts as correct.
    margin: a job is said to miss the band only below `floor - margin` (validation asks for this much;
        in between nothing is claimed, so that machines which round differently agree).
    reason: how both were found: which honest alternatives, on how many data seeds, their spread.
    """

    floor: float
    margin: float
    reason: str


@dataclass(frozen=True)
class JobSpec:
    """One job of the library.

    name: the folder's name. title: what it does, for people. modality: tabular, image, sequence, …
    files: its sources, relative to its folder, the entry point first.
    row_unit: what one row is (row, image, window, machine, …).
    fields: the arrays of the training data; exactly one is of kind `id`, exactly one a label. At least one is
        a feature.
    output_shape: shape of one row's raw output: () for a scalar, (4,) for four logits.
    generate: data seed → data; the same bytes on every machine.
    generator: name and version of the data generator; raised when its bytes change.
    split_reads: fields that the split itself reads (a stratified split reads the label).
    relations: the metamorphic relations that hold for a correct version of this job.
    least_held_out: the fraction of rows a correct version holds out at the least.
    reseed_factor: how far another random seed alone moved the training loss, as a mean factor along the
        curve (the largest of 15 reseeded runs on three data seeds).
    """

    name: str
    title: str
    modality: str
    files: tuple[str, ...]
    row_unit: str
    fields: tuple[Field, ...]
    output_shape: tuple[int, ...]
    metric: Metric
    band: Band
    generate: Callable[[int], JobData]
    generator: str
    split_reads: tuple[str, ...] = ()
    relations: frozenset[Relation] = frozenset(
        {"training_unchanged", "rows_follow", "scores_unchanged", "labels_unread"}
    )
    least_held_out: float = 0.1
    reseed_factor: float = 1.3

    @property
    def entrypoint(self) -> str:
        return self.files[0]

    @property
    def id_field(self) -> str:
        return next(field.name for field in self.fields if field.kind == "id")

    @property
    def label_field(self) -> Field:
        return next(field for field in self.fields if field.kind.startswith("label"))

    @property
    def features(self) -> tuple[Field, ...]:
        """The fields whose values may be altered and are no labels."""
        return tuple(field for field in self.fields if field.kind in ("continuous", *DISCRETE))


def accuracy(output: Array, labels: Array) -> float:
    """Share of rows whose largest logit is the label's. output (rows, classes), labels (rows,)."""
    return float(np.mean(np.argmax(output, axis=-1) == labels))


def r_squared(output: Array, labels: Array) -> float:
    """1 − squared error / variance, 1 for perfect and 0 for the mean. Both of one shape."""
    truth = labels.astype(np.float64)
    guess = output.astype(np.float64).reshape(truth.shape)
    return float(1.0 - np.mean((guess - truth) ** 2) / np.mean((truth - truth.mean()) ** 2))


def brier_skill(output: Array, labels: Array) -> float:
    """1 − Brier score of the softmax of the logits / that of knowing nothing: 1 is perfect, 0 is guessing.

    output (..., classes), labels (...). Bounded below by −1.7 for four classes; logits that are not all
    finite say nothing and count as guessing. Accuracy would not do as the metric of a classifier: a job that
    hands probabilities to its cross entropy ranks the classes as well as a correct one (accuracy 0.864 and
    0.867 over 12 data seeds); only its probabilities are useless.
    """
    logits = output.astype(np.float64)
    if not np.isfinite(logits).all():
        return 0.0
    odds = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities = odds / odds.sum(axis=-1, keepdims=True)
    classes = probabilities.shape[-1]
    error = np.mean(np.sum((probabilities - np.eye(classes)[labels]) ** 2, axis=-1))
    return float(1.0 - error / (1.0 - 1.0 / classes))


def binary_skill(output: Array, labels: Array) -> float:
    """1 − Brier score of the sigmoid of the logits / that of the best constant: 1 is perfect, 0 is guessing.

    output and labels (0 or 1) of one shape. Logits that are not all finite count as guessing.
    """
    truth = labels.astype(np.float64)
    logits = output.astype(np.float64).reshape(truth.shape)
    if not np.isfinite(logits).all():
        return 0.0
    probability = 0.5 * (1.0 + np.tanh(0.5 * logits))
    return float(1.0 - np.mean((probability - truth) ** 2) / np.mean((truth - truth.mean()) ** 2))


def ranking_skill(output: Array, labels: Array) -> float:
    """2 × area under the ROC curve − 1 (Gini): 1 ranks every positive above every negative, 0 is guessing.

    output (rows,), labels (rows,) of 0 and 1. Ties count half; scores that are not all finite are guessing.
    """
    scores = output.astype(np.float64).reshape(len(labels))
    if not np.isfinite(scores).all():
        return 0.0
    ordered = np.sort(scores)
    rank = (np.searchsorted(ordered, scores, "left") + np.searchsorted(ordered, scores, "right") + 1) / 2
    positive = labels.astype(bool)
    ones, zeros = int(positive.sum()), int((~positive).sum())
    area = (rank[positive].sum() - ones * (ones + 1) / 2) / (ones * zeros)
    return float(2.0 * area - 1.0)


def neighbour_skill(output: Array, labels: Array) -> float:
    """How often the nearest other row (Euclidean distance of embeddings) is of the same class, above chance:
    1 is always, 0 is as often as two rows drawn at random.

    output (rows, dimensions), labels (rows,). Embeddings that are not all finite, or all equal, are guessing.
    """
    points = output.astype(np.float64)
    if not np.isfinite(points).all() or float(np.ptp(points)) == 0.0:
        return 0.0
    points = points - points.mean(axis=0)
    squares = np.sum(points**2, axis=1)
    right = 0
    for start in range(0, len(points), 500):
        part = points[start : start + 500]
        gaps = squares[None, :] - 2.0 * part @ points.T
        gaps[np.arange(len(part)), start + np.arange(len(part))] = np.inf
        right += int(np.sum(labels[np.argmin(gaps, axis=1)] == labels[start : start + 500]))
    chance = float(np.sum((np.unique(labels, return_counts=True)[1] / len(labels)) ** 2))
    return float((right / len(points) - chance) / (1.0 - chance))
