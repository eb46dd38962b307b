"""Counting different bugs."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from mldebug.benchmark import forms
from mldebug.mutators.base import bug_classes


def test_collisions_give_the_number_of_forms() -> None:
    drawn = [str(number * number % 50) for number in range(400)]
    colliding, effective, at_least = forms.effective_forms(drawn)
    assert colliding == sum(a == b for i, a in enumerate(drawn) for b in drawn[:i])
    assert effective == 400 * 399 / 2 / colliding and not at_least
    assert forms.effective_forms(["a", "b", "c"]) == (0, 3.0, True)


def test_a_template_is_one_form_however_many_numbers_it_draws(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert forms.main(["--seeds", "5", "--bugs", "eval", "--json", str(tmp_path / "f.json")]) == 0
    assert "effective forms" in capsys.readouterr().out
    ours, template = json.loads((tmp_path / "f.json").read_text())
    assert template["generator"] == "template" and ours["generator"] == "mldebug"
    assert template["distinct"] == template["shapes"] == 1 and template["colliding"] == 10
    assert template["with_numbers"] > 1 and template["effective"] == 1
    assert ours["distinct"] > 1 and ours["shapes"] > 1 and ours["effective"] > 1


def test_the_figures_do_not_depend_on_processes() -> None:
    one, two = (forms.measure(("gradient_not_zeroed",), 4, jobs=jobs) for jobs in (1, 2))
    assert one == two and one[0].count == 4


@pytest.mark.deep
def test_two_thousand_effective_forms_and_sixty_shapes_of_every_class(
    evidence: Callable[[str, dict[str, Any]], None],
) -> None:
    found = forms.measure(bug_classes(), 10_000, jobs=2)
    evidence("forms", {"classes": [asdict(one) for one in found]})
    ours = [one for one in found if one.generator == "mldebug"]
    assert [one.bug_class for one in ours] == list(bug_classes())
    assert all(one.count == 10_000 and one.effective >= 2000 and one.shapes >= 60 for one in ours), ours


def test_wrong_usage_is_exit_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert forms.main(["--bugs", "shap"]) == 2 and "unknown bug class" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        forms.main(["--seeds", "1"])
    assert ended.value.code == 2
