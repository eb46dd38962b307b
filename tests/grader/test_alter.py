"""Run 2's data: what is altered, what is not, and that it can be undone for comparison."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from mldebug.clean_scripts.data import Integers, fixed
from mldebug.clean_scripts.library import job_names, load_job
from mldebug.clean_scripts.spec import Array, Field, FieldKind, JobData, JobSpec
from mldebug.grader.alter import (
    BEYOND,
    FARTHEST_FAR,
    NEAREST_FAR,
    alter,
    jittered_scores,
    kept_scores,
    score_order,
    shuffle_labels,
    swap,
)


def several_columns(kind: FieldKind) -> JobSpec:
    """A job whose labels have two columns and more: no script, only data."""
    columns, decimals = {"label_class": 2, "label_binary": 3, "label_value": 4}[kind], 4

    def generate(seed: int) -> JobData:
        draw = Integers(f"several columns {kind}", seed)
        x = fixed(draw.bell("x", (2300, 5)), decimals)
        y = draw.below("y", 2 if kind == "label_binary" else 3, (2300, columns))
        if kind == "label_value":
            y = fixed(draw.bell("y", (2300, columns)) + 500 * np.arange(columns), decimals)
        train = {"row": 7 + draw.permutation("row", 300), "x": x[:300], "y": y[:300]}
        return JobData(train, {"x": x[300:]}, y[300:])

    return replace(
        load_job(job_names()[0]),
        name=f"several_columns_{kind}",
        fields=(Field("row", "id"), Field("x", "continuous", decimals=decimals), Field("y", kind)),
        output_shape=(columns, 3) if kind == "label_class" else (columns,),
        generate=generate,
    )


SEVERAL_COLUMNS = {
    spec.name: spec for spec in map(several_columns, ("label_class", "label_binary", "label_value"))
}


@pytest.fixture(params=[*job_names(), *SEVERAL_COLUMNS])
def job(request: pytest.FixtureRequest) -> JobSpec:
    return SEVERAL_COLUMNS.get(request.param) or load_job(request.param)


def held_out_of(spec: JobSpec, data: JobData) -> tuple[Array, Array]:
    """Every fifth row's id, and made-up outputs for them."""
    rows = data.train[spec.id_field][::5]
    return rows, np.random.Generator(np.random.PCG64(5)).normal(size=(len(rows), *spec.output_shape))


def by_id(spec: JobSpec, data: JobData, name: str) -> dict[int, bytes]:
    return {
        int(row): value.tobytes()
        for row, value in zip(data.train[spec.id_field], data.train[name], strict=True)
    }


@pytest.mark.parametrize("labels", [True, False])
def test_only_the_declared_rows_and_the_order_of_scoring_rows_change(job: JobSpec, labels: bool) -> None:
    data = job.generate(3)
    held, output = held_out_of(job, data)
    changed = alter(job, data, held, output, seed=11, labels=labels)
    outside = ~np.isin(data.train[job.id_field], held)
    for name, before in data.train.items():
        after = changed.train[name]
        assert after.dtype == before.dtype and after.shape == before.shape
        assert after[outside].tobytes() == before[outside].tobytes(), name
    back = np.argsort(score_order(data, 11))
    for name, before in data.score.items():
        kept, half = kept_scores(len(before)), len(before) // 2
        assert changed.score[name][back][:kept].tobytes() == before[:kept].tobytes()
        assert changed.score[name][:half].tobytes() != before[:half].tobytes()
        assert kept == half
        if next(field.kind for field in job.fields if field.name == name) != "continuous":
            continue
        near, last = jittered_scores(len(before))
        gap = np.abs(changed.score[name][near] - before[near])
        assert 0 < gap.max() < 1e-3 * before.reshape(len(before), -1).std(axis=0).max()
        middle = np.median(before, axis=0)
        far = np.abs(changed.score[name][last].astype(np.float64) - middle).reshape(len(last), -1)
        assert (far.max(axis=1) > 2 * np.abs(before - middle).mean()).all()


