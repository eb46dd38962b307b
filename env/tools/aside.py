"""Work on hostile text that no Python code can bound from within (a regular expression, the compiler): done
in a process of its own, with limits on time and memory."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

CPU_SECONDS = 1
WALL_SECONDS = 30.0
"""Only for a machine that gives the process nothing to run on."""
MEMORY_BYTES = 1 << 30

_LIMITS = f"""
import resource
resource.setrlimit(resource.RLIMIT_CPU, ({CPU_SECONDS}, {CPU_SECONDS + 1}))
resource.setrlimit(resource.RLIMIT_AS, ({MEMORY_BYTES}, {MEMORY_BYTES}))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
import json, sys
order = json.loads(sys.stdin.buffer.read())
"""


def aside(program: str, order: Any) -> Any:
    """What a program prints as JSON; it finds its order in the variable `order` and has the standard library.

    None where it failed, or came to a limit.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _LIMITS + program],
            input=json.dumps(order).encode(),
            capture_output=True,
            timeout=WALL_SECONDS,
            check=False,
            cwd="/",
        )
        return json.loads(done.stdout) if done.returncode == 0 else None
    except (subprocess.TimeoutExpired, ValueError):
        return None
