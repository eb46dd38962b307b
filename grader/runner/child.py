"""The child's side of one run: it becomes what `python train.py` would be, runs it, and leaves a record."""

from __future__ import annotations

import atexit
import builtins
import contextlib
import ctypes
import fcntl
import gc
import importlib.machinery
import io
import json
import os
import random
import signal
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from . import tracebacks
from .jail import Room
from .processes import PR_SET_PDEATHSIG, names_in, prctl
from .protocol import FAILED, LONGEST_FAILURE
from .request import Limits

READY = "ready"
SPOILING = ("no_gradient", "no_backward")
"""Probes that are the recorder's to carry out."""
SEED = 0
"""Of every generator a script might use without seeding it: the same request has to give the same bytes."""
OTHER_SEED = 1_000_003
"""What is added to each seed where a run is asked for with other seeds."""
AT_STARTUP = frozenset(
    {"abc", "codecs", "encodings", "genericpath", "io", "os", "posixpath", "site", "stat", "sys", "zipimport"}
)
"""Modules that Python has imported before it looks into a script's folder: none there can replace them."""

NICENESS = 0
"""Of a run; set by the zygote."""

_DESCRIPTORS = os.sysconf("SC_OPEN_MAX")
_write, _pwrite, _ftruncate, _dumps = os.write, os.pwrite, os.ftruncate, json.dumps
"""As they were before a script could replace them."""


@dataclass(frozen=True)
class Descriptors:
    """All that a child is given: three pipes to write to, and the file for its record."""

    output: int
    errors: int
    ready: int
    record: int


def preload() -> None:
    """Import, in the zygote, what every child needs."""
    import numpy.random  # noqa: F401
    import torch.backends.mha  # noqa: F401

    from ..device import install  # noqa: F401
    from ..trace import Recorder  # noqa: F401


def main(order: dict[str, Any], limits: Limits, room: Room, given: Descriptors) -> NoReturn:
    """Run an order in this freshly forked process, and end it."""
    try:
        _separate(given, room.parent)
        room.enter(limits)
        given = _hold_only(given)
        _settle(room.folder, order)
        recorder = _prepare_torch(order)
        code_path = _become(room.folder / "workspace", order)
        if recorder is not None:
            recorder.start()
        os.write(given.ready, READY.encode())
        os.close(given.ready)
    except BaseException as error:
        with contextlib.suppress(BaseException):
            os.write(given.ready, f"{type(error).__name__}: {error}".encode()[:2000])
        os._exit(1)
    me = os.getpid()
    try:
        _execute(code_path, recorder, given.record)
    except BaseException as error:
        if os.getpid() == me:
            _report(given.record, error)
    finally:
        # Whatever a script broke of what is needed here, the child must not return into the zygote's code.
        os._exit(1)


def _report(record_fd: int, error: BaseException) -> None:
    """Say that this code failed, not the script: in the record, which makes the run a RunnerError, and on
    stderr, for a script that closed the record's descriptor.

    A script can write such a record too, as it can kill its zygote: it is then not graded, never paid.
    """
    text = type(error).__name__
    with contextlib.suppress(BaseException):
        text = f"{text}: {error}"
    report = FAILED + text.encode(errors="replace")[:LONGEST_FAILURE]
    with contextlib.suppress(BaseException):
        _overwrite(record_fd, report)
    with contextlib.suppress(BaseException):
        _write(2, b"the run's own end " + report + b"\n")


def _separate(given: Descriptors, parent: int) -> None:
    """Own session; dies with the zygote."""
    os.setsid()
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, NICENESS)
    os.dup2(given.output, 1)
    os.dup2(given.errors, 2)


def _hold_only(given: Descriptors) -> Descriptors:
    """Keep stdin, stdout and stderr, the record as 3 and the pipe as 4: a script gets the same numbers for
    what it opens wherever it runs."""
    high = [fcntl.fcntl(one, fcntl.F_DUPFD_CLOEXEC, 5) for one in (given.record, given.ready)]
    for number, one in enumerate(high, 3):
        os.dup2(one, number, inheritable=False)
    os.closerange(5, _DESCRIPTORS)
    return Descriptors(1, 2, ready=4, record=3)


def _settle(folder: Path, order: dict[str, Any]) -> None:
    workspace = folder / "workspace"
    os.chdir(workspace)
    os.environ.update(HOME=str(folder / "home"), TMPDIR=str(folder / "tmp"), PWD=str(workspace))
    if not _real_accelerator(order):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    tempfile.tempdir = None


def _real_accelerator(order: dict[str, Any]) -> bool:
    return bool(order["device"] == "cuda" and os.environ.get("MLDEBUG_DEVICE") == "cuda")


def _prepare_torch(order: dict[str, Any]) -> Any:
    """Seed and settle the libraries; the recorder, if the run is observed."""
    import numpy
    import torch

    _settle_entropy()
    random.seed(SEED)
    numpy.random.seed(SEED)
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    torch.backends.mha.set_fastpath_enabled(False)
    if order["device"] == "cuda" and not _real_accelerator(order):
        from ..device import install

        install(shifted=order["probe"] == "shifted_device")
    if order["probe"] == "reseeded":
        _reseed()
    if not order["trace"]:
        return None
    from ..trace import Recorder

    return Recorder(spoil=order["probe"] if order["probe"] in SPOILING else "", inputs=order["inputs"])


def _settle_entropy() -> None:
    """Give generators that a script leaves unseeded (`default_rng()`, `random.Random()`) the same entropy in
    every run: a job that forgot a seed can then be compared with itself."""
    stream = random.Random(SEED)
    seed = random.Random.seed

    def seeded(self: random.Random, a: Any = None, version: int = 2) -> None:
        seed(self, stream.getrandbits(64) if a is None else a, version)

    random.Random.seed = seeded  # type: ignore[method-assign]
    random._urandom = stream.randbytes  # type: ignore[attr-defined]


