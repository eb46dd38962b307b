"""The Inspect task: the same rewards as without it, nothing told to the model, and the command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("inspect_ai", reason="the extra `inspect` is not installed")

from inspect_ai import eval as evaluate
from inspect_ai.approval import Approval, ApprovalPolicy, Approver, approver
from inspect_ai.log import EvalLog, EvalSample, read_eval_log
from inspect_ai.model import (
    ChatMessage,
    ChatMessageTool,
    GenerateConfig,
    Model,
    ModelOutput,
    ModelUsage,
    get_model,
)
from inspect_ai.tool import ToolCall, ToolChoice, ToolInfo

from mldebug.env import Services
from mldebug.env.adapters.inspect_ai import (
    Item,
    debug,
    debug_task,
    items_of,
    items_of_seeds,
    read_seeds,
)
from mldebug.errors import UsageError
from mldebug.grader.runner import Pool

from ...written import rows, task
from .scripted import NAMES, actions, played, shared

ROOT = Path(__file__).parents[3]


@pytest.fixture
def services(pool: Pool) -> Services:
    return shared(pool)


def calling(*calls: tuple[str, Any]) -> ModelOutput:
    """A message of a model with these calls; a text instead of arguments could not be read as JSON."""
    output = ModelOutput.for_tool_call("mockllm", "none", {})
    output.choices[0].message.tool_calls = [
        ToolCall(f"call_{place}", name, arguments, parse_error=None)
        if isinstance(arguments, dict)
        else ToolCall(f"call_{place}", name, {}, parse_error=f"cannot be read: {arguments}")
        for place, (name, arguments) in enumerate(calls)
    ]
    return with_usage(output)


def saying(text: str) -> ModelOutput:
    return with_usage(ModelOutput.from_content("mockllm", text))


def with_usage(output: ModelOutput) -> ModelOutput:
    output.usage = ModelUsage(input_tokens=1, output_tokens=1, total_tokens=2)
    return output


class Scripted:
    """A model that says what it is told, and keeps what it was shown."""

    def __init__(self, outputs: list[ModelOutput]) -> None:
        self._left: Iterator[ModelOutput] = iter(outputs)
        self.shown: list[str] = []

    def __call__(
        self, input: list[ChatMessage], tools: list[ToolInfo], choice: ToolChoice, config: GenerateConfig
    ) -> ModelOutput:
        parts = [one.model_dump_json(exclude={"id"}) for one in [*input, *tools]]
        self.shown.append("\n".join(parts))
        return next(self._left)

    def model(self) -> Model:
        return get_model("mockllm/model", custom_outputs=self, memoize=False)


def run(items: Any, services: Services, model: Scripted, folder: Path, **more: Any) -> EvalLog:
    made = debug_task(items, services, **more.pop("settings", {}))
    (log,) = evaluate(made, model=model.model(), log_dir=str(folder), display="none", max_samples=1, **more)
    assert log.status == "success", log.error
    return log


def answers(sample: EvalSample) -> list[str]:
    return [one.text for one in sample.messages if isinstance(one, ChatMessageTool)]


def called(action: dict[str, Any]) -> ModelOutput:
    """The message of a model that takes an action."""
    if action["type"] == "inspect":
        return calling((action["tool"], action["arguments"]))
    return calling(("fix", {name: value for name, value in action.items() if name != "type"}))


def test_rewards_and_texts_are_those_of_the_environment(services: Services, tmp_path: Path) -> None:
    model = Scripted([called(action) for name in NAMES for action in actions(name)])
    log = run(items_of(rows()[name] for name in NAMES), services, model, tmp_path)
    assert log.samples is not None and log.results is not None
    rewards = []
    for sample in log.samples:
        (name,) = [one for one in NAMES if task(one).id == sample.id]
        begun, *seen = played(services, name)
        assert sample.messages[1].text == begun["text"]
        assert answers(sample) == [one["text"] for one in seen]
        assert sample.scores is not None
        assert sample.scores["reward"].value == seen[-1]["reward"] >= 0.99
        assert sample.scores["solved"].value == 1
        rewards.append(seen[-1]["reward"])
    found = {
        score.name: {name: one.value for name, one in score.metrics.items()} for score in log.results.scores
    }
    assert found["reward"]["mean"] == pytest.approx(sum(rewards) / 3)
    assert set(found["solved"]) == {"mean", "stderr", "shape_mismatch", "wrong_device", "missing_eval_mode"}
    told = "\n".join(model.shown)
    for secret in ("tabular_classifier", "manifestation", "untouched", "hidden_data_seed", "verdicts"):
        assert secret not in told
    for sample in log.samples:
        assert sample.metadata and set(sample.metadata) == {"bugs"}
    assert '"bugs":"' not in told


def test_nonsense_costs_steps_and_ends(services: Services, tmp_path: Path) -> None:
    """Unknown functions, arguments that cannot be read or do not fit, and no call at all."""
    model = Scripted(
        [
            saying("Let me think."),
            calling(("rm", {}), ("run_code", "{{{"), ("run_code", {"x": 1})),
            calling(("fix", {"bugs": 3}), ("run_code", {}), ("run_code", {})),
        ]
    )
    log = run(items_of([rows()[NAMES[0]]]), services, model, tmp_path)
    (sample,) = log.samples or []
    assert "4 steps are left" in sample.messages[3].text
    unknown, unread, unfit, poor, over, after = answers(sample)
    assert "there is no tool 'rm'" in unknown and "must be an object" in unread
    assert "has no parameter 'x'" in unfit and '"bugs" must be' in poor
    assert over == after == "The episode is over."
    assert sample.scores and sample.scores["reward"].value == 0.0
    assert sample.store["mldebug"]["step"] == 5 and sample.store["mldebug"]["done"]


def test_names_separated_by_commas_are_read_as_elsewhere(services: Services, tmp_path: Path) -> None:
    """Inspect turns them down, as its schema says a list; the environment takes them."""
    known = task(NAMES[0])
    fix = {"bugs": "shape", "files": dict(known.reference.files)}
    log = run(items_of([rows()[NAMES[0]]]), services, Scripted([calling(("fix", fix))]), tmp_path)
    (sample,) = log.samples or []
    assert sample.scores and sample.scores["reward"].value == pytest.approx(0.99 * 1.2)


def test_what_an_approver_turns_down_is_not_done(services: Services, tmp_path: Path) -> None:
    @approver
    def no() -> Approver:
        async def approve(*_: Any, **__: Any) -> Approval:
            return Approval(decision="reject", explanation="not today")

        return approve

    fix = {"bugs": ["shape"], "files": dict(task(NAMES[0]).reference.files)}
    model = Scripted([calling(("fix", fix)), calling(("fix", fix))])
    log = run(
        items_of([rows()[NAMES[0]]]),
        services,
        model,
        tmp_path,
        approval=[ApprovalPolicy(no(), "*")],
        settings={"budget": 2},
    )
    (sample,) = log.samples or []
    assert sample.scores and sample.scores["solved"].value == 0
    assert sample.store["mldebug"]["verdicts"] == []


def test_a_sample_that_is_stopped_is_paid_nothing(services: Services, tmp_path: Path) -> None:
    fix = {"bugs": ["shape"], "script": "print(1)\n"}
    model = Scripted([calling(("fix", fix)), calling(("view_source", {}))])
    log = run(items_of([rows()[NAMES[0]]]), services, model, tmp_path, message_limit=6)
    (sample,) = log.samples or []
    assert sample.limit is not None and sample.scores and sample.scores["reward"].value == 0.0
    assert [one["rung"] for one in sample.store["mldebug"]["verdicts"]] == [0.40]


def test_seeds_are_items_whose_tasks_come_later(services: Services, tmp_path: Path) -> None:
    items = list(items_of_seeds([3], "shape"))
    assert items[0].bugs == ("shape_mismatch",) and items[0].sample().input == "seed 3"
    model = Scripted([calling(("view_source", {}))])
    log = run(items, services, model, tmp_path, settings={"budget": 1})
    (sample,) = log.samples or []
    assert rows()[NAMES[0]]["alert"] in sample.messages[1].text  # the one listed task of the class
    assert list(read_seeds(3)) == [0, 1, 2]
    assert list(read_seeds(["5-7", 9])) == [5, 6, 7, 9] and list(read_seeds("4,1")) == [4, 1]
    for wrong in ("", "x", "1-", "-3", "9" * 50):
        with pytest.raises(UsageError):
            list(read_seeds(wrong))


def test_wrong_settings_are_refused(services: Services, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no task"):
        debug_task([], services)
    with pytest.raises(UsageError, match="unknown tool"):
        debug_task(items_of([rows()[NAMES[0]]]), services, tools=["sudo"])
    with pytest.raises(UsageError, match="cannot be read"):
        debug(tasks=str(tmp_path / "none.jsonl"))
    (tmp_path / "rows.jsonl").write_text(json.dumps(rows()[NAMES[0]]))
    with pytest.raises(UsageError, match="no task"):
        debug(tasks=str(tmp_path / "rows.jsonl"), bugs=["shape", "eval"])
    with pytest.raises(UsageError, match="unknown bug class"):
        debug(seeds=1, bugs="evil")
    assert isinstance(next(items_of([rows()[NAMES[0]]])), Item)


SILENT = """
from inspect_ai.model import ModelAPI, ModelOutput, ModelUsage, modelapi

