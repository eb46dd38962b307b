"""The TRL adapter: what it shows to a trainer, and real GRPO steps of a tiny model with scripted words."""

from __future__ import annotations

import inspect
import itertools
import json
import logging
import math
import pickle
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mldebug.env import DebugEnv, Services
from mldebug.env.adapters.trl import FIX, MOST_REWARD, Drawn, TRLSpec
from mldebug.env.arms import Arm, arms_of
from mldebug.env.curriculum import ProgressScheduler, UniformScheduler
from mldebug.env.tools.base import Parameter, Tool, registered
from mldebug.errors import RunnerError, UsageError
from mldebug.grader.judge import OfflineJudge
from mldebug.grader.runner import Pool
from mldebug.mutators.base import bug_classes
from mldebug.mutators.workspace import unified_patch

from ...written import rows, task

trl = pytest.importorskip("trl", reason="the extra `trl` is not installed")

import datasets  # noqa: E402
import torch  # noqa: E402
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM  # noqa: E402
from transformers.utils import get_json_schema  # noqa: E402
from trl.chat_template_utils import qwen2_5_chat_template  # noqa: E402

ROOT = Path(__file__).parents[3]
NAMES = ("shape-tabular-1", "device-glyph-1")
ARMS = (Arm(("missing_eval_mode",)),)
TOOLS = ("run_code", "submit", "view_source")


@pytest.fixture(scope="module")
def services(pool: Pool) -> Iterator[Services]:
    yield Services((rows()[name] for name in NAMES), pool=pool, judge=OfflineJudge())


@pytest.fixture
def spec(services: Services) -> TRLSpec:
    return TRLSpec(services, budget=3)


def patch_of(name: str) -> str:
    known = task(name)
    return unified_patch(known.broken.files, known.reference.files)


def named(environment: Any) -> str:
    """The name of the task that an environment has."""
    found = environment._env._workbench.task.id
    return next(name for name in NAMES if rows()[name]["id"] == found)


# --- what a trainer sees


def test_rows_hold_a_seed_and_instructions_and_no_truth(services: Services) -> None:
    found = TRLSpec(services, seeds=range(5, 9)).train_dataset
    assert isinstance(found, datasets.Dataset) and found.column_names == ["prompt", "seed"]
    assert found["seed"] == [5, 6, 7, 8]
    texts = {json.dumps(prompt) for prompt in found["prompt"]}
    assert len(texts) == 1
    assert [one["role"] for one in found[0]["prompt"]] == ["system", "user"]
    assert not any(bug in text for bug in bug_classes() for text in texts)
    assert TRLSpec(services, seeds=[3], bugs="shape").train_dataset[0]["bugs"] == "shape_mismatch"


def methods(environment: Any) -> dict[str, Any]:
    """As GRPOTrainer finds an environment's tools."""
    members = inspect.getmembers(type(environment), predicate=inspect.isfunction)
    return {
        name: getattr(environment, name)
        for name, _ in members
        if not name.startswith("_") and name not in ("reset", "get_reward")
    }


def test_every_tool_is_a_method_that_transformers_can_describe(spec: TRLSpec) -> None:
    found = methods(spec.environment_factory())
    assert sorted(found) == sorted([*registered(), "fix"])
    for name, method in found.items():
        assert method.__name__ == name and not inspect.iscoroutinefunction(method)
        shown = get_json_schema(method)["function"]
        wanted = FIX if name == "fix" else registered()[name].schema()
        assert shown["name"] == name and shown["description"] == " ".join(wanted["description"].split())
        properties = wanted["parameters"]["properties"]
        assert list(shown["parameters"]["properties"]) == list(properties)
        assert shown["parameters"].get("required", []) == wanted["parameters"]["required"]
        for one, about in properties.items():
            entry = shown["parameters"]["properties"][one]
            assert entry["type"] == about["type"] and entry["description"].startswith(about["description"])
    assert sorted(methods(TRLSpec(spec.services, tools=TOOLS).environment_factory())) == sorted(
        [*TOOLS, "fix"]
    )


class Awkward(Tool):
    name = "awkward"
    description = "Has a text with Args: in it,\n   and Returns: a second\nline."
    parameters = (
        Parameter("path", str, "optional, Raises: nothing", default=None),
        Parameter("must", bool, "required\nof two lines", required=True),
        Parameter("many", list, "texts", default=[]),
        Parameter("most", int, "a number", default=7),
    )

    def use(self, workbench: Any, **arguments: Any) -> str:
        return json.dumps(arguments)


