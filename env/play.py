"""A person debugs in the terminal: the tools of an agent, typed by hand, and an editor."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import closing
from pathlib import Path

import click

from ..errors import UsageError
from ..grader.runner.folder import checked_path
from ..grader.verdict import Verdict
from ..mutators.base import all_mutators, bug_classes, canonical_bugs
from ..task_folder import BUDGET, read_task
from .debug_env import DebugEnv
from .models import Fix, Inspect, Observation
from .services import Services
from .tasks import Prepared
from .terminal import Terminal, difference, plain, source
from .typed import Mistyped, split, typed, usage

LADDER = (
    (0.99, "solved: all is confirmed"),
    (0.80, "the root causes are gone, success is not confirmed"),
    (0.60, "training completes, a root cause is still there; or it is no longer the same job"),
    (0.40, "it runs, and training does not complete"),
    (0.20, "it fails before the first training step, or does exactly what the broken job does"),
    (0.01, "it claims a bug class that is not there"),
)
GONE = {True: "gone", False: "still there", None: "the runs could not tell"}
OWN = {
    "edit [FILE]": "Open a file of the working copy in $EDITOR. Costs no step: it is part of the fix.",
    "diff": "The working copy against the broken job. Costs no step.",
    "submit CLASS[,CLASS…] [DIAGNOSIS…]": "Hand in the working copy as a fix, after a look at it.",
    "help": "This.",
    "quit": "Leave; so do Ctrl-D and Ctrl-C. Nothing is kept.",
}


class Desk(DebugEnv):
    """An environment whose working copy a person may see, and change by hand."""

    @property
    def files(self) -> dict[str, str]:
        """The working copy, but for what is hidden."""
        assert self._workbench is not None
        return self._workbench.visible_files()

    def change(self, path: str, text: str) -> None:
        """Change a file of the working copy, or make a new one.

        Raises:
            Mistyped: it may not be changed.
        """
        assert self._workbench is not None
        self._toolbox.edit(self._workbench, self.changeable(path), text)

    def changeable(self, path: str) -> str:
        """The path, if what lies there may be changed.

        Raises:
            Mistyped: it may not.
        """
        assert self._workbench is not None
        try:
            checked_path(path)
        except UsageError as error:
            raise Mistyped(str(error)) from None
        if self._workbench.read_only(path):
            raise Mistyped(f"{path} may not be changed")
        return path


def play(folder: Path, *, require: str | None = None) -> int:
    """Let a person debug the task of a folder, which stays as it is.

    Returns:
        0: solved, or left before the end. 1: the steps are spent. 130: left by Ctrl-C.

    Raises:
        UsageError: the folder holds no task that was proved, or `require` asks for what is not there.
    """
    budget = read_task(folder)["task"].get("budget", BUDGET)
    task = Prepared.of(folder)
    services = Services([task], require=require)
    try:
        with closing(Desk(services, budget=budget)) as desk:
            return Game(desk, task).play()
    finally:
        services.close()


class Game:
    """One episode of one person."""

    def __init__(self, desk: Desk, task: Prepared) -> None:
        self._desk = desk
        self._truth = task.task
        self._terminal = Terminal(self.words)
        self._schemas = {one["name"]: one for one in desk.tools}
        self._now = desk.reset(task=task)
        self._original = desk.files

    def play(self) -> int:
        """From the briefing to the end; the exit code."""
        say = self._terminal.say
        say(plain(self._now.text))
        say("Type `help` for the commands.")
        try:
            while not self._now.done:
                left = self._now.budget - self._now.step
                try:
                    line = self._terminal.ask(f"[{left} step{'s' * (left != 1)} left]> ")
                    if line == "quit":
                        raise EOFError
                    if line:
                        self.obey(line)
                except (Mistyped, UsageError) as error:
                    say(click.style(plain(str(error)), fg="yellow"))
        except EOFError:
            say(f"\nYou left at step {self._now.step} of {self._now.budget}. Nothing is kept.")
            return 0
        except KeyboardInterrupt:
            say("\nInterrupted. Nothing is kept.")
            return 130
        self.reveal()
        return 0 if any(one.solved for one in self._desk.verdicts) else 1

    def obey(self, line: str) -> None:
        """Do what one line says.

        Raises:
            Mistyped: it is no command.
        """
        name, _, rest = line.partition(" ")
        if name == "help":
            self._terminal.say(self.help())
        elif name == "diff":
            self._terminal.say(self.changes() or "The working copy is unchanged.")
        elif name == "edit":
            self.edit(rest.strip() or self._now.entrypoint)
        elif name == "submit":
            self.submit(rest)
        elif name in self._schemas:
            self.show(self._desk.step(Inspect(name, typed(self._schemas[name], split(rest)))), name)
        else:
            raise Mistyped(f"there is no command {name[:60]!r}; `help` lists them")

    def edit(self, path: str) -> None:
        """Have a file edited, and take the result into the working copy."""
        before = self._desk.files.get(self._desk.changeable(path), "")
        after = self._terminal.edit(path, before)
        if after == before:
            self._terminal.say("Unchanged.")
            return
        self._desk.change(path, after)
        self._terminal.say(difference({path: before}, {path: after}))

    def submit(self, rest: str) -> None:
        """Show what would be handed in, ask, and hand it in."""
        names, _, diagnosis = rest.strip().partition(" ")
        if not names:
            raise Mistyped(f"name the classes that you repaired: {', '.join(bug_classes())}")
        bugs = canonical_bugs([one for one in names.split(",") if one])
        self._terminal.say(self.changes() or "The working copy is unchanged.")
        claim = f"claimed: {', '.join(bugs)}" + (f"\ndiagnosis: {diagnosis}" if diagnosis else "")
        self._terminal.say(plain(claim))
        if self._terminal.ask("Hand this in? [y/N] ").lower() in ("y", "yes"):
            self.show(self._desk.step(Fix(bugs, diagnosis)))
        else:
            self._terminal.say("Not handed in; no step is spent.")

    def show(self, seen: Observation, tool: str = "") -> None:
        """What came of a step."""
        self._now = seen
        text = plain(seen.text).rstrip("\n")
        if seen.refused:
            text = click.style(f"refused: {text}", fg="yellow")
        elif tool.startswith("view"):
            text = source(text)
        self._terminal.say(text)

    def changes(self) -> str:
        return difference(self._original, self._desk.files)

    def words(self, before: str) -> Collection[str]:
        """What may follow the beginning of a line."""
        name, _, rest = before.strip().partition(" ")
        if not name:
            return [f"{one} " for one in {*self._schemas, *(one.split()[0] for one in OWN)}]
        if name == "submit":
            diagnosing = rest and not rest.endswith(",")
            return [] if diagnosing else [*bug_classes(), *(one.short for one in all_mutators())]
        parameters = self._schemas.get(name, {"parameters": {"properties": {}}})["parameters"]["properties"]
        if name != "edit" and not parameters:
            return []
        return [*self._desk.files, *(f"{one}=" for one in parameters)]

    def help(self) -> str:
        """The commands, with what they take."""
        lines = ["Tools; each use costs a step:"]
        for name, schema in self._schemas.items():
            if name != "submit":
                lines.append(f"  {usage(schema)}\n      {schema['description']}")
        lines.append('\nArguments follow in that order, or as NAME=VALUE; quote those with blanks: "a b".\n')
        lines += [f"  {name}\n      {about}" for name, about in OWN.items()]
        lines.append(f"\nClasses: {', '.join(f'{one.short} ({one.bug_class})' for one in all_mutators())}")
        return "\n".join(lines)

    def reveal(self) -> None:
        """What the episode was worth, and the truth."""
        say, score = self._terminal.say, self._desk.score
        assert score is not None
        best: Verdict | None = max(self._desk.verdicts, key=lambda one: one.rung, default=None)
        early = f" × {score.efficiency:.1f} for its early step + {score.bonus:.3f} for the diagnosis"
        say(f"\nThe episode is over. Score {score.score:.3f}: rung {score.rung:.2f}{early * score.solved}.\n")
        for rung, meaning in LADDER:
            here = best is not None and best.rung == rung
            mark = click.style("▶ ", fg="green", bold=True) if here else "  "
            say(f"{mark}{click.style(f'{rung:.2f}  {meaning}', bold=here)}")
        say()
        if best is None:
            say("No fix was handed in.")
        else:
            say(f"claim: {best.claim}")
        for bug in self._truth.bugs:
            state = f": {GONE[best.root_cause_fixed.get(bug)]}" if best else ""
            say(f"{click.style(bug, bold=True)}{state}")
            say(plain(f"    {self._truth.places.get(bug, '')}: {self._truth.causes.get(bug, '')}"))
        say("\nThe fix (broken → reference):\n")
        say(difference(self._truth.broken.files, self._truth.reference.files))
