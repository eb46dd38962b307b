"""Zygotes and callers that die, several threads, and what is left afterwards: nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from mldebug.errors import RunnerError, UsageError
from mldebug.grader.runner import Pool
from mldebug.grader.runner.folder import PREFIX
from mldebug.grader.runner.processes import every_process

PATIENCE = 30.0


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    """Of one worker, and this module's own: its zygotes are killed. Of the weakest tier, in which a run and
    its zygote can reach each other; tests/grader/sandbox does the like to the strongest."""
    with Pool(tier="posix") as own:
        yield own


def until(condition) -> bool:
    """Wait for something that happens soon in another process."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def holders(mark: str) -> list[int]:
    """Processes that carry a zygote's folder in their environment."""
    found = []
    for pid in every_process():
        try:
            content = Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            continue
        if mark.encode() in content and pid != os.getpid():
            found.append(pid)
    return found


def zygote_of(pool: Pool) -> int:
    (worker,) = [*pool._idle, *pool._busy]
    return worker._process.pid


def base_of(pool: Pool) -> Path:
    (worker,) = [*pool._idle, *pool._busy]
    return worker._base


def test_a_zygote_killed_between_runs_is_replaced(go, pool):
    go("")
    first, base = zygote_of(pool), base_of(pool)
    os.kill(first, signal.SIGKILL)
    assert go("print('again')").stdout == "again\n"
    assert zygote_of(pool) != first
    assert not base.exists()


def test_a_zygote_killed_during_a_run_is_replaced_and_its_run_tried_again(go, pool, tmp_path):
    go("")
    base = base_of(pool)
    flag = tmp_path / "flag"
    script = f"""
        import os, pathlib, time
        flag = pathlib.Path({str(flag)!r})
        if not flag.exists():
            flag.touch()
            if os.fork() == 0:
                os.setsid()
            time.sleep(600)
        print("second time")
    """
    first = zygote_of(pool)
    threading.Thread(target=lambda: until(flag.exists) and os.kill(first, signal.SIGKILL)).start()
    assert go(script).stdout == "second time\n"
    assert holders(str(base)) == []
    assert not base.exists()


def test_a_run_that_always_kills_its_zygote_is_an_error(go, pool):
    with pytest.raises(RunnerError, match="failed 2 times"):
        go("import os, time; os.kill(os.getppid(), 9); time.sleep(600)")
    assert go("print('fine')").stdout == "fine\n"


def test_a_zygote_that_is_stopped_is_given_up(go, pool, monkeypatch):
    monkeypatch.setattr("mldebug.grader.runner.pool.TRIES", 1)
    monkeypatch.setattr("mldebug.grader.runner.worker.GRACE_SECONDS", 0.3)
    monkeypatch.setattr("mldebug.grader.runner.worker.STOP_SECONDS", 0.3)
    with pytest.raises(RunnerError, match="did not answer"):
        go("import os, time; os.kill(os.getppid(), 19); time.sleep(600)", wall_seconds=0.2)
    assert go("print('fine')").stdout == "fine\n"


def test_an_interpreter_that_cannot_start_is_an_error(monkeypatch, request_for):
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    with Pool() as pool, pytest.raises(RunnerError, match="cannot start"):
        pool.run(request_for(""))
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with Pool() as pool, pytest.raises(RunnerError, match="failed 2 times"):
        pool.run(request_for(""))


def test_nothing_is_left_in_the_temporary_folder(tmp_path, monkeypatch, request_for):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with Pool() as pool:
        pool.run(request_for("open('x', 'w').write('x')"))
        base = base_of(pool)
        assert [path.name for path in tmp_path.iterdir()] == [base.name]
    assert list(tmp_path.iterdir()) == []
    assert holders(str(base)) == []


def test_a_killed_caller_leaves_nothing(tmp_path):
    script = """
        from mldebug.grader.runner import Pool, RunRequest
        source = '''
        import os, time
        if os.fork() == 0:
            os.setsid()
            if os.fork():
                os._exit(0)
        open(os.environ["FLAG"] if "FLAG" in os.environ else "/dev/null", "a")
        print(os.getpid(), flush=True)
        time.sleep(600)
        '''
        import textwrap
        Pool().run(RunRequest({"train.py": textwrap.dedent(source).encode()}, "train.py", trace=False))
    """
    caller = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], env={**os.environ, "TMPDIR": str(tmp_path)}
    )
    try:
        # the zygote, the run and its daemon
        assert until(lambda: len(holders(str(tmp_path / PREFIX))) >= 3)
    finally:
        caller.kill()
        caller.wait()
    assert until(lambda: holders(str(tmp_path / PREFIX)) == [])
    assert until(lambda: list(tmp_path.iterdir()) == [])