def add(monkeypatch: pytest.MonkeyPatch, tool: Tool) -> None:
    """A tool of another package."""
    known = dict(registered()) | {tool.name: tool}
    monkeypatch.setattr("mldebug.env.tools.base.registered", lambda: known)


def test_an_awkward_tool_is_described_as_well(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    add(monkeypatch, Awkward())
    environment = TRLSpec(services, tools=["awkward"]).environment_factory()
    shown = get_json_schema(environment.awkward)["function"]
    assert shown["description"] == "Has a text with Args - in it, and Returns - a second line."
    parameters = shown["parameters"]
    assert parameters["required"] == ["must"]
    assert {name: one["type"] for name, one in parameters["properties"].items()} == {
        "path": "string",
        "must": "boolean",
        "many": "array",
        "most": "integer",
    }
    assert parameters["properties"]["path"]["nullable"] and "(default: 7)" in str(parameters)
    environment.reset(seed=0)
    assert '{"path": null, "must": true, "many": [], "most": 7}' in environment.awkward(must=True)


@pytest.mark.parametrize("name", ["reset", "get_reward", "fix", "_hidden", "two words", "class", "a-b"])
def test_a_tool_that_cannot_be_a_method_is_refused(
    name: str, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = Awkward()
    monkeypatch.setattr(Awkward, "name", name)
    add(monkeypatch, tool)
    with pytest.raises(UsageError, match="cannot be a method"):
        TRLSpec(services)
    TRLSpec(services, tools=TOOLS)


@pytest.mark.parametrize(
    "wrong",
    [
        {"tasks": [rows()[NAMES[0]]]},
        {"seeds": []},
        {"seeds": [-1]},
        {"seeds": [1 << 63]},
        {"seeds": [True]},
        {"seeds": ["1"]},
        {"bugs": "nonsense"},
        {"tools": ["nonsense"]},
        {"result_characters": 10},
        {"scheduler": UniformScheduler(arms=ARMS), "seeds": [1]},
        {"scheduler": UniformScheduler(arms=ARMS), "bugs": "eval"},
    ],
)
def test_arguments_that_make_no_sense_are_refused(services: Services, wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        TRLSpec(services, **wrong)


# --- episodes


def test_an_episode_is_paid_as_in_process(spec: TRLSpec, services: Services) -> None:
    environment = spec.environment_factory()
    for name, seed in ((name, one) for one in range(4) for name in NAMES):
        text = environment.reset(prompt=[{"role": "user", "content": "x"}], seed=seed, other=None)
        if named(environment) == name:
            break
    assert text == DebugEnv(services, budget=3).reset(seed=seed).text and environment.get_reward() == 0.0
    assert environment.run_code().endswith("\n\n(step 1 of 3)")
    bugs = rows()[name]["bugs"]
    last = environment.fix(bugs=bugs, patch=patch_of(name))
    assert last.endswith("(step 2 of 3; the episode is over)")
    assert environment.get_reward() == pytest.approx(0.99 * 1.2)
    for again in (environment.view_source(), environment.fix(bugs=[]), environment.run_code(x=1)):
        assert again == "The episode is over: no further step is taken."
    assert environment.get_reward() == pytest.approx(0.99 * 1.2)
    environment.reset(seed=seed)
    assert environment.get_reward() == 0.0


def test_an_episode_left_early_is_paid_its_best_fix(spec: TRLSpec) -> None:
    environment = spec.environment_factory()
    environment.reset(seed=0)
    bugs = rows()[named(environment)]["bugs"]
    environment.fix(bugs=bugs, script="raise SystemExit(1)\n")
    assert environment.get_reward() == 0.2
    environment.fix(bugs=["collapse"])
    assert environment.get_reward() == 0.2


def test_whatever_a_model_sends_costs_a_step_and_is_bounded(spec: TRLSpec) -> None:
    environment = spec.environment_factory()
    hostile: list[tuple[str, dict[str, Any]]] = [
        ("run_code", {"self": 1, "tool": "view_source"}),
        ("view", {"path": 5}),
        ("view", {}),
        ("view_source", {"arguments": {}, "type": "fix"}),
        ("grep", {"pattern": "(" * 5_000}),
        ("fix", {"type": "inspect", "tool": "view_source"}),
        ("fix", {"bugs": 7}),
        ("fix", {"bugs": ["x" * 100_000] * 50}),
        ("fix", {"bugs": ["eval"], "script": "x", "patch": "y"}),
        ("fix", {"bugs": [], "files": {"data/train.npz": ""}}),
        ("fix", {"bugs": [], "files": {"../x": ""}}),
        ("fix", {"bugs": [], "patch": "\x00" * 50}),
        ("fix", {"bugs": [], "script": "\ud800"}),
        ("submit", {"bugs": None}),
    ]
    for number, (name, arguments) in enumerate(hostile):
        if number % 3 == 0:
            environment.reset(seed=1)
        said = getattr(environment, name)(**arguments)
        assert f"(step {number % 3 + 1} of 3" in said and len(said) < 9_000 and "Traceback" not in said
        assert 0.0 <= environment.get_reward() <= 0.2


def test_results_are_bounded(services: Services) -> None:
    environment = TRLSpec(services, result_characters=300).environment_factory()
    assert len(environment.reset(seed=1)) <= 300
    for name in ("view_source", "run_code", "get_traceback"):
        said = getattr(environment, name)()
        assert len(said) <= 300 and re.search(r"\(step \d of 5\)$", said)


@pytest.mark.parametrize("row", [{}, {"seed": None}, {"seed": -1}, {"seed": "x"}, {"seed": 1, "bugs": "zzz"}])
def test_a_row_that_makes_no_sense_is_refused(spec: TRLSpec, row: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        spec.environment_factory().reset(**row)


@pytest.mark.parametrize("paid", [float("nan"), float("inf"), -3.0, 99.0])
def test_rewards_are_finite_and_bounded(spec: TRLSpec, paid: float, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = spec.environment_factory()
    environment.reset(seed=0)

    class Broken:
        score = paid

    monkeypatch.setattr(environment._env, "score", Broken())
    assert 0.0 <= environment.get_reward() <= MOST_REWARD


def test_a_failure_of_the_machinery_costs_no_step(
    spec: TRLSpec, services: Services, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    environment = spec.environment_factory()
    environment.reset(seed=0)

    def fails(*_: Any, **__: Any) -> Any:
        raise RunnerError("secret detail")

    with monkeypatch.context() as patched, caplog.at_level(logging.ERROR):
        patched.setattr(services, "run", fails)
        said = environment.run_code()
    assert "secret" not in said and "secret" in caplog.text
    assert environment.run_code().endswith("(step 1 of 3)")


def test_environments_do_not_disturb_each_other(spec: TRLSpec) -> None:
    first, second = spec.environment_factory(), spec.environment_factory()
    first.reset(seed=0)
    second.reset(seed=0)
    first.fix(bugs=["eval"], script="print(1)\n")
    assert "print(1)" in first.view_source() and "import torch" in second.view_source()

    def episode(_: Any) -> None:
        mine = spec.environment_factory()
        for seed in range(3):
            mine.reset(seed=seed)
            mine.view_source()
            rewards.append(mine.get_reward())

    rewards: list[float] = []
    threads = [threading.Thread(target=episode, args=(one,)) for one in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert rewards == [0.0] * 12


# --- with a scheduler


def test_rows_are_drawn_when_they_are_asked_for(services: Services) -> None:
    scheduler = UniformScheduler(3, arms_of(services.tasks, levels=2))
    spec = TRLSpec(services, scheduler=scheduler)
    found = spec.train_dataset
    assert isinstance(found, datasets.IterableDataset) and scheduler.state()["handed_out"] == 0
    again, environment = UniformScheduler(3, scheduler.arms), spec.environment_factory()
    for number, row in enumerate(itertools.islice(found, 4)):
        assert scheduler.state()["handed_out"] == number + 1
        wanted = again.next()
        assert (row["seed"], row["bugs"], row["script"]) == (
            wanted.seed,
            ",".join(wanted.bugs or ()),
            wanted.script,
        )
        environment.reset(**row)
        assert named(environment) in NAMES
        assert tuple(rows()[named(environment)]["bugs"]) == wanted.bugs
        assert environment.get_reward() == environment.get_reward() == 0.0
    assert sum(scheduler.state()["counts"]) == 4 and scheduler.ignored == 0


def test_a_data_set_neither_copies_nor_pickles_a_scheduler(services: Services) -> None:
    scheduler = UniformScheduler(3, arms_of(services.tasks))
    scheduler.socket = socket.socket()  # type: ignore[attr-defined]
    found = TRLSpec(services, scheduler=scheduler).train_dataset
    with scheduler.socket:  # type: ignore[attr-defined]
        twice = [one["seed"] for one in itertools.islice(found.map(lambda one: one), 3)]
        assert len(set(twice)) == 3 and scheduler.state()["handed_out"] == 3
        with pytest.raises(UsageError, match="another process"):
            pickle.loads(pickle.dumps(Drawn(scheduler)))


def test_a_scheduler_serves_one_process(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="one process"):
        _ = TRLSpec(services, scheduler=UniformScheduler(arms=ARMS)).train_dataset
    assert len(TRLSpec(services, seeds=[1, 2]).train_dataset) == 2


# --- training


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    bare = Tokenizer(models.BPE())
    bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bare.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=2_000,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = [text for name in NAMES for text in task(name).broken.files.values()]
    texts += [qwen2_5_chat_template, *(json.dumps(one.schema()) for one in registered().values())] * 3
    bare.train_from_iterator(texts, trainer)
    made = PreTrainedTokenizerFast(tokenizer_object=bare, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    made.chat_template = qwen2_5_chat_template
    return made


@pytest.fixture
def model(tokenizer: Any) -> Any:
    torch.manual_seed(0)
    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=1,
            num_key_value_heads=1,
            tie_word_embeddings=True,
            max_position_embeddings=16_384,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def call(name: str, **arguments: Any) -> str:
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"


def plan(number: int, name: str) -> list[str]:
    """What the completion of this number in its group says, turn after turn, about the task of this name."""
    bugs, patch = rows()[name]["bugs"], patch_of(name)
    other = sorted(set(bug_classes()) - set(bugs))[0]
    return [
        ["I do not know."],
        [call("run_code"), call("fix", bugs=[other], patch=patch), "Done."],
        ["I look.\n" + call("run_code"), call("fix", bugs=bugs, patch=patch), "Solved."],
        [
            call("view_source", wrong=1) + "\n" + call("nonsense"),
            call("view_source"),
            call("fix", bugs=bugs, patch=patch),
            call("fix", bugs=[other]),
            "It is over.",
        ],
    ][number]


def actions_of(turns: list[str]) -> list[dict[str, Any]]:
    """The same as actions of a DebugEnv; calls of functions that do not exist never reach it."""
    found = []
    for text in re.findall(r"<tool_call>\n(.*?)\n</tool_call>", "\n".join(turns), re.DOTALL):
        one = json.loads(text)
        if one["name"] == "fix":
            found.append({"type": "fix", **one["arguments"]})
        elif one["name"] != "nonsense":
            found.append({"type": "inspect", "tool": one["name"], "arguments": one["arguments"]})
    return found


def scripted(monkeypatch: pytest.MonkeyPatch, tokenizer: Any) -> list[list[str]]:
    """Put words into the model's mouth; the names of the tasks that each batch met are noted."""
    met: list[list[str]] = []

    def speak(self: Any, prompt_ids: Any, *_: Any, **__: Any) -> tuple[list[list[int]], None]:
        said = []
        for place, ids in enumerate(prompt_ids):
            marks = re.findall(r"\[plan (\d) of (\S+) turn (\d)\]", tokenizer.decode(ids))
            if not marks:
                if place == 0:
                    met.append([named(one) for one in self.environments])
                number, name, turn = place % 4, named(self.environments[place]), 0
            else:
                number, name, turn = int(marks[-1][0]), marks[-1][1], int(marks[-1][2]) + 1
            text = f"[plan {number} of {name} turn {turn}] {plan(number, name)[turn]}<|im_end|>"
            said.append(tokenizer(text, add_special_tokens=False)["input_ids"])
        return said, None

    monkeypatch.setattr(trl.GRPOTrainer, "_generate_single_turn", speak)
    return met


TINY: dict[str, Any] = {
    "per_device_train_batch_size": 4,
    "num_generations": 4,
    "max_steps": 2,
    "max_completion_length": 6_000,
    "learning_rate": 1e-3,
    "use_cpu": True,
    "bf16": False,
    "report_to": [],
    "save_strategy": "no",
    "logging_steps": 1,
    "disable_tqdm": True,
}


def test_two_grpo_steps(
    services: Services, model: Any, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    met = scripted(monkeypatch, tokenizer)
    spec = TRLSpec(services, seeds=range(4), budget=3, tools=TOOLS, result_characters=400)
    rewards: list[list[float]] = []
    trainer = trl.GRPOTrainer(
        model=model,
        processing_class=tokenizer,
        args=trl.GRPOConfig(output_dir=str(tmp_path), **TINY),
        train_dataset=spec.train_dataset,
        environment_factory=spec.environment_factory,
        reward_funcs=spec.reward_funcs,
    )
    assert len(trainer.reward_funcs) == 1 and trainer.reward_func_names == ["MldebugEnvironment"]
    kept = trainer._calculate_rewards

    def calculated(*arguments: Any, **more: Any) -> Any:
        found = kept(*arguments, **more)
        rewards.append(found[:, 0].tolist())
        return found

    monkeypatch.setattr(trainer, "_calculate_rewards", calculated)
    before = {name: one.detach().clone() for name, one in model.named_parameters()}
    assert sum(one.numel() for one in before.values()) < 200_000
    trainer.train()

    assert len(met) == len(rewards) == 2
    for group, paid in zip(met, rewards, strict=True):
        assert len(set(group)) == 1 and len(group) == 4
        wanted = []
        for number in range(4):
            env = DebugEnv(services, budget=3, tools=TOOLS)
            env.reset(task=rows()[group[0]])
            for action in actions_of(plan(number, group[0])):
                if not env.done:
                    last = env.step(action)
            wanted.append(last.reward if number and env.done else max([0.0, *(v.rung for v in env.verdicts)]))
        assert paid == pytest.approx(wanted)
        assert paid == pytest.approx([0.0, 0.01, 0.99 * 1.2, 0.99 * 1.1])
    logged = [one for one in trainer.state.log_history if "loss" in one]
    assert len(logged) == 2
    for one in logged:
        assert math.isfinite(one["loss"]) and math.isfinite(one["grad_norm"]) and one["grad_norm"] > 0
        assert one["rewards/MldebugEnvironment/mean"] == pytest.approx(sum(rewards[0]) / 4)
        assert one["tools/call_frequency"] == pytest.approx((0 + 2 + 2 + 5) / 4)
        assert one["tools/failure_frequency"] == pytest.approx(1 / 9)  # what does not exist
    changed = [name for name, one in model.named_parameters() if not torch.equal(one, before[name])]
    assert len(changed) > len(before) / 2
    assert all(torch.isfinite(one).all() for one in model.parameters())


def blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "trl.md").read_text("utf-8"), re.DOTALL)


def test_the_documentation_runs_as_it_stands(
    model: Any, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With another model, one step for 250, and words put into its mouth."""
    met = scripted(monkeypatch, tokenizer)
    few = {name: registered()[name] for name in TOOLS}  # for a shorter prompt
    monkeypatch.setattr("mldebug.env.tools.base.registered", lambda: few)
    lines = [json.dumps(rows()[name]) for name in NAMES]
    (tmp_path / "tasks.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    monkeypatch.chdir(tmp_path)
    config, trainer = trl.GRPOConfig, trl.GRPOTrainer
    small = TINY | {"output_dir": str(tmp_path / "out"), "max_completion_length": 2_000}
    monkeypatch.setattr(
        trl,
        "GRPOConfig",
        lambda **given: config(**{**given, **small, "max_steps": given.get("max_steps", 1) // 250 or 1}),
    )
    monkeypatch.setattr(
        trl,
        "GRPOTrainer",
        lambda **given: trainer(**{**given, "model": model, "processing_class": tokenizer}),
    )
    monkeypatch.setitem(globals(), "plan", lambda number, name: ["I give up."])
    assert len(blocks()) == 2
    for number, block in enumerate(blocks()):
        names: dict[str, Any] = {}
        exec(compile(block, f"docs/trl.md block {number}", "exec"), names)
        assert len(met) == (1, 3)[number] and all(len(set(group)) == 1 for group in met)
    scheduler, saved = names["scheduler"], json.loads((tmp_path / "scheduler.json").read_text("utf-8"))
    assert isinstance(scheduler, ProgressScheduler) and scheduler.state() == saved
    assert sum(saved["counts"]) == 8 and saved["ignored"] == 0
    assert 2 <= saved["handed_out"] <= 4  # at most two batches ahead, never a buffer full
