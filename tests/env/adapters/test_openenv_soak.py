"""Many short episodes in sessions that come and go, on a server of its own: nothing piles up."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from ...written import rows
from .openenv_serving import ask, below, drop, raw, wait_for

TASKS = Path(__file__).parents[2] / "tasks.jsonl"
CLIENTS = 8
EPISODES = int(os.environ.get("MLDEBUG_SOAK_EPISODES", "2000"))
"""A smaller figure makes a smaller record; the one in docs/evidence says which it was."""
DROPPED, SOLVED_EVERY = 5, 50
"""One episode in five is left in the middle; one in fifty gets the reference."""
SOLVABLE = ("shape-tabular-1", "device-tabular-1", "eval-tabular-2", "leakage-tabular-2")
MOST_GROWTH_MIB = 64

LOOK = {"type": "inspect", "tool": "view_source"}
REFUSED = {"type": "fix", "bugs": ["shape"], "files": {"../outside.py": "x = 1"}}
HOSTILE = ({"type": "inspect", "tool": "no_such_tool"}, {"type": "fix", "script": 5}, {"type": "?"})


def memory_mib(pid: int) -> float:
    """Resident memory of one process."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0]) / 1024


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def threads(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


class Load:
    """The clients' side: what they did, and what went wrong."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._lock = threading.Lock()
        self._next = 0

    def run(self, episodes: int) -> None:
        last = self._next + episodes
        clients = [threading.Thread(target=self._client, args=(last,)) for _ in range(CLIENTS)]
        for one in clients:
            one.start()
        for one in clients:
            one.join()

    def _client(self, last: int) -> None:
        while True:
            with self._lock:
                number, self._next = self._next, self._next + 1
                if number >= last:
                    self._next = last
                    return
            try:
                done = self._episode(number)
            except Exception as error:
                with self._lock:
                    self.wrong.append(f"{number}: {type(error).__name__}: {error}")
                continue
            with self._lock:
                self.counts.update(done)

    def _episode(self, number: int) -> Counter[str]:
        done = Counter(episodes=1)
        connection = raw(self.url)
        options: dict[str, Any] = {"seed": number, "episode_id": f"soak-{number}"}
        solve = number % SOLVED_EVERY == 0
        row = rows()[SOLVABLE[number // SOLVED_EVERY % len(SOLVABLE)]]
        if solve:
            options = {
                "bugs": row["bugs"],
                "script": row["script"],
                "episode_id": f"soak-{number}",
                "seed": 0,
            }
        first = ask(connection, "reset", options)["data"]["observation"]
        actions = [LOOK, HOSTILE[number % len(HOSTILE)], REFUSED, LOOK]
        left = number % DROPPED == 1
        for step, action in enumerate(actions[: 1 + number % 4 if left else 4], 1):
            seen = ask(connection, "step", action)["data"]["observation"]
            done["steps"] += 1
            if (seen["task"], seen["step"]) != (first["task"], step):
                raise AssertionError(f"another's episode: {seen['task']} at {seen['step']}")
        if left:
            connection.send(json.dumps({"type": "step", "data": LOOK}))
            drop(connection)
            return done + Counter(dropped=1)
        last = REFUSED
        if solve:
            known = next(one for one in rows().values() if one["id"] == first["task"])
            last = {"type": "fix", "bugs": known["bugs"], "files": known["reference"]}
        data = ask(connection, "step", last)["data"]
        state = ask(connection, "state")["data"]
        if (
            not data["done"]
            or state["episode_id"] != f"soak-{number}"
            or (data["reward"] >= 0.99) is not solve
        ):
            raise AssertionError(f"not as it should be: {data['reward']}, {state}")
        connection.close()
        return done + Counter(steps=1, ended=1, solved=int(solve))


@pytest.mark.deep
def test_thousands_of_sessions_leave_nothing(
    evidence: Callable[[str, dict[str, Any]], None], tmp_path: Path
) -> None:
    log = tmp_path / "log"
    command = [sys.executable, "-m", "mldebug.cli", "serve", "--port", "0", "--tasks", str(TASKS)]
    with log.open("w") as stderr:
        server = subprocess.Popen(
            [*command, "--sessions", str(CLIENTS * 4)],
            stderr=stderr,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # background jobs ignore it
        )
    try:
        wait_for(lambda: "startup complete" in log.read_text(), 120)
        url = log.read_text().split("serving on ")[1].split()[0]
        load = Load(url)

        def open_sessions() -> int:
            with httpx.Client(trust_env=False, timeout=60) as client:
                return int(client.get(f"{url}/sessions").json()["open"])

        def settled() -> dict[str, float]:
            wait_for(lambda: open_sessions() == 0, 120)
            time.sleep(2)
            return {
                "memory_mib": round(memory_mib(server.pid), 1),
                "descriptors": descriptors(server.pid),
                "threads": threads(server.pid),
                "processes": len(below(server.pid)),
                "episodes": load.counts["episodes"],
            }

        part = EPISODES // 5
        marks = []
        for _ in range(5):
            load.run(part)
            marks.append(settled())
        children = below(server.pid)
        server.send_signal(signal.SIGINT)
        code = server.wait(60)
        wait_for(lambda: not any(Path(f"/proc/{child}").exists() for child in children))
    finally:
        server.kill()
        server.wait()

    first, last = marks[0], marks[-1]
    evidence(
        "openenv_soak",
        {
            "clients": CLIENTS,
            **load.counts,
            "different_fixes_solved": len(SOLVABLE),  # one again is answered from memory
            "wrong": load.wrong[:10],
            "marks": marks,
            "exit_code": code,
            "tracebacks_in_log": log.read_text().count("Traceback"),
        },
    )
    assert load.wrong == []
    assert load.counts["episodes"] == part * 5
    assert load.counts["dropped"] and load.counts["solved"] and load.counts["ended"]
    assert "Traceback" not in log.read_text()
    assert last["memory_mib"] - first["memory_mib"] < MOST_GROWTH_MIB
    assert last["descriptors"] <= first["descriptors"] + 4
    assert last["threads"] <= first["threads"] + 4
    assert last["processes"] <= first["processes"] + 2
    assert code == 130
