"""What a job hosts, as its author sees it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mldebug.benchmark import hosting
from mldebug.factory import styled_script
from mldebug.mutators.base import bug_classes
from mldebug.mutators.compose import hostable


def test_a_job_shows_what_it_hosts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "found.json"
    assert hosting.main(["tabular_classifier", "--most", "1", "--json", str(target)]) == 0
    printed = capsys.readouterr().out
    found = json.loads(target.read_text())
    offered = hostable(styled_script("tabular_classifier", 17))
    assert sorted(one["bug_class"] for one in found) == sorted(bug for bug, sites in offered.items() if sites)
    assert len(found) >= 4 and {one["bug_class"] for one in found} <= set(bug_classes())
    assert all(one["manifestation"] in printed and not one["wrong"] for one in found)


def test_an_unknown_job_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert hosting.main(["tabular"]) == 2
    assert "tabular" in capsys.readouterr().err
