"""Training scripts that were written without sight of the engine: what can be injected, and proved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from mldebug.factory import Exhausted
from mldebug.mutators.base import bug_classes
from mldebug.mutators.survey import Survey, survey
from mldebug.source.factory import OwnRequest, OwnScript, OwnVariant, own_outcomes
from mldebug.source.folder import read_own

HERE = Path(__file__).parent
SCRIPTS = {path.name: path for path in sorted(HERE.iterdir()) if path.name[0].isdigit()}
STARTS = {
    "03_lstm_signals": "lstm_classifier.py",
    "04_trainer_class": "run.py",
    "05_notebook_export": "bike_demand.py",
    "06_cnn_digits": "cnn_digits.py",
    "07_gan_ring": "gan.py",
    "08_transformer_warmup": "train_transformer.py",
    "09_beton_earlystop": "regression.py",
    "10_denoising_ae": "ae.py",
    "11_triplet_glyphs": "triplet.py",
    "12_functional_words": "language_id.py",
    "13_quantile_clever": "quantiles.py",
}
"""Where a folder has neither train.py nor main.py."""
SEED = 1
QUICK = ("12_functional_words",)


@cache
def own(name: str) -> OwnScript:
    return OwnScript(read_own(SCRIPTS[name] / STARTS.get(name, "")))


@cache
def surveyed(name: str) -> Survey:
    return survey(own(name).script)


def classes(name: str) -> tuple[str, ...]:
    return tuple(bug for bug in bug_classes() if bug in surveyed(name).classes)


def attempts(name: str) -> dict[str, OwnVariant | Exhausted]:
    """One executed variant of every class that the script has a site for, or why there is none."""
    script = own(name)
    found = {}
    for bug in classes(name):
        request = OwnRequest.of(bug, SEED, timeout=120)
        (found[bug],) = own_outcomes(script, [request], request)
    return found


def test_there_are_many_and_most_pairs_have_a_site() -> None:
    assert len(SCRIPTS) >= 12
    pairs = [(name, bug) for name in SCRIPTS for bug in classes(name)]
    assert len(pairs) >= 40, pairs
    assert set(Counter(bug for _, bug in pairs)) == set(bug_classes())


@pytest.mark.parametrize("name", SCRIPTS)
def test_what_has_no_site_has_a_reason(name: str) -> None:
    found = surveyed(name)
    assert set(found.reasons()) == set(bug_classes()) - set(found.classes)
    assert all(len(reason) > 20 for reason in found.reasons().values())


@pytest.mark.parametrize("name", QUICK)
def test_a_mutant_is_proved_by_its_trace(name: str) -> None:
    found = attempts(name)
    proved = [bug for bug, one in found.items() if isinstance(one, OwnVariant)]
    assert len(proved) >= 0.9 * len(found), {bug: one for bug, one in found.items() if bug not in proved}
    assert all(one.verified and one.alert for one in found.values() if isinstance(one, OwnVariant))


@pytest.mark.deep
def test_most_pairs_give_a_proved_mutant(evidence: Callable[[str, dict[str, Any]], None]) -> None:
    found = {(name, bug): one for name in SCRIPTS for bug, one in attempts(name).items()}
    proved = [f"{name} {bug}" for (name, bug), one in found.items() if isinstance(one, OwnVariant)]
    failed = {
        f"{name} {bug}": dict(one.reasons) for (name, bug), one in found.items() if isinstance(one, Exhausted)
    }
    evidence("foreign_scripts", {"pairs": len(found), "proved": len(proved), "without a proof": failed})
    assert len(found) >= 40 and len(proved) >= 0.9 * len(found)
