"""Run 2's data: the hidden data, altered only where a correct job cannot look."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..clean_scripts.spec import Array, Field, JobData, JobSpec
from ..seeds import digest

NEAREST_FAR, FARTHEST_FAR = 8, 32
"""How many deviations from the median a far-out value lies. Copies of other rows move order statistics too
rarely (a min-max leak went unseen in 11 of 30 trials); at 8 to 32 deviations it was seen in all 20."""

NEAR_TWINS = 4
"""Every fourth far-out row repeats one fresh row up to its last digits, so that what counts or remembers
values sees something new and `drop_duplicates` still drops nothing."""


def alter(
    spec: JobSpec,
    data: JobData,
    held_out: Array,
    output: Array,
    *,
    seed: int,
    labels: bool = True,
) -> JobData:
    """The data with its declared held-out rows altered, and half of its scoring rows permuted.

    Args:
        held_out: ids of the rows that the job declared held out in run 1, shape (n,).
        output: the job's raw output for each of them, shape (n, *output_shape).
        labels: whether labels are altered too. False for a job whose split reads labels: then rows change
            places only with rows of the same label.

    Half of the held-out rows (set A) trade places among themselves; the other half (set B) become far-out.
    """
    rng = np.random.Generator(np.random.PCG64(int.from_bytes(digest("alter", seed)[:16], "big")))
    position = {int(row): index for index, row in enumerate(data.train[spec.id_field])}
    places = np.array([position[int(row)] for row in held_out], dtype=np.int64)
    order = rng.permutation(len(places))
    moved, far = order[: len(order) // 2], order[len(order) // 2 :]

    train = {name: array.copy() for name, array in data.train.items()}
    for field in spec.fields:
        if field.kind == "continuous":
            train[field.name][places[far]] = _far_values(train[field.name], field, len(far), rng)
    if labels:
        name = spec.label_field.name
        train[name][places] = _adversarial_labels(spec.label_field, train[name], output)
    source = _trade_places(places[moved], None if labels else train[spec.label_field.name])
    for name, array in train.items():
        train[name][places[moved]] = array[source]
    return JobData(train, _permute_half(data.score, score_order(data, seed)), data.score_labels)


def score_order(data: JobData, seed: int) -> Array:
    """Which original scoring row stands at each place of run 2: the first half permuted, the rest alone."""
    rows = len(data.score_labels)
    rng = np.random.Generator(np.random.PCG64(int.from_bytes(digest("score order", seed)[:16], "big")))
    order: Array = np.concatenate([rng.permutation(rows // 2), np.arange(rows // 2, rows)])
    return order


def _permute_half(score: Mapping[str, Array], order: Array) -> dict[str, Array]:
    return {name: array[order] for name, array in score.items()}


def _trade_places(places: Array, groups: Array | None) -> Array:
    """For each place, where its new content comes from: a cycle through all, or through each label's."""
    source = places.copy()
    keys = np.zeros(len(places)) if groups is None else groups[places]
    for key in np.unique(keys):
        members = np.flatnonzero(keys == key)
        source[members] = places[np.roll(members, 1)]
    return source


def _far_values(values: Array, field: Field, rows: int, rng: np.random.Generator) -> Array:
    """Rows of values 8 to 32 deviations from the median, multiples of the field's step."""
    flat = values.reshape(len(values), -1).astype(np.float64)
    median = np.median(flat, axis=0)
    spread = np.median(np.abs(flat - median), axis=0) * 1.4826
    spread = np.maximum(spread, max(float(flat.std()), 2.0**-field.decimals) * 0.1)
    times = rng.integers(NEAREST_FAR, FARTHEST_FAR + 1, size=(rows, flat.shape[1]))
    far = median + spread * times * rng.choice([-1.0, 1.0], size=times.shape)
    far[::NEAR_TWINS] = far[:1]
    step = 2.0**-field.decimals
    far = np.round(far / step) * step
    far[::NEAR_TWINS] += step * np.arange(len(far[::NEAR_TWINS]))[:, None]
    shaped: Array = far.reshape(rows, *values.shape[1:]).astype(values.dtype)
    return shaped


EXTREMES = 16
"""Adversarial values are drawn from this many of the lowest or highest labels, and a quarter of adversarial
classes are the second least likely: a job whose predictions are constant must not meet labels that are all
the same, since its own report (a variance, an area under a curve) may then divide by zero."""


def _adversarial_labels(field: Field, labels: Array, output: Array) -> Array:
    """For each held-out row a label that its prediction agrees with least."""
    turn = np.arange(len(output))
    chosen: Array
    if field.kind == "label_class":
        ranked = np.argsort(np.nan_to_num(output), axis=-1, kind="stable")
        chosen = np.where((turn % 4 == 3) & (ranked.shape[1] > 2), ranked[:, 1], ranked[:, 0])
    else:
        ordered = np.sort(labels)
        guess = np.nan_to_num(output).reshape(len(output), -1).mean(axis=1)
        middle = (float(ordered[0]) + float(ordered[-1])) / 2
        chosen = np.where(guess > middle, ordered[turn % EXTREMES], ordered[-1 - turn % EXTREMES])
    return chosen.astype(labels.dtype)
