"""`llm.yaml`: which models there are, where they are reached, and what they cost."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from ...errors import UsageError
from ...output.whole_file import put_whole
from ..running.options import read_yaml

VARIABLE = "MLDEBUG_LLM_CONFIG"
TEMPLATE = """\
# Models for `mldebug bench run --agent debug -p debug.llm_name=NAME`: one entry for each NAME.
# Any endpoint that speaks the chat-completions protocol of OpenAI will do.

local:
  base_url: http://localhost:8000/v1
  model: name-that-the-server-knows
  # api_key_env: MY_API_KEY        # the environment variable that holds the key; or api_key: ...
  timeout: 120                     # seconds for one request, all included
  retries: 4                       # after time-outs, lost connections, 408, 409, 429 and 5xx
  # price: {prompt: 0.5, completion: 1.5}   # dollars for a million tokens, for the cost column
"""


@dataclass(frozen=True)
class Model:
    """One entry. timeout: seconds. retries: after the first try. prices: dollars for a million tokens."""

    name: str
    base_url: str
    model: str
    api_key: str | None = field(default=None, repr=False)
    timeout: float = 120.0
    retries: int = 4
    prompt_price: float = 0.0
    completion_price: float = 0.0


def place(environ: Mapping[str, str] = os.environ) -> Path:
    """Where `llm.yaml` is looked for: where `MLDEBUG_LLM_CONFIG` says, else in the user's configuration."""
    if named := environ.get(VARIABLE, "").strip():
        return Path(named)
    base = environ.get("XDG_CONFIG_HOME", "").strip() or "~/.config"
    return Path(base).expanduser() / "mldebug" / "llm.yaml"


def begin(path: Path, *, force: bool = False) -> None:
    """Write a template that only its owner can read.

    Raises:
        UsageError: a file is there already, or it cannot be written.
    """
    if path.exists() and not force:
        raise UsageError(f"{path}: is there already; edit it, or replace it with --force")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        put_whole(path, TEMPLATE.encode(), mode=0o600)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror})") from None


def find_model(name: str, environ: Mapping[str, str] = os.environ) -> Model:
    """The entry of a name.

    Raises:
        UsageError: there is no file, no such entry, or something in it is not what it should be.
    """
    path = place(environ)
    if not path.is_file():
        raise UsageError(
            f"{path}: there is no such file, so no model is known; `mldebug bench init-llm` makes one "
            f"({VARIABLE} names another place)"
        )
    entries = read_yaml(path)
    if name not in entries:
        known = ", ".join(map(str, entries)) or "none"
        raise UsageError(
            f"{path}: has no model {name!r}; it has: {known}. Choose with -p AGENT.llm_name=NAME"
        )
    entry = entries[name]
    if not isinstance(entry, Mapping):
        raise UsageError(f"{path}, {name}: must be a mapping with base_url and model")
    return _model(name, dict(entry), f"{path}, {name}", environ)


def _model(name: str, entry: dict[Any, Any], where: str, environ: Mapping[str, str]) -> Model:
    prices = entry.pop("price", None) or {}
    variable = entry.pop("api_key_env", None)
    takes = {one.name for one in fields(Model)} - {"name", "prompt_price", "completion_price"}
    if foreign := sorted(str(one) for one in entry if one not in takes):
        raise UsageError(f"{where}: there is no {foreign[0]!r}; it takes {', '.join(sorted(takes))}, price")
    for one, kinds in (("base_url", str), ("model", str), ("timeout", (int, float)), ("retries", int)):
        missing = one in ("base_url", "model") and one not in entry
        if missing or (one in entry and (not isinstance(entry[one], kinds) or isinstance(entry[one], bool))):
            raise UsageError(f"{where}: {one} is missing or of the wrong kind")
    if not entry["base_url"].startswith(("http://", "https://")):
        raise UsageError(f"{where}: base_url must begin with http:// or https://")
    if entry.get("timeout", 1) <= 0 or entry.get("retries", 0) < 0:
        raise UsageError(f"{where}: timeout must be above 0 and retries 0 or more")
    if variable is not None:
        if not environ.get(str(variable)):
            raise UsageError(f"{where}: the environment variable {variable}, which holds the key, is not set")
        entry["api_key"] = environ[str(variable)]
    try:
        costs: dict[str, Any] = {
            f"{one}_price": float(prices.get(one, 0.0)) for one in ("prompt", "completion")
        }
    except (AttributeError, TypeError, ValueError):
        raise UsageError(f"{where}: price must be {{prompt: NUMBER, completion: NUMBER}}") from None
    return Model(name=name, **entry, **costs)
