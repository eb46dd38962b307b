"""The hidden data, altered only where a correct job cannot look.

`alter` makes run 2: far-out rows, that no statistic over them can miss. A job could notice them and behave;
`swap` therefore alters the same rows in a way that looks like nothing: other rows of the same kind.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..clean_scripts.spec import DISCRETE, Array, Field, JobData, JobSpec
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
    """The data with its declared held-out rows altered; of its scoring rows half permuted, a quarter
    jittered and a quarter far-out.

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
    kept = np.setdiff1d(np.arange(len(data.train[spec.id_field])), places)
    for name, values in _far_rows(spec, data, kept, train, len(far), rng).items():
        train[name][places[far]] = values
    if labels:
        name = spec.label_field.name
        train[name][places] = _adversarial_labels(spec.label_field, train[name], places, output, moved)
        for field in spec.fields:
            if field.kind == "target":
                train[field.name][places] = train[field.name][np.roll(places, 1)]
    source = _trade_places(places[moved], None if labels else train[spec.label_field.name])
    for name, array in train.items():
        train[name][places[moved]] = array[source]
    score = _permute_half(data.score, score_order(data, seed))
    near, last = jittered_scores(len(data.score_labels))
    for field in spec.fields:
        if field.kind == "continuous" and score[field.name].dtype.kind == "f":
            score[field.name][near] += _jitter(score[field.name], near, rng)
    for name, values in _far_rows(spec, data, kept, score, len(last), rng).items():
        score[name][last] = values
    return JobData(train, score, data.score_labels)


EXTREMES_OF_A_COLUMN = 2
"""Rows taken from each end of a column when rows are swapped: what looks at the smallest and largest values
must meet new ones, and of 2,000 rows and more the outermost lie beyond those of a training set."""


def swap(spec: JobSpec, data: JobData, held_out: Array, *, seed: int, labels: bool = True) -> JobData:
    """The data with its declared held-out rows replaced by scoring rows, labels and all: rows like any other,
    preferably such with extreme values. Scoring rows stay as they are.

    labels: False for a job whose split reads labels: each row is then replaced by one of the same label.
    """
    rng = np.random.Generator(np.random.PCG64(int.from_bytes(digest("swap", seed)[:16], "big")))
    position = {int(row): index for index, row in enumerate(data.train[spec.id_field])}
    places = rng.permutation(np.array([position[int(row)] for row in held_out], dtype=np.int64))
    ranked = _extremes_first(spec, data, rng)
    name = spec.label_field.name
    train = {field: array.copy() for field, array in data.train.items()}
    if labels or spec.label_field.kind != "label_class":
        pairs = [(places, ranked[: len(places)])]
    else:
        pairs = []
        mine, theirs = _label_groups(train[name][places], data.score_labels[ranked])
        for group in np.unique(mine):
            here = places[mine == group]
            fitting = ranked[theirs == group][: len(here)]
            pairs.append((here[: len(fitting)], fitting))
    for here, source in pairs:
        here = here[: len(source)]
        for field in spec.features:
            train[field.name][here] = data.score[field.name][source]
        if labels:
            train[name][here] = data.score_labels[source].astype(train[name].dtype)
    return JobData(train, dict(data.score), data.score_labels)


RARE_ROWS = 64
"""Rows taken for a field of codes when rows are swapped: those that hold the rarest ones."""


def _extremes_first(spec: JobSpec, data: JobData, rng: np.random.Generator) -> Array:
    """All scoring rows, those with extreme values first, each once."""
    chosen: list[int] = []
    for field in spec.features:
        flat = data.score[field.name].reshape(len(data.score_labels), -1)
        if field.kind in DISCRETE:  # how rare a code is, instead of the code
            codes, counts = np.unique(flat, return_counts=True)
            flat = counts[np.searchsorted(codes, flat)]
            chosen += [int(row) for row in np.argsort(flat.min(axis=1), kind="stable")[:RARE_ROWS]]
            continue
        order = np.argsort(flat, axis=0, kind="stable")
        ends = np.concatenate([order[:EXTREMES_OF_A_COLUMN], order[-EXTREMES_OF_A_COLUMN:]], axis=0)
        chosen += [int(row) for row in ends[:, rng.permutation(flat.shape[1])].T.ravel()]
    rest = rng.permutation(len(data.score_labels))
    return np.array(list(dict.fromkeys([*chosen, *(int(row) for row in rest)])), dtype=np.int64)


def shuffle_labels(spec: JobSpec, data: JobData, *, seed: int) -> JobData:
    """The data with all labels of the training data permuted: nothing is left to be learned."""
    rng = np.random.Generator(np.random.PCG64(int.from_bytes(digest("shuffle", seed)[:16], "big")))
    train = dict(data.train)
    order = rng.permutation(len(train[spec.id_field]))
    for field in spec.fields:
        if field.kind == "target" or field == spec.label_field:
            train[field.name] = train[field.name][order]
    return JobData(train, dict(data.score), data.score_labels)


def kept_scores(rows: int) -> int:
    """How many scoring rows, from the first on, run 2 merely permutes."""
    return rows // 2


