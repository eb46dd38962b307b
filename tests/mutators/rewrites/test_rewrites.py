"""Rewrites of any script: their examples, what they leave alone, and that nothing a run prints changes."""

from __future__ import annotations

import ast
import contextlib
import io
import runpy
import sys
import warnings
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mldebug.clean_scripts.library import job_names, load_job, sources
from mldebug.mutators.rewrites import REWRITES, Choice, Rewrite, RewriteExample, rewrite_all, rewritten
from mldebug.mutators.rewrites.code import read
from mldebug.seeds import Draw

from ...jobs import few

WORKSPACES: dict[str, dict[str, str]] = runpy.run_path(str(Path(__file__).with_name("nasty_scripts.py")))[
    "WORKSPACES"
]
SEES_ITSELF = ("looks_at_itself", "looks_at_lines")
"""Scripts that print their own source: rewriting them would show."""

EXAMPLES = [
    pytest.param(one, example, id=f"{one.name}-{number}")
    for one in REWRITES
    for number, example in enumerate(one.examples)
]
CHOICES = st.builds(
    lambda number, amount: Choice(Draw("test", number), amount),
    st.integers(0, 2**32),
    st.sampled_from(["one", "some", "all"]),
)
STEPS = st.lists(st.tuples(st.sampled_from(REWRITES), CHOICES), min_size=1, max_size=6)


def each(draw: Draw, amount: str = "all") -> list[tuple[Rewrite, Choice]]:
    return [(one, Choice(draw.child(one.name), amount)) for one in REWRITES]  # type: ignore[arg-type]


def run(files: Mapping[str, str], folder: Path) -> tuple[str, tuple[str, str] | None]:
    """What a workspace prints and which exception ends it, run in this process as `python train.py`."""
    for path, text in files.items():
        (folder / path).write_bytes(text.encode())
    path = folder / "train.py"
    output, before, main = io.StringIO(), set(sys.modules), sys.modules["__main__"]
    module = ModuleType("__main__")
    module.__file__ = str(path)
    sys.path.insert(0, str(folder))
    sys.modules["__main__"] = module
    ending = None
    try:
        with contextlib.redirect_stdout(output), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exec(compile(path.read_bytes(), "train.py", "exec", dont_inherit=True), module.__dict__)
    except Exception as error:
        ending = type(error).__name__, str(error)
    finally:
        sys.path.remove(str(folder))
        sys.modules["__main__"] = main
        for name in set(sys.modules) - before:
            if name == "model":
                del sys.modules[name]
    return output.getvalue(), ending


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, tuple[str, str] | None]]:
    found = {name: run(files, tmp_path_factory.mktemp(name)) for name, files in WORKSPACES.items()}
    assert all(output for output, _ in found.values())
    assert [name for name, (_, ending) in found.items() if ending] == ["crashes"]
    return found


NOT_IN_THE_LIBRARY = {
    "semicolons apart",
    "swapped branches",
    "endless loops",
    "conditional statements",
    "counters",
}
"""Rewrites of what the library's jobs may happen not to hold; other people's do."""


@cache
def clean(name: str) -> dict[str, str]:
    return dict(sources(name))


@pytest.mark.parametrize(("rewrite", "example"), EXAMPLES)
def test_examples_hold(rewrite: Rewrite, example: RewriteExample) -> None:
    before = {"train.py": example.before}
    assert rewritten(before, "train.py", rewrite, Choice(Draw("example")))["train.py"] == example.after


def test_rewrites_have_names_of_their_own_and_say_why_they_are_safe() -> None:
    assert len({one.name for one in REWRITES}) == len(REWRITES)
    assert all((type(one).__doc__ or "").strip() for one in REWRITES)


@pytest.mark.parametrize("name", WORKSPACES)
def test_a_script_that_looks_for_trouble_prints_the_same_after_each_rewrite(
    name: str, expected: dict[str, object], tmp_path: Path
) -> None:
    changed = []
    for number, (rewrite, choice) in enumerate(each(Draw("sweep", name))):
        new = rewritten(WORKSPACES[name], "train.py", rewrite, choice)
        if new != WORKSPACES[name]:
            changed.append(rewrite.name)
            folder = tmp_path / str(number)
            folder.mkdir()
            assert run(new, folder) == expected[name], f"{rewrite.name}\n{new['train.py']}"
    assert bool(changed) == (name not in SEES_ITSELF)


@settings(max_examples=2 * settings.default.max_examples)
@given(name=st.sampled_from(sorted(WORKSPACES)), steps=STEPS)
def test_scripts_that_look_for_trouble_print_the_same_after_several_rewrites(
    expected: dict[str, object], tmp_path_factory: pytest.TempPathFactory, name: str, steps: list[object]
) -> None:
    new = rewrite_all(WORKSPACES[name], "train.py", steps)  # type: ignore[arg-type]
    if new != WORKSPACES[name]:
        assert run(new, tmp_path_factory.mktemp("rewritten")) == expected[name], new["train.py"]


