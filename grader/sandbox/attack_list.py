"""Hostile scripts, each with the weakest tier that contains it.

A script prints WON when it got what it wanted; what it did to the outside is looked for there. `ending` is
the set of outcomes that count as contained where the attack is on the runner's limits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

LIBC = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def call(*a):
    return libc.syscall(*[ctypes.c_long(x) if isinstance(x, int) else x for x in a])
"""


@dataclass(frozen=True)
class Attack:
    """One hostile script.

    name: a sentence's beginning. contained: the weakest tier that contains it.
    limits: of the run. ending: outcomes allowed, empty for any. collect: artifacts it tries to smuggle.
    before: a script that runs first, in a run of its own.
    """

    name: str
    contained: str
    script: str
    limits: Mapping[str, float] = field(default_factory=dict)
    ending: frozenset[str] = frozenset()
    collect: tuple[str, ...] = ()
    before: str = ""


def bound(name: str, script: str, ending: str, **limits: float) -> Attack:
    return Attack(name, "posix", script, limits, frozenset(ending.split()))


STUDY = (
    bound(
        "fork bomb",
        "import os, time\nfor _ in range(7):\n    os.fork()\n    time.sleep(0.01)\ntime.sleep(20)",
        "signal",
        processes=16,
    ),
    bound("memory, one process", "kept = [b'x' * (1 << 20) for _ in range(9000)]", "memory", memory_mib=500),
    bound(
        "memory, five processes",
        "import os, time\nfor _ in range(5):\n    if os.fork() == 0:\n"
        "        kept = b'x' * (300 << 20)\n        time.sleep(30)\ntime.sleep(30)",
        "memory",
        memory_mib=900,
    ),
    bound(
        "endless loop, signals ignored",
        "import signal\nfor n in (2, 15, 24):\n    signal.signal(n, signal.SIG_IGN)\nwhile True: pass",
        "timeout",
        wall_seconds=0.5,
    ),
    Attack(
        "double-fork daemon",
        "posix",
        "import os, time, fcntl\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n"
        "        os.closerange(0, 3)\n        try:\n            f = open(FOLDER + '/lock', 'w')\n"
        "            fcntl.flock(f, 2)\n        finally:\n            time.sleep(60)\n    os._exit(0)\n"
        "time.sleep(0.2)",
    ),
    bound(
        "300 MB of output",
        "import os\nfor _ in range(4600):\n    os.write(1, b'x' * 65536)",
        "ok",
        output_bytes=1000,
    ),
    Attack(
        "fill the disk",
        "strict",
        "n = 0\ntry:\n    for i in range(10):\n        with open(f'f{i}', 'wb') as f:\n"
        "            for _ in range(60): n += f.write(b'x' * (1 << 20))\n"
        "except OSError: pass\nif n >= 600 << 20: print('WON')",
        {"memory_mib": 500},
    ),
    Attack(
        "fill /dev/shm",
        "strict",
        "import os\nn = 0\nnames = [f'/dev/shm/mldebug-attack-{i}' for i in range(10)]\ntry:\n"
        "    for name in names:\n        with open(name, 'wb') as f:\n"
        "            for _ in range(60): n += f.write(b'x' * (1 << 20))\n"
        "except OSError: pass\nfor name in names:\n    if os.path.exists(name): os.unlink(name)\n"
        "if n >= 600 << 20: print('WON')",
        {"memory_mib": 500},
    ),
    Attack(
        "TCP connection",
        "restricted",
        "import socket\nsocket.create_connection(('127.0.0.1', PORT), 2)",
    ),
    Attack(
        "UDP datagram",
        "restricted",
        "import socket\nsocket.socket(2, 2).sendto(b'x', ('127.0.0.1', UDP))",
    ),
    Attack(
        "abstract Unix socket", "restricted", "import socket\nsocket.socket(socket.AF_UNIX).connect(ABSTRACT)"
    ),
    Attack(
        "pathname Unix socket", "strict", "import socket\nsocket.socket(socket.AF_UNIX).connect(PATHNAME)"
    ),
    Attack("read the answer key", "restricted", "if 'answer' in open(SECRET).read(): print('WON')"),
    Attack(
        "read the caller's environment",
        "restricted",
        "if open(f'/proc/{CALLER}/environ', 'rb').read(1): print('WON')",
    ),
    Attack("write outside", "restricted", "open(FOLDER + '/written', 'w').write('x')"),
    Attack("chmod outside", "restricted", "import os\nos.chmod(SECRET, 0o600)"),
    Attack("kill a process outside", "restricted", "import os\nos.kill(VICTIM, 9)"),
    Attack(
        "ptrace a process outside",
        "restricted",
        LIBC + "libc.ptrace.restype = ctypes.c_long\nif libc.ptrace(16, VICTIM, 0, 0) == 0: print('WON')",
    ),
    Attack(
        "forge through an inherited descriptor",
        "posix",
        "import os\nfor n in os.listdir('/proc/self/fd'):\n    try: t = os.readlink(f'/proc/self/fd/{n}')\n"
        "    except OSError: continue\n    if 'socket' in t or t.startswith('/') and t != '/dev/null'"
        " and '/proc/' not in t and 'memfd:record' not in t: print('WON')",
    ),
    bound("segfault through ctypes", "import ctypes\nctypes.string_at(0)", "signal"),
    bound("exit early with success", "import os\nos._exit(0)", "ok"),
    Attack(
        "symbolic link as an artifact",
        "posix",
        "import os\nos.symlink(SECRET, 'a')",
        collect=("a",),
        ending=frozenset(("ok", "error")),
    ),
    Attack("FIFO as an artifact", "posix", "import os\nos.mkfifo('a')", collect=("a",)),
)
