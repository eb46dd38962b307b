"""Rows and a file of tasks for `inspect eval`, on top of the adapter (`env/adapters/inspect_ai.py`)."""

from __future__ import annotations

from collections.abc import Iterator

from ....errors import UsageError
from ..bundle import Bundle
from ..texts import about, canary_comment, json_line, text_file
from ..writing import File

MODULE = "mldebug_tasks.py"

HEAD = '''"""Tasks for Inspect: `inspect eval {module}@{first} --model ...`. Needs `mldebug[inspect]`."""

from pathlib import Path

from inspect_ai import Task, task, task_with

from mldebug.env.adapters.inspect_ai import debug

HERE = Path(__file__).parent
'''

TASK = '''

@task
def {name}(
    bugs: str | list[str] | None = None,
    budget: int = {budget},
    tools: str | list[str] | None = None,
    workers: int = 1,
    require: str | None = None,
) -> Task:
    """Tasks of {what}. The parameters are those of `mldebug/debug`."""
    made = debug(str(HERE / "{file}"), 0, bugs, budget, tools, workers, require)
    return task_with(made, name="{title}")
'''


def files(bundle: Bundle) -> Iterator[File]:
    """A file of rows for each split, and a task of Inspect for each.

    Raises:
        UsageError: a task is of somebody's own script, for which there are no episodes.
    """
    from ....task_folder import BUDGET

    if own := next((one.id for one in bundle.entries if one.is_own), None):
        raise UsageError(
            f"task {own}: was made of a script of somebody's own, and episodes need a job of the library; "
            "export it as harbor, swebench or huggingface"
        )
    text = HEAD.format(module=MODULE, first=bundle.splits[0])
    for split in bundle.splits:
        text += TASK.format(
            name=split,
            budget=BUDGET,
            what=f"{bundle.name}, {split}",
            file=f"{split}.jsonl",
            title=f"{bundle.name}-{split}",
        )
    yield File("README.md", readme(bundle))
    yield File(MODULE, text.encode())
    for split in bundle.splits:
        yield File(f"{split}.jsonl", b"".join(json_line(one.whole()) for one in bundle.of(split)))


def readme(bundle: Bundle) -> bytes:
    first = bundle.splits[0]
    lines = [
        f"{canary_comment(bundle)}# mldebug {bundle.name} for Inspect",
        "",
        *about(bundle),
        "    pip install 'mldebug[inspect]'",
        f"    inspect eval {MODULE}@{first} --model openai/gpt-5",
        f"    inspect eval mldebug/debug -T tasks={first}.jsonl --model openai/gpt-5",
        "",
        "The last two are the same evaluation; the first of them names it after the release. A model is told "
        "the alert and reaches the job through functions only; `inspect score` works on the logs.",
        "",
        "The `.jsonl` files hold the answers. Nothing here shows them to a model.",
        "",
    ]
    return text_file(lines)