@pytest.mark.parametrize("rewrite", REWRITES, ids=lambda one: one.name)
def test_every_rewrite_fits_some_job_and_raises_on_none(rewrite: Rewrite) -> None:
    """`rewritten` keeps quiet about an exception; here none is raised."""
    found = False
    some = few(__name__, 3)
    for name in (*some, *(one for one in job_names() if one not in some)):
        if found and name not in some:
            break
        code = read(clean(name), load_job(name).entrypoint)
        assert code is not None
        texts = rewrite.apply(code, Choice(Draw("fits", name)))
        found |= any(text != clean(name)[path] for path, text in texts.items())
        for text in texts.values():
            compile(text, "train.py", "exec", dont_inherit=True)
    assert found or rewrite.name in NOT_IN_THE_LIBRARY


def test_all_rewrites_together_change_a_job_and_leave_python() -> None:
    for name in few(__name__, 2):
        new = rewrite_all(clean(name), load_job(name).entrypoint, each(Draw("together", name), "one"))
        assert new.keys() == clean(name).keys() and new != clean(name)
        for text in new.values():
            compile(text, "train.py", "exec", dont_inherit=True)


def test_the_same_choice_gives_the_same_texts() -> None:
    name = job_names()[0]
    one, two, other = (
        rewrite_all(clean(name), "train.py", each(Draw("same", number), "one")[::3]) for number in (1, 1, 2)
    )
    assert one == two != other


NESTED = "".join(f"{' ' * depth}if 0:\n" for depth in range(99)) + " " * 99 + "pass\n"
STRANGE = {
    "no python": "def f(:\n",
    "prose": "I fixed it.\n",
    "null bytes": "x = 1\x00\n",
    "half a character": "x = '\ud800'\n",
    "deep brackets": "x = " + "(" * 250 + ")" * 250 + "\n",
    "deep minus": "x = " + "-" * 5000 + "1\n",
    "deep sum": "x = " + "+".join("1" * 3000) + "\n",
    "huge": "x = 1\n" * 50_000,
    "other encoding": "# -*- coding: latin-1 -*-\nx = 'é'\n",
    "unknown encoding": "# coding: nonsense\nx = 1\n",
    "byte order mark": "\ufeffx = 1\n",
    "old line ends": "x = 1\ry = 2\r",
    "print statement": "print 'x'\n",
    "reads itself": "text = open(__file__).read()\n",
    "reads a neighbour": "import hashlib\ntext = open('model.py').read()\n",
    "inspects": "from inspect import signature\n",
    "compiled": "import torch\nf = torch.compile(f)\n",
    "scripted": "import torch\nf = torch.jit.script(f)\n",
}
LEFT_ALONE = {name: {"train.py": text, "model.py": "y = 1\n"} for name, text in STRANGE.items()}


@pytest.mark.parametrize("name", LEFT_ALONE)
def test_what_cannot_be_rewritten_comes_back_unchanged(name: str) -> None:
    files = LEFT_ALONE[name]
    assert rewrite_all(files, "train.py", each(Draw("strange"))) == files


@pytest.mark.parametrize(
    "text", ["", "\n", "#\n", "\f\n", "pass", "'doc'", ";".join(["x=1"] * 3), "\n\n  # end", NESTED]
)
def test_small_files_are_no_trouble(text: str) -> None:
    new = rewrite_all({"train.py": text}, "train.py", each(Draw("small")))
    ast.parse(new["train.py"])


@given(text=st.text(max_size=60), steps=STEPS)
def test_no_text_raises(text: str, steps: list[object]) -> None:
    files = {"train.py": text, "notes.md": text}
    new = rewrite_all(files, "train.py", steps)  # type: ignore[arg-type]
    assert new["notes.md"] == text


@pytest.mark.parametrize(
    "text",
    [
        "from pathlib import Path\nroot = Path(__file__).resolve().parent\nx = 1\n",
        "import os\nroot = os.path.dirname(os.path.abspath(__file__))\nx = 1\n",
    ],
)
def test_asking_for_its_own_folder_is_no_reason_to_leave_a_script_alone(text: str) -> None:
    assert rewrite_all({"train.py": text}, "train.py", each(Draw("folder"))) != {"train.py": text}


def test_files_that_are_not_python_stay() -> None:
    files = {"train.py": "x = 1\n", "config.json": "{'x': 1}\n", "data/notes.txt": "x\n"}
    new = rewrite_all(files, "train.py", each(Draw("others")))
    assert new["train.py"] != files["train.py"]
    assert {**new, "train.py": ""} == {**files, "train.py": ""}