def test_an_interrupted_caller_leaves_nothing(tmp_path):
    script = """
        from mldebug.grader.runner import Pool, RunRequest
        with Pool(workers=2) as pool:
            pool.map([RunRequest({"train.py": b"import time; time.sleep(600)"}, "train.py", trace=False)] * 3)
    """
    caller = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # background jobs ignore it
        text=True,
    )
    try:
        assert until(lambda: len(holders(str(tmp_path / PREFIX))) >= 4)
        os.killpg(caller.pid, signal.SIGINT)
        _, errors = caller.communicate(timeout=PATIENCE)
    finally:
        caller.kill()
        caller.wait()
    assert "KeyboardInterrupt" in errors
    assert holders(str(tmp_path / PREFIX)) == []
    assert list(tmp_path.iterdir()) == []


def test_many_runs_leak_no_descriptor_and_no_process(go, pool):
    go("")

    def counts() -> tuple[int, int, int]:
        zygote = zygote_of(pool)
        return (
            len(list(Path("/proc/self/fd").iterdir())),
            len(list(Path(f"/proc/{zygote}/fd").iterdir())),
            len(holders(str(base_of(pool)))),
        )

    before = counts()
    for index in range(24):
        go("print('x')" if index % 3 else "import os; os.fork(); os.fork(); os.abort()")
    assert counts() == before


def test_two_threads_share_a_pool(pool, request_for):
    requests = [request_for(f"print({index})") for index in range(8)]
    results: dict[int, str] = {}

    def work(mine: range) -> None:
        for index in mine:
            results[index] = pool.run(requests[index]).stdout

    threads = [threading.Thread(target=work, args=(range(start, 8, 2),)) for start in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {index: f"{index}\n" for index in range(8)}


def test_map_keeps_the_order_over_workers_and_recycles_them(request_for):
    with Pool(workers=2, recycle_after=2, tier="posix") as pool:
        requests = [
            request_for(f"import os, time; time.sleep({0.2 if i == 0 else 0})\nprint({i}, os.getppid())")
            for i in range(5)
        ]
        printed = [result.stdout.split() for result in pool.map(requests)]
        assert [index for index, _ in printed] == [str(index) for index in range(5)]
        assert max(Counter(zygote for _, zygote in printed).values()) <= 2
        assert pool.map([]) == []
        zygotes = {worker._process.pid for worker in pool._idle}
        assert len(zygotes) <= 2
        with pytest.raises(UsageError):
            pool.map([requests[0], request_for("", files={"/x": b""})])


def test_a_closed_pool_says_so_and_closing_ends_a_run_of_another_thread(request_for):
    pool = Pool(tier="posix")  # its two processes, zygote and run, stay two until it is closed
    failures: list[str] = []

    def work() -> None:
        try:
            pool.run(request_for("import time; time.sleep(600)"))
        except RunnerError as error:
            failures.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    assert until(lambda: pool._busy and len(holders(str(base_of(pool)))) == 2)
    base = base_of(pool)
    pool.close()
    thread.join(PATIENCE)
    assert failures == ["the run was interrupted: its pool was closed"]
    assert until(lambda: holders(str(base)) == [])
    with pytest.raises(RunnerError, match="closed"):
        pool.run(request_for(""))
    pool.close()


def test_a_forked_caller_starts_its_own_zygote(go, pool, request_for):
    go("")
    zygote = zygote_of(pool)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            output = pool.run(request_for("import os; print(os.getppid())")).stdout
            os.write(write, output.encode())
            pool.close()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert status == 0
    assert int(os.read(read, 100)) != zygote
    os.close(read)
    os.close(write)
    assert go("import os; print(os.getppid())").stdout == f"{zygote}\n"


@pytest.mark.parametrize("numbers", [(0, 10), (1, 0)])
def test_nonsense_sizes_are_refused(numbers):
    with pytest.raises(UsageError):
        Pool(numbers[0], recycle_after=numbers[1])
