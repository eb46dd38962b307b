"""Every attack, in every tier that is said to contain it. `--deep` tries those that are not said to, too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mldebug.grader.sandbox.attack_list import STUDY
from mldebug.grader.sandbox.attacks import ATTACKS, everything, is_contained, markdown, tried
from mldebug.grader.sandbox.guarantees import TIERS
from mldebug.grader.sandbox.world import World

DOCUMENT = Path(__file__).parents[3] / "docs" / "threat-model.md"
BY_NAME = {attack.name: attack for attack in ATTACKS}
LOCKED = [attack.name for attack in ATTACKS if attack.contained == "restricted"]
"""What `restricted` adds: its bounds are those of `posix`, tried with the runner."""


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with World() as made:
        yield made


def test_there_are_the_attacks_of_the_study_and_many_more():
    assert len(STUDY) >= 22
    assert len(ATTACKS) >= 42
    assert len(BY_NAME) == len(ATTACKS)


@pytest.mark.parametrize("name", BY_NAME)
def test_strict_contains_everything(strict, world, name):
    assert tried(BY_NAME[name], strict, world) == ""


@pytest.mark.parametrize("name", LOCKED)
def test_restricted_contains_what_it_says(pool_of, world, name):
    assert tried(BY_NAME[name], pool_of("restricted"), world) == ""


def test_the_table_of_the_document_lists_every_attack_and_claims_no_more_than_the_list():
    lines = DOCUMENT.read_text("utf-8").splitlines()
    rows = {cells[1].strip(): cells[2:5] for line in lines if len(cells := line.split("|")) == 6}
    for attack in ATTACKS:
        for tier, cell in zip(TIERS, rows[attack.name], strict=True):
            if is_contained(attack, tier):
                assert cell.strip() == "✓", (attack.name, tier)


@pytest.mark.deep
def test_every_attack_in_every_tier(evidence):
    findings = everything()
    for tier, found in findings.items():
        wrong = {name: why for name, why in found.items() if why and is_contained(BY_NAME[name], tier)}
        assert wrong == {}, tier
    evidence(
        "sandbox_attacks",
        {
            "attacks": len(ATTACKS),
            "got_away_with": {
                tier: {name: why for name, why in found.items() if why} for tier, found in findings.items()
            },
            "table_rows": len(markdown(findings).splitlines()) - 2,
        },
    )
