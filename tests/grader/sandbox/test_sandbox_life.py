"""The life of a jail: killed anywhere, by whoever, it leaves nothing, and the next run is right."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from mldebug.errors import RunnerError, UsageError
from mldebug.grader.runner import Pool, RunRequest
from mldebug.grader.runner.processes import children_of, tree_below

PATIENCE = 30.0
SLOW = "import os, time\nos.fork()\nprint('slept', flush=True)\ntime.sleep(2)"


def until(condition) -> bool:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def family(pool: Pool) -> dict[str, int]:
    """The ids of one worker's processes: warden, zygote, usher, and during a run the cell's first and the
    run."""
    (worker,) = [*pool._idle, *pool._busy]
    found = {"warden": worker._process.pid}
    (found["zygote"],) = children_of(found["warden"])[0]
    below = children_of(found["zygote"])[0]
    found["usher"] = min(below)
    runs = below - {found["usher"]}
    if runs:
        cells = children_of(found["usher"])[0]
        first = [pid for pid in cells if pid_namespace(pid) == pid_namespace(max(runs))]
        if first:  # not so while the run is forked, or when it has just ended
            found["run"] = max(runs)
            (found["first"],) = first
    return found


def pid_namespace(pid: int) -> str:
    return str(Path(f"/proc/{pid}/ns/pid").readlink())


def leftovers(pids: dict[str, int]) -> set[str]:
    return {name for name, pid in pids.items() if Path(f"/proc/{pid}").exists()}


@pytest.fixture(scope="module")
def its_pool():
    with Pool(tier="strict") as pool:
        yield pool


@pytest.fixture
def own(its_pool, request_for):
    result = its_pool.run(request_for(""))
    if result.tier != "strict":
        pytest.skip(f"this machine gives no strict: {result.lacking.get('strict')}")
    return its_pool


@pytest.mark.parametrize("who", ["warden", "zygote"])
def test_a_run_whose_machinery_is_killed_is_tried_again(own, request_for, who):
    results = []
    thread = threading.Thread(target=lambda: results.append(own.run(request_for(SLOW))))
    thread.start()
    assert until(lambda: own._busy and "run" in family(own))
    before = family(own)
    os.kill(before[who], signal.SIGKILL)
    thread.join(PATIENCE)
    assert [result.outcome for result in results] == ["ok"]
    assert results[0].stdout.startswith("slept\n")
    assert until(lambda: leftovers(before) == set())


def test_a_run_whose_cell_is_killed_was_killed(own, request_for):
    results = []
    script = "import time\ntime.sleep(600)"
    thread = threading.Thread(target=lambda: results.append(own.run(request_for(script))))
    thread.start()
    assert until(lambda: own._busy and "run" in family(own))
    time.sleep(1.0)  # a cell that is killed before its run has begun is tried again
    before = family(own)
    os.kill(before["first"], signal.SIGKILL)
    thread.join(PATIENCE)
    assert [(result.outcome, result.signal) for result in results] == [("signal", signal.SIGKILL)]
    assert leftovers(before) == {"warden", "zygote", "usher"}
    assert own.run(request_for("print('fine')")).stdout == "fine\n"


def test_an_usher_killed_between_runs_is_replaced_with_its_zygote(own, request_for):
    before = family(own)
    os.kill(before["usher"], signal.SIGKILL)
    assert own.run(request_for("print('fine')")).stdout == "fine\n"
    assert until(lambda: leftovers(before) == set())


def test_runs_leave_no_process_no_descriptor_no_mount_and_no_folder(own, request_for, tmp_path):
    def counts() -> tuple[object, ...]:
        zygote = family(own)["zygote"]
        return (
            len(list(Path("/proc/self/fd").iterdir())),
            len(list(Path(f"/proc/{zygote}/fd").iterdir())),
            Path("/proc/self/mountinfo").read_text().count("\n"),
            Path(f"/proc/{zygote}/mountinfo").read_text().count("\n"),
        )

    def only_the_machinery_lives() -> bool:
        return len(tree_below(family(own)["warden"]).pids) == 3  # zygote, usher, the next run's empty cell

    own.run(request_for(""))  # what an earlier test killed has been replaced
    worker = own._idle[0]
    assert until(only_the_machinery_lives)
    before = counts()
    folders = sorted(path.name for path in worker._base.iterdir())
    for index in range(30):
        own.run(request_for("print(1)" if index % 3 else "import os\nos.fork()\nos.fork()\nos.abort()"))
    assert until(lambda: counts() == before), (counts(), before)
    assert until(only_the_machinery_lives), tree_below(family(own)["warden"])
    assert sorted(path.name for path in worker._base.iterdir()) == folders


def test_a_caller_with_threads_and_one_that_forks(own, request_for):
    outputs = []
    threads = [
        threading.Thread(target=lambda: outputs.append(own.run(request_for("print(2)")).stdout))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = int(own.run(request_for("print(3)")).stdout != "3\n")
            own.close()
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    for thread in threads:
        thread.join(PATIENCE)
    assert outputs == ["2\n"] * 3


def test_a_full_disk_is_the_runs_own_problem(own, request_for):
    script = """
        import os
        for name in ("/dev/shm/a", "b"):
            try:
                with open(name, "wb", 0) as stream:
                    while True:
                        stream.write(b"x" * (1 << 20))
            except OSError as error:
                print(type(error).__name__, error.errno)
    """
    result = own.run(request_for(script, memory_mib=600, file_bytes=800 << 20))
    assert result.outcome in ("ok", "memory")
    too_much = request_for("print(1)", files={"data": b"x" * (40 << 20)}, memory_mib=16)
    with pytest.raises(UsageError, match="do not fit"):
        own.run(too_much)
    assert own.run(request_for("print('fine')")).stdout == "fine\n"


PLAIN_USER = """
import os, sys, ctypes
sys.path.insert(0, sys.argv[1])
from mldebug.grader.sandbox import kernel
home = sys.argv[2]
kernel.unshare(kernel.CLONE_NEWNS)
kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
kept = {path: os.open(path, os.O_PATH) for path in sys.argv[3:]}
kernel.mount("home", home, "tmpfs", 0, "mode=755")
for path, source in kept.items():
    os.makedirs(path, exist_ok=True)
    kernel.mount(f"/proc/self/fd/{source}", path, None, kernel.MS_BIND | kernel.MS_REC)