@pytest.mark.parametrize("labels", [True, False])
def test_swapped_rows_are_rows_of_the_same_kind(job: JobSpec, labels: bool) -> None:
    data = job.generate(6)
    held, _output = held_out_of(job, data)
    changed = swap(job, data, held, seed=5, labels=labels)
    inside = np.isin(data.train[job.id_field], held)
    names, label = [field.name for field in job.features], job.label_field.name
    known: dict[bytes, set[int]] = {}
    for index in range(len(data.score_labels)):
        known.setdefault(b"".join(data.score[name][index].tobytes() for name in names), set()).add(index)
    for field, before in data.train.items():
        assert changed.train[field][~inside].tobytes() == before[~inside].tobytes()
    if not labels:
        assert changed.train[label].tobytes() == data.train[label].tobytes()
    places = np.flatnonzero(inside)
    if not labels and job.label_field.kind == "label_class" and data.train[label].ndim > 1:
        # Few scoring rows have the same label in all its columns; rows without a partner stay.
        mine = [one.tobytes() for one in data.train[label][places]]
        asked, offered = Counter(mine), Counter(one.tobytes() for one in data.score_labels)
        moved = np.array(
            [
                any((changed.train[name] != data.train[name])[place].any() for name in names)
                for place in places
            ]
        )
        assert all(moved[index] or offered[one] < asked[one] for index, one in enumerate(mine))
        places = places[moved]
    rows = [b"".join(changed.train[name][place].tobytes() for name in names) for place in places]
    sources = [min(known[row]) for row in rows]
    if len(known) == len(data.score_labels):
        assert len(set(sources)) == len(places)
    if len(known) == len(data.score_labels) and (labels or job.label_field.kind == "label_class"):
        assert (changed.train[label][places] == data.score_labels[sources]).all()
    for name in names:
        assert changed.score[name].tobytes() == data.score[name].tobytes()
        flat, new = (array.reshape(len(array), -1) for array in (data.train[name], changed.train[name]))
        if job.fields[[field.name for field in job.fields].index(name)].kind == "continuous":
            ends = [np.stack([one.min(0), one.max(0)]) for one in (flat, flat[~inside], new)]
            alone = (ends[0] != ends[1]).any(0)  # columns whose ends only held-out rows reach
            moved = (ends[0] != ends[2]).any(0)
            assert moved[alone].all() and (moved.mean() > 0.2 or not alone.any())
            assert (flat.mean(0) != new.mean(0)).mean() > 0.9


def test_shuffled_labels_are_the_same_labels(job: JobSpec) -> None:
    data = job.generate(6)
    name = job.label_field.name
    shuffled = shuffle_labels(job, data, seed=5).train[name]
    before, after = (array.reshape(len(array), -1) for array in (data.train[name], shuffled))
    assert sorted(map(tuple, after)) == sorted(map(tuple, before))
    share = np.unique(before, axis=0, return_counts=True)[1] / len(before)
    by_chance = 1 - float(np.sum(share**2))  # of 90 in 100 rows with one label few can change
    assert (before != after).any(axis=1).mean() > 0.8 * by_chance