def _reseed() -> None:
    """Give every generator another seed than the one that the script sets (or leaves unset)."""
    import numpy
    import torch

    places: list[tuple[Any, str]] = [(torch, "manual_seed"), (torch.random, "manual_seed")]
    places += [(torch.cuda, "manual_seed"), (torch.cuda, "manual_seed_all")]
    places += [(numpy.random, name) for name in ("seed", "default_rng", "RandomState")]
    places.append((random, "seed"))
    for space, name in places:
        setattr(space, name, _with_other_seeds(getattr(space, name)))
    for seed in (random.seed, numpy.random.seed, torch.manual_seed):
        seed(SEED)


def _with_other_seeds(original: Any) -> Any:
    def seeded(*args: Any, **kwargs: Any) -> Any:
        if args and isinstance(args[0], int) and not isinstance(args[0], bool):
            args = ((args[0] + OTHER_SEED) % 2**32, *args[1:])
        kwargs = {
            name: (value + OTHER_SEED) % 2**32 if name == "seed" and isinstance(value, int) else value
            for name, value in kwargs.items()
        }
        return original(*args, **kwargs)

    return seeded


def _become(workspace: Path, order: dict[str, Any]) -> str:
    """Make `sys` and `__main__` what they are under `python ENTRYPOINT …`; the entry point's full path."""
    entrypoint: str = order["entrypoint"]
    path = str(workspace / entrypoint)
    sys.argv = [entrypoint, *order["arguments"]]
    sys.orig_argv = [sys.executable, *sys.argv]
    sys.path.insert(0, str(Path(path).parent))
    _make_way(Path(path).parent)
    module = ModuleType("__main__")
    module.__dict__.update(
        __file__=path,
        __builtins__=builtins,
        __loader__=importlib.machinery.SourceFileLoader("__main__", path),
        __annotations__={},
        __cached__=None,
    )
    sys.modules["__main__"] = module
    return path


def _make_way(folder: Path) -> None:
    """Forget preloaded modules that the script's own of the same name would have replaced."""
    own = {name.removesuffix(".py") for name in names_in(folder)}
    own -= AT_STARTUP | set(sys.builtin_module_names)
    for name in [name for name in sys.modules if name.split(".")[0] in own]:
        del sys.modules[name]


def _execute(path: str, recorder: Any, record_fd: int) -> NoReturn:
    me = os.getpid()
    error = _call(path)
    ending: BaseException | None = None
    if error is not None and not isinstance(error, SystemExit):
        through = tracebacks.went_through_torch(error)
        tracebacks.clean(error)
        _print_exception(error)
        ending = error
    _wait_for_threads()
    code = _exit_code(error)
    # a timer that the script left behind must not raise into what follows
    heard = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    if recorder is not None and os.getpid() == me:
        record = recorder.stop()
        record["exception"] = None
        record["finished"] = error is None or (isinstance(error, SystemExit) and code == 0)
        if ending is not None:
            if through and record["swallowed"]:
                record["swallowed"] -= 1
            record["exception"] = tracebacks.describe(
                ending, str(Path(path).parent), record["optimizer_steps"]
            )
        _write_record(record_fd, record)
    signal.pthread_sigmask(signal.SIG_SETMASK, heard)
    atexit._run_exitfuncs()
    _flush()
    if isinstance(ending, KeyboardInterrupt):
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    os._exit(code)


def _call(path: str) -> BaseException | None:
    """Run the file as `__main__`; what it raised."""
    try:
        code = compile(Path(path).read_bytes(), path, "exec", dont_inherit=True)
        exec(code, sys.modules["__main__"].__dict__)
    except BaseException as error:
        return error
    return None


def _wait_for_threads() -> None:
    """Join the script's threads; what its callbacks raise meanwhile is printed and changes nothing, as at the
    end of Python."""
    try:
        threading._shutdown()  # type: ignore[attr-defined]
    except BaseException as error:
        with contextlib.suppress(BaseException):
            print(f"Exception ignored in: {threading!r}", file=sys.stderr)
            sys.__excepthook__(type(error), error, error.__traceback__)


def _print_exception(error: BaseException) -> None:
    with contextlib.suppress(BaseException):
        sys.stdout.flush()
    try:
        sys.excepthook(type(error), error, error.__traceback__)
    except BaseException:
        sys.__excepthook__(type(error), error, error.__traceback__)


def _exit_code(error: BaseException | None) -> int:
    """What Python would exit with; prints a message given to `sys.exit`, as Python would."""
    if error is None:
        return 0
    if not isinstance(error, SystemExit):
        return 1
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        return error.code & 0xFF
    with contextlib.suppress(BaseException):
        sys.stdout.flush()
        print(error.code, file=sys.stderr, flush=True)
    return 1


def _write_record(record_fd: int, record: dict[str, Any]) -> None:
    content = _dumps(record).encode()
    with contextlib.suppress(OSError):  # the script closed it: there is no record then
        _overwrite(record_fd, content)


def _overwrite(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    _ftruncate(descriptor, 0)
    position = 0
    while position < len(view):
        position += _pwrite(descriptor, view[position:], position)


def _flush() -> None:
    """Flush every open file, as the end of the interpreter does by closing them."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(BaseException):
            stream.flush()
    for kind in (io.TextIOWrapper, io.BufferedIOBase):
        for one in gc.get_objects():
            if issubclass(type(one), kind):  # `isinstance` asks the object, and a dead weak proxy raises
                with contextlib.suppress(BaseException):
                    one.flush()
    ctypes.CDLL(None).fflush(None)