os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
kernel.prctl(kernel.PR_SET_DUMPABLE, 1)
os.environ["HOME"] = "/"
from mldebug.grader.runner import Pool, RunRequest
with Pool() as pool:
    source = b"import os, torch\\nprint(os.getuid(), torch.cuda.is_available(), float(torch.ones(2).sum()))"
    result = pool.run(RunRequest({"train.py": source}, "train.py", device="cuda"))
    print(os.geteuid(), result.tier, len(result.guarantees), result.stdout, dict(result.lacking))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="this suite already runs as a plain user")
def test_a_plain_user(tmp_path):
    """In a mount namespace in which root's home is open as far as the interpreter needs it."""
    script = tmp_path / "plain.py"
    script.write_text(textwrap.dedent(PLAIN_USER))
    home = pwd.getpwuid(0).pw_dir
    interpreter = [sys.base_prefix] if sys.base_prefix.startswith(home + "/") else []
    unusual = [path for path in (sys.prefix, str(Path(__file__).parents[3])) if path.startswith(home + "/")]
    done = subprocess.run(
        [sys.executable, str(script), "", home, *interpreter, *unusual],
        capture_output=True,
        text=True,
        check=False,
        env={key: value for key, value in os.environ.items() if not key.startswith("MLDEBUG")}
        | {"TMPDIR": "/tmp"},
    )
    assert done.returncode == 0, done.stderr
    user, tier, guarantees, *printed = done.stdout.split()
    assert user == "65534"
    if tier != "strict":
        pytest.skip(f"a plain user gets {tier} here: {done.stdout}")
    assert (guarantees, printed[:3]) == ("10", ["1000", "True", "2.0"])


def test_requests_of_a_gone_workspace_are_errors_of_usage(strict):
    with pytest.raises(UsageError, match="both as a file and as a folder"):
        strict.run(RunRequest({"train.py": b"", "a": b"", "a/b": b""}, "train.py"))
    assert strict.run(RunRequest({"train.py": b"print(1)"}, "train.py", trace=False)).stdout == "1\n"


def test_at_last_a_pool_that_is_closed_during_a_run(own, request_for):
    failures = []

    def work() -> None:
        try:
            own.run(request_for("import time\ntime.sleep(600)", wall_seconds=700))
        except RunnerError as error:
            failures.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    assert until(lambda: own._busy and "run" in family(own))
    before = family(own)
    base = own._busy and next(iter(own._busy))._base
    own.close()
    thread.join(PATIENCE)
    assert failures == ["the run was interrupted: its pool was closed"]
    assert until(lambda: leftovers(before) == set())
    assert not base.exists()