def test_set_a_keeps_its_features_and_moves_and_set_b_goes_far_out(job: JobSpec) -> None:
    data = job.generate(4)
    held, output = held_out_of(job, data)
    changed = alter(job, data, held, output, seed=12)
    names = [field.name for field in job.features]
    same = [
        int(row)
        for row in held
        if all(by_id(job, data, name)[int(row)] == by_id(job, changed, name)[int(row)] for name in names)
    ]
    assert abs(len(same) - len(held) / 2) <= 1
    places = {int(row): index for index, row in enumerate(data.train[job.id_field])}
    now = {int(row): index for index, row in enumerate(changed.train[job.id_field])}
    assert sorted(places) == sorted(now)
    assert all(places[row] != now[row] for row in same)
    far = [now[int(row)] for row in held if int(row) not in same]
    kinds = {field.name: field.kind for field in job.fields}
    support = ~np.isin(data.train[job.id_field], held)
    for name in names:
        if kinds[name] in ("category", "tokens"):
            assert np.isin(changed.train[name][far], data.train[name][support]).all()
        if kinds[name] != "continuous":
            continue
        flat = data.train[name].reshape(len(data.train[name]), -1).astype(float)
        values = changed.train[name][far].reshape(len(far), -1).astype(float)
        median = np.median(flat, axis=0)
        spread = np.median(np.abs(flat - median), axis=0) * 1.4826
        steps = 2.0 ** -next(field.decimals for field in job.fields if field.name == name)
        away = np.abs(values - median)
        assert (away >= NEAREST_FAR * spread - len(far) * steps).all()
        assert (away <= FARTHEST_FAR * np.maximum(spread, flat.std()) + len(far) * steps).all()
        assert len(np.unique(values, axis=0)) == len(values), "drop_duplicates must drop nothing"


def test_labels_are_what_the_predictions_agree_with_least(job: JobSpec) -> None:
    data = job.generate(5)
    held, output = held_out_of(job, data)
    changed = alter(job, data, held, output, seed=13)
    field = job.label_field
    now = {int(r): v for r, v in zip(changed.train[job.id_field], changed.train[field.name], strict=True)}
    ordered = np.sort(data.train[field.name], axis=0)
    middle, reach = (ordered[0] + ordered[-1]) / 2, BEYOND * (ordered[-1] - ordered[0])
    beyond, agreeing = 0, 0.0
    for place, (row, raw) in enumerate(zip(held, output, strict=True)):
        label = now[int(row)]
        if field.classes:
            assert label != data.train[field.name][5 * place]
        elif field.kind == "label_class":
            assert np.isin(label, np.argsort(raw, axis=-1)[..., :2]).all()
        elif field.kind == "label_binary":
            agreeing += float(np.mean((raw > 0) == (label > 0))) / len(held)
        else:
            guess = raw if np.shape(raw) == np.shape(label) else raw.mean()
            assert np.array_equal(label < middle, guess > middle)
            far = np.abs(label - middle) > reach
            beyond += bool(np.all(far))
            inside = np.where(far, label + reach * np.sign(middle - label), label)
            assert np.isclose(ordered, inside, atol=1e-3 * np.max(reach)).any(axis=0).all()
    assert field.kind != "label_value" or beyond == len(held) // 2
    assert agreeing < 0.3


def test_constant_predictions_do_not_make_constant_labels(job: JobSpec) -> None:
    data = job.generate(8)
    held, output = held_out_of(job, data)
    for constant in (np.zeros_like(output), np.full_like(output, np.nan)):
        changed = alter(job, data, held, constant, seed=15)
        labels = changed.train[job.label_field.name][np.isin(changed.train[job.id_field], held)]
        assert len(np.unique(labels)) > 1


def test_without_labels_rows_trade_places_only_within_their_label(job: JobSpec) -> None:
    data = job.generate(6)
    held, output = held_out_of(job, data)
    changed = alter(job, data, held, output, seed=14, labels=False)
    name = job.label_field.name
    assert changed.train[name].tobytes() == data.train[name].tobytes()
    assert by_id(job, changed, name) == by_id(job, data, name)


def test_altering_is_a_function_of_its_arguments(job: JobSpec) -> None:
    data = job.generate(7)
    held, output = held_out_of(job, data)
    one, two, other = (alter(job, data, held, output, seed=seed) for seed in (1, 1, 2))
    for name in data.train:
        assert one.train[name].tobytes() == two.train[name].tobytes()
    assert any(one.train[name].tobytes() != other.train[name].tobytes() for name in data.train)
