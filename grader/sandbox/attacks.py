"""Attacks on the jail, tried in every tier: `python -m mldebug.grader.sandbox.attacks --markdown`."""

from __future__ import annotations

import json
import time

import click

from ...errors import RunnerError
from ..runner import Limits, Pool, RunRequest
from .attack_list import STUDY, Attack
from .attack_list_more import MORE
from .guarantees import TIERS
from .world import SECRET, World

ATTACKS: tuple[Attack, ...] = (*STUDY, *MORE)
WALL_SECONDS = 10.0
PATIENCE_SECONDS = 20.0
"""Beyond the wall limit of an attack that did not hang the runner: machines are busy."""


def tried(attack: Attack, pool: Pool, world: World) -> str:
    """What an attack got away with in this pool's tier; empty when it was contained."""
    world.renew()
    limits = Limits(**{"wall_seconds": WALL_SECONDS, **attack.limits})  # type: ignore[arg-type]
    started = time.monotonic()
    try:
        if attack.before:
            pool.run(_request(attack.before, Limits(wall_seconds=WALL_SECONDS), world, ()))
        result = pool.run(_request(attack.script, limits, world, attack.collect))
    except RunnerError as error:
        return f"the runner failed: {error}"
    took = time.monotonic() - started
    if "WON" in result.stdout:
        return "it got what it wanted"
    if harm := world.harm():
        return harm
    if attack.ending and result.outcome not in attack.ending:
        return f"it ended with {result.outcome}: {result.stderr[-300:]}"
    if any(SECRET.encode() in content for content in result.artifacts.values()):
        return "the secret was collected"
    if took > limits.wall_seconds + WALL_SECONDS + PATIENCE_SECONDS:
        return f"it took {took:.0f} s"
    return ""


def _request(script: str, limits: Limits, world: World, collect: tuple[str, ...]) -> RunRequest:
    source = (world.facts() + script).encode()
    return RunRequest({"train.py": source}, "train.py", trace=False, collect=collect, limits=limits)


def is_contained(attack: Attack, tier: str) -> bool:
    """Whether the list says that a tier contains an attack."""
    return TIERS.index(tier) <= TIERS.index(attack.contained)


def markdown(findings: dict[str, dict[str, str]]) -> str:
    """The table attack × tier. A dash is for a tier that this machine does not give."""
    lines = [f"| attack | {' | '.join(TIERS)} |", f"| --- |{' --- |' * len(TIERS)}"]
    for attack in ATTACKS:
        cells = [_cell(findings.get(tier), attack) for tier in TIERS]
        lines.append(f"| {attack.name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(found: dict[str, str] | None, attack: Attack) -> str:
    if found is None:
        return "–"
    return "✗" if found[attack.name] else "✓"


def everything() -> dict[str, dict[str, str]]:
    """Tier → attack → what it got away with, on this machine."""
    findings: dict[str, dict[str, str]] = {}
    with World() as world:
        for tier in TIERS:
            with Pool(tier=tier) as pool:
                empty = RunRequest({"train.py": b""}, "train.py", trace=False)
                if pool.run(empty).tier == tier:
                    findings[tier] = {attack.name: tried(attack, pool, world) for attack in ATTACKS}
    return findings


@click.command()
@click.option("--markdown", "as_markdown", is_flag=True, help="The table of docs/threat-model.md.")
def main(as_markdown: bool) -> None:
    """Try every attack in every tier; the exit code is 1 where one succeeds in `strict`."""
    findings = everything()
    click.echo(markdown(findings) if as_markdown else json.dumps(findings, indent=2))
    raise SystemExit(any(findings.get("strict", {"": "not given"}).values()))


if __name__ == "__main__":
    main()
