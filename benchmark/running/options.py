"""What a run is asked for: the command's options, a configuration file, and `-p` overrides."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import UsageError

RUN_KEYS: Mapping[str, type] = {
    "agents": list,
    "seed": int,
    "budget": int,
    "jobs": int,
    "executor": str,
    "ray_address": str,
    "shuffle": int,
    "limit": int,
    "strict_seed_scoring": bool,
}
"""What a configuration may say of the run; every other key must be an agent's name."""


@dataclass
class Asked:
    """run: of `RUN_KEYS`, what was said. agents: name of an agent → its settings."""

    run: dict[str, Any] = field(default_factory=dict)
    agents: dict[str, dict[str, Any]] = field(default_factory=dict)

    def take(self, key: str, value: Any, where: str) -> None:
        """Put one value in place: `budget`, or `debug.temperature`.

        Raises:
            UsageError: it is of the wrong kind.
        """
        name, dot, setting = key.partition(".")
        if dot:
            if not name or not setting:
                raise UsageError(f"{where}: {key!r} must be a name, or AGENT.SETTING")
            self.agents.setdefault(name, {})[setting] = value
        elif name in RUN_KEYS:
            if name == "agents" and isinstance(value, str):
                value = [one.strip() for one in value.split(",") if one.strip()]
            if type(value) is not RUN_KEYS[name]:
                raise UsageError(f"{where}: {name} must be of type {RUN_KEYS[name].__name__}, got {value!r}")
            self.run[name] = value
        else:
            raise UsageError(
                f"{where}: unknown key {name!r}; it takes {', '.join(RUN_KEYS)}, and AGENT.SETTING for an "
                "agent"
            )


def asked(config: Path | None, options: Mapping[str, Any], overrides: Iterable[str]) -> Asked:
    """A file's values, over them the command's options (None: not given), over them `-p key=value`.

    Raises:
        UsageError: something is not what it should be; says where.
    """
    found = Asked()
    if config is not None:
        for key, value in read_yaml(config).items():
            if isinstance(value, Mapping):
                for setting, one in value.items():
                    found.take(f"{key}.{setting}", one, str(config))
            else:
                found.take(str(key), value, str(config))
    for key, value in options.items():
        if value is not None:
            found.take(key, value, "options")
    for one in overrides:
        key, sign, text = one.partition("=")
        if not sign or not key.strip():
            raise UsageError(f"-p {one}: must be KEY=VALUE, e.g. -p debug.llm_name=my-model")
        found.take(key.strip(), read_value(text), f"-p {one}")
    return found


def read_value(text: str) -> Any:
    """A number, true, false or a JSON list if it reads as one; else the text itself."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def read_yaml(path: Path) -> dict[Any, Any]:
    """A YAML file that holds a mapping.

    Raises:
        UsageError: it cannot be read, is no YAML, or PyYAML is missing.
    """
    try:
        import yaml
    except ImportError:
        raise UsageError(f"{path}: reading YAML needs PyYAML; pip install 'mldebug[llm]'") from None
    try:
        found = yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from None
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise UsageError(f"{path}: must hold a mapping of names to values")
    return found