def jittered_scores(rows: int) -> tuple[Array, Array]:
    """The scoring rows that run 2 moves by next to nothing, and those that it makes far-out."""
    return np.arange(rows // 2, rows - rows // 4), np.arange(rows - rows // 4, rows)


JITTER = 1e-4
"""Of a column's spread: a hundredth of a percent moves a network's output by as little, unless something in
it hangs on the last digits of a row (a mask made from them, say)."""


def _jitter(values: Array, rows: Array, rng: np.random.Generator) -> Array:
    flat = values.reshape(len(values), -1).astype(np.float64)
    spread = np.maximum(flat.std(axis=0), flat.std() * 0.01)
    moved = spread * JITTER * rng.choice([-1.0, 1.0], size=(len(rows), flat.shape[1]))
    shaped: Array = moved.reshape(len(rows), *values.shape[1:]).astype(values.dtype)
    return shaped


def score_order(data: JobData, seed: int) -> Array:
    """Which scoring row stands at each place of run 2: the first half permuted, the rest in place."""
    rows = len(data.score_labels)
    rng = np.random.Generator(np.random.PCG64(int.from_bytes(digest("score order", seed)[:16], "big")))
    order: Array = np.concatenate([rng.permutation(rows // 2), np.arange(rows // 2, rows)])
    return order


def _permute_half(score: Mapping[str, Array], order: Array) -> dict[str, Array]:
    return {name: array[order] for name, array in score.items()}


def _trade_places(places: Array, groups: Array | None) -> Array:
    """For each place, where its new content comes from: a cycle through all, or through those of each label.

    groups: the label of every row, shape (rows, ...), or None.
    """
    source = places.copy()
    (keys,) = (np.zeros(len(places)),) if groups is None else _label_groups(groups[places])
    for key in np.unique(keys):
        members = np.flatnonzero(keys == key)
        source[members] = places[np.roll(members, 1)]
    return source


def _label_groups(*labels: Array) -> list[Array]:
    """For each of some arrays of labels, shape (rows, ...), the number of each row's label: equal where whole
    labels, with all their columns, are equal, and in the order of the labels."""
    flat = [array.reshape(len(array), -1) for array in labels]
    numbers = np.unique(np.concatenate(flat), axis=0, return_inverse=True)[1].reshape(-1)
    return np.split(numbers, np.cumsum([len(array) for array in flat])[:-1])


DONORS = 5
"""Rows that far-out rows take their sequences and structures from, and codes of a column that they take: so
few that whatever counts them sees its counts move."""


def _far_rows(
    spec: JobSpec, data: JobData, kept: Array, part: Mapping[str, Array], rows: int, rng: np.random.Generator
) -> dict[str, Array]:
    """Field → values for a number of far-out rows of a part (training or scoring) of the data. Codes and
    structures are those of training rows that are `kept`."""
    coded = len(kept) > 0 and any(field.kind in DISCRETE for field in spec.features)
    donor = (
        kept[rng.permutation(len(kept))[:DONORS]][np.arange(rows) % min(DONORS, len(kept))] if coded else kept
    )
    found: dict[str, Array] = {}
    for field in spec.features:
        values = data.train[field.name]
        if field.kind == "continuous":
            found[field.name] = _far_values(part[field.name], field, rows, rng)
        elif not coded:
            continue
        elif field.kind == "category":
            found[field.name] = _rare_codes(values[kept], rows, rng)
        elif field.kind == "tokens":
            found[field.name] = _shuffled_tokens(values[donor], rng)
        else:
            found[field.name] = values[donor]
    return found


def _rare_codes(values: Array, rows: int, rng: np.random.Generator) -> Array:
    """For each column, codes drawn from its rarest ones."""
    columns = []
    for column in values.reshape(len(values), -1).T:
        codes, counts = np.unique(column, return_counts=True)
        columns.append(rng.choice(codes[np.argsort(counts, kind="stable")[:DONORS]], size=rows))
    drawn: Array = np.stack(columns, axis=1).reshape(rows, *values.shape[1:]).astype(values.dtype)
    return drawn


def _shuffled_tokens(sequences: Array, rng: np.random.Generator) -> Array:
    """The same tokens of each sequence in another order, so that no two are equal; padding stays in place."""
    shuffled = sequences.copy()
    for row in shuffled:
        used = np.flatnonzero(row)
        row[used] = row[rng.permutation(used)]
    return shuffled


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


BEYOND = 4
"""How many ranges of the labels an adversarial number lies beyond them, for rows that are not far-out
themselves. What a network says of far-out rows is arbitrary, and its errors there are large: with labels from
the usual range they alone decided which checkpoint a job that selects on held-out rows kept, and once in a
hundred it was the same one as before."""


def _adversarial_labels(field: Field, labels: Array, places: Array, output: Array, moved: Array) -> Array:
    """For each held-out row a label that its prediction agrees with least.

    places: where they stand. moved: which of them stay rows like any other; where labels are numbers, theirs
    lie far beyond.
    """
    turn = np.arange(len(places))
    guess = np.nan_to_num(output)
    shape = (len(places), *labels.shape[1:])
    odd = (turn % 4 == 3).reshape(-1, *[1] * (labels.ndim - 1))
    chosen: Array
    if field.kind == "label_class" and field.classes:  # the output has no entry a class
        chosen = (labels[places] + 1 + odd) % field.classes
    elif field.kind == "label_class":
        ranked = np.argsort(guess, axis=-1, kind="stable")
        chosen = np.where(odd & (ranked.shape[-1] > 2), ranked[..., 1], ranked[..., 0])
    elif field.kind == "label_binary":
        against = guess.reshape(shape) <= np.median(guess.reshape(shape), axis=0)
        chosen = against ^ (odd & (turn % 8 == 3).reshape(odd.shape))
    else:
        ordered = np.sort(labels.reshape(len(labels), -1), axis=0).astype(np.float64)
        flat = guess.reshape(len(places), -1)
        flat = flat if flat.shape[1] == ordered.shape[1] else flat.mean(axis=1, keepdims=True)
        high = flat > (ordered[0] + ordered[-1]) / 2
        chosen = np.where(high, ordered[turn % EXTREMES], ordered[-1 - turn % EXTREMES])
        reach = BEYOND * (ordered[-1] - ordered[0])
        chosen[moved] += np.where(high[moved], -reach, reach)
    return chosen.reshape(shape).astype(labels.dtype)