@modelapi(name="silent")
class Silent(ModelAPI):
    async def generate(self, input, tools, tool_choice, config):
        output = ModelOutput.from_content("silent", "I would rather not.")
        output.usage = ModelUsage(input_tokens=1, output_tokens=1, total_tokens=2)
        return output
"""


def announced(folder: Path) -> dict[str, str]:
    """An environment in which Inspect finds a model that calls nothing, and the entry points of
    pyproject.toml, also where the installed metadata is older than they are."""
    own = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["inspect_ai"]
    installed = {one.name: one.value for one in metadata.entry_points(group="inspect_ai")}
    assert all(installed.get(name, value) == value for name, value in own.items())
    found = {"silent": "silent"} | {name: value for name, value in own.items() if name not in installed}
    info = folder / "announced-0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: announced\nVersion: 0\n")
    lines = [f"{name} = {value}" for name, value in found.items()]
    (info / "entry_points.txt").write_text("\n".join(["[inspect_ai]", *lines]))
    (folder / "silent.py").write_text(SILENT)
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    return os.environ | {"PYTHONPATH": path, "INSPECT_LOG_DIR": str(folder / "logs")}


def test_the_command_finds_it(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(rows()[name]) + "\n" for name in NAMES))
    line = "inspect eval mldebug/debug -T tasks=rows.jsonl -T bugs=shape -T budget=2 --display none"
    done = subprocess.run(
        [Path(sys.executable).parent / "inspect", *line.split()[1:], "--model", "silent/any"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=announced(tmp_path / "path"),
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    (place,) = (tmp_path / "path" / "logs").glob("*.eval")
    log = read_eval_log(str(place))
    (sample,) = log.samples or []
    assert (log.status, sample.id) == ("success", task(NAMES[0]).id)
    assert rows()[NAMES[0]]["alert"] in sample.messages[1].text
    assert sample.store["mldebug"]["step"] == 2 and sample.scores and sample.scores["reward"].value == 0.0
