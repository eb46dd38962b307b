"""Every mutator of the registry: its examples, and every site and choice on every script there is."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from functools import cache

import pytest

from mldebug.clean_scripts.library import load_job, sources
from mldebug.mutators.analysis import Script, analyse
from mldebug.mutators.base import Manifestation, Mutator, all_mutators
from mldebug.mutators.workspace import Workspace, splice

from ..jobs import few

MANIFESTATIONS = [
    pytest.param(owner, one, id=f"{owner.bug_class}-{one.name}")
    for owner in all_mutators()
    for one in owner.manifestations
]
EXAMPLES = [
    pytest.param(one, index, id=f"{owner.bug_class}-{one.name}-{index}")
    for owner in all_mutators()
    for one in owner.manifestations
    for index in range(len(one.examples))
]


@cache
def analysed(source: str | None, job: str | None = None) -> Script:
    if job is not None:
        return analyse(Workspace(sources(job), load_job(job).entrypoint))
    return analyse(Workspace.of({"train.py": source or ""}, "train.py"))


def scripts() -> list[Script]:
    """The clean jobs, and what every example starts from."""
    befores = {ex.before for owner in all_mutators() for one in owner.manifestations for ex in one.examples}
    return [analysed(None, job) for job in few(__name__)] + [analysed(text) for text in sorted(befores)]


@pytest.mark.parametrize(("manifestation", "index"), EXAMPLES)
def test_an_example_is_what_its_manifestation_does(manifestation: Manifestation, index: int) -> None:
    example = manifestation.examples[index]
    script = analysed(example.before)
    results = [
        splice(script.workspace, manifestation.edits(script, site, example.choice)).files["train.py"]
        for site in manifestation.sites(script)
        if example.choice < site.choices
    ]
    assert results, "the example has no site"
    assert example.after in results
    assert compile(example.before, "before.py", "exec")


@pytest.mark.parametrize(("owner", "manifestation"), MANIFESTATIONS)
def test_every_site_and_choice_gives_another_program(
    owner: type[Mutator], manifestation: Manifestation
) -> None:
    for script in scripts():
        sites = manifestation.sites(script)
        assert sites == sorted(set(sites)), "sites are sorted and occur once"
        assert sites == manifestation.sites(script)
        for site in sites:
            text = dict(script.workspace)[site.file].encode()
            assert 0 <= site.start < site.end <= len(text)
            results = []
            for choice in range(site.choices):
                edits = manifestation.edits(script, site, choice)
                assert edits == manifestation.edits(script, site, choice)
                assert not any("#" in edit.replacement for edit in edits), "a bug is not announced"
                broken = splice(script.workspace, edits)
                assert broken != script.workspace
                results.append(broken)
            assert len(set(results)) == site.choices, "choices differ from each other"


@pytest.mark.parametrize("owner", [pytest.param(one, id=one.bug_class) for one in all_mutators()])
def test_a_class_is_documented(owner: type[Mutator]) -> None:
    names = [one.name for one in owner.manifestations]
    assert len(names) >= 5 and len(set(names)) == len(names)
    assert len(owner.explanation()) > 80
    for one in owner.manifestations:
        assert one.summary.endswith(".") and one.seen_in and one.examples


LISTING = """
import hashlib, json, sys
from mldebug.clean_scripts.library import load_job, sources
from mldebug.mutators.analysis import analyse
from mldebug.mutators.base import all_mutators
from mldebug.mutators.workspace import Workspace
found = []
for job in sys.argv[1:]:
    script = analyse(Workspace(sources(job), load_job(job).entrypoint))
    for owner in all_mutators():
        for one in owner.manifestations:
            for site in one.sites(script):
                edits = [[repr(e) for e in one.edits(script, site, c)] for c in range(site.choices)]
                found.append([owner.bug_class, one.name, repr(site), edits])
print(hashlib.sha256(json.dumps(found).encode()).hexdigest())
"""


def test_sites_and_edits_do_not_depend_on_the_hash_seed() -> None:
    digests = {
        subprocess.run(
            [sys.executable, "-c", LISTING, *few(__name__, 3)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "77")
    }
    assert len(digests) == 1
    assert len(digests.pop().strip()) == 2 * hashlib.sha256(json.dumps([]).encode()).digest_size
