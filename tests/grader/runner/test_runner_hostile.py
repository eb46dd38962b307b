"""Runs that misbehave are ended, cut off or refused, and leave nothing."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mldebug.errors import RunnerError
from mldebug.grader.runner.artifacts import collect
from mldebug.grader.runner.folder import PREFIX
from mldebug.grader.runner.processes import stop_below, tree_below


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def state(pid: int) -> str:
    """The letter of a process's state, as in /proc/…/stat."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_an_endless_loop_that_ignores_signals(go):
    result = go(
        """
        import signal
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGALRM, signal.SIGXCPU):
            signal.signal(number, signal.SIG_IGN)
        print("started", flush=True)
        while True:
            pass
        """,
        wall_seconds=0.3,
    )
    assert (result.outcome, result.exit_code, result.signal) == ("timeout", None, signal.SIGKILL)
    assert result.stdout == "started\n"


def test_a_stopped_process_and_a_sleeping_thread_are_timed_out(go):
    assert (
        go("import os, signal; os.kill(os.getpid(), signal.SIGSTOP)", wall_seconds=0.4).outcome == "timeout"
    )
    sleeping = "import threading, time; threading.Thread(target=time.sleep, args=(60,)).start()"
    assert go(sleeping, wall_seconds=0.4).outcome == "timeout"


@pytest.mark.parametrize("handler", ["SIG_DFL", "SIG_IGN"])
def test_the_processor_time_limit(go, handler):
    script = f"import signal; signal.signal(signal.SIGXCPU, signal.{handler})\nwhile True: pass\n"
    result = go(script, cpu_seconds=1)
    assert result.outcome == "timeout"
    assert result.cpu_seconds < 20


def test_a_memory_hog_in_one_process(go):
    result = go("kept = [b'x' * (1 << 20) for _ in range(100_000)]", memory_mib=500)
    assert (result.outcome, result.exit_code) == ("memory", None)
    assert result.peak_mib > 500


def test_a_memory_hog_in_several_processes(go):
    result = go(
        """
        import os, time
        for _ in range(4):
            if os.fork() == 0:
                kept = [b"x" * (1 << 20) for _ in range(400)]
                time.sleep(60)
        time.sleep(60)
        """,
        memory_mib=1000,
    )
    assert result.outcome == "memory"


def test_shared_pages_do_not_count_for_every_process(go):
    result = go(
        """
        import os, time
        pids = [os.fork() for _ in range(3)]
        time.sleep(0.3)
        """,
        memory_mib=700,
    )
    assert result.outcome == "ok"


FORKS = 6
"""Doublings of a fork bomb in these tests: 64 processes, should nothing stop it."""


@pytest.mark.parametrize("apart", ["", "os.setsid()"], ids=["one group", "a session each"])
def test_a_fork_bomb(go_any, at_rest, apart):
    result = go_any(
        f"""
        import os, time
        for _ in range({FORKS}):
            if os.fork() == 0:
                {apart or "pass"}
            time.sleep(0.02)
        time.sleep(20)
        """,
        processes=16,
    )
    assert (result.outcome, result.signal) == ("signal", signal.SIGKILL)
    assert "more than 16 processes" in result.stderr
    assert go_any("print('fine')").stdout == "fine\n"
    assert at_rest()


def test_one_walk_stops_a_tree_that_goes_on_forking():
    script = f"""
import os, time
os.setsid()
for _ in range({FORKS}):
    os.fork()
    time.sleep(0.05)
time.sleep(20)
"""
    bomb = subprocess.Popen([sys.executable, "-S", "-c", script])
    stopped = frozenset()
    try:
        while len(tree_below(bomb.pid).pids) < 3:
            assert bomb.poll() is None
        stopped = stop_below(bomb.pid)
        bomb.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, bomb.pid, os.WSTOPPED | os.WNOWAIT)
        stopped |= stop_below(bomb.pid)
        deadline = time.monotonic() + 30  # a stop is delivered when its process next runs
        while {state(pid) for pid in stopped} != {"T"} and time.monotonic() < deadline:
            time.sleep(0.01)
        assert {state(pid) for pid in stopped} == {"T"}
        assert tree_below(bomb.pid).pids == stopped
    finally:
        os.killpg(bomb.pid, signal.SIGKILL)
        bomb.wait()


FAULTS = {
    "the recorder": ("t.Recorder.stop = lambda self: 1 / 0", "ZeroDivisionError"),
    "a record that is no JSON": ("t.Recorder.stop = lambda self: {0: b''}", "TypeError"),
    "exit": ("t.Recorder.stop = lambda self: __import__('sys').exit(0)", "SystemExit"),
    "the traceback": ("r.clean = None\nraise ValueError('of the script')", "TypeError"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_failure_of_ours_after_the_script_is_no_outcome_of_the_script(go, name):
    statements, problem = FAULTS[name]
    script = f"import mldebug.grader.trace as t, mldebug.grader.runner.tracebacks as r\n{statements}\n"
    with pytest.raises(RunnerError, match=f"after the script had ended: {problem}"):
        go(script, trace=True)


def test_a_failure_of_ours_without_a_trace_is_told_too(go):
    script = "import mldebug.grader.runner.tracebacks as r\nr.clean = None\n1 / 0\n"
    with pytest.raises(RunnerError, match="after the script had ended: TypeError"):
        go(script)


def test_a_failure_of_ours_that_cannot_be_recorded_is_not_silent(go):
    result = go(
        """
        import os, mldebug.grader.trace as t
        for name in os.listdir("/proc/self/fd"):
            if int(name) > 2:
                try:
                    os.close(int(name))
                except OSError:
                    pass
        t.Recorder.stop = lambda self: 1 / 0
        """,
        trace=True,
    )
    assert (result.outcome, result.trace) == ("error", None)
    assert "ZeroDivisionError" in result.stderr


def test_a_failure_of_ours_in_a_fork_of_the_script_is_not_the_runs(go):
    script = """
        import os, mldebug.grader.runner.tracebacks as r
        if os.fork() == 0:
            r.clean = None
            1 / 0
        os.wait()
        print("done")
    """
    result = go(script, trace=True)
    assert (result.outcome, result.stdout) == ("ok", "done\n")
    assert result.trace["finished"] is True


def test_what_a_thread_callback_raises_at_the_end_changes_nothing(go):
    result = go("import threading\nthreading._register_atexit(lambda: 1 / 0)\nprint('done')\n", trace=True)
    assert (result.outcome, result.stdout) == ("ok", "done\n")
    assert "ZeroDivisionError" in result.stderr
    assert result.trace["finished"] is True


def test_a_thread_bomb(go):
    script = """
        import threading, time
        while True:
            threading.Thread(target=time.sleep, args=(60,)).start()
    """
    assert go(script, processes=4).outcome == "signal"


def test_a_daemon_that_forked_twice_does_not_survive(go_any, at_rest):
    result = go_any("""
        import os, time
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                for descriptor in (0, 1, 2):
                    os.close(descriptor)
                time.sleep(600)
            os._exit(0)
        os.wait()
    """)
    assert result.outcome == "ok"
    assert at_rest()


def test_a_daemon_that_keeps_the_output_open_neither_survives_nor_delays(go_any, at_rest):
    result = go_any("""
        import os, time
        if os.fork() == 0:
            os.setsid()
            print("daemon", flush=True)
            time.sleep(600)
        time.sleep(0.2)
    """)
    assert (result.outcome, result.exit_code, result.stdout) == ("ok", 0, "daemon\n")
    assert at_rest()


def test_orphans_that_have_ended_do_not_count_as_processes(go_any):
    result = go_any(
        """
        import os, time
        for _ in range(12):
            if os.fork() == 0:
                os.fork()
                os._exit(0)
            os.wait()
            time.sleep(0.02)
        print("done")
        """,
        processes=8,
    )
    assert (result.outcome, result.stdout) == ("ok", "done\n")


def test_fifty_megabytes_of_output(go):
    result = go(
        "import os\nfor _ in range(800):\n    os.write(1, b'x' * 65536)\nos.write(2, b'y' * 5000)\n",
        output_bytes=4096,
    )
    assert (result.outcome, result.stdout, result.stderr) == ("ok", "x" * 4096, "y" * 4096)
    assert result.dropped_bytes == 800 * 65536 - 4096 + 5000 - 4096


def test_output_that_is_not_text(go):
    assert go("import os; os.write(1, b'a\\xff\\x00b')").stdout == "a\ufffd\0b"


def test_nothing_but_its_own_descriptors(go):
    result = go("""
        import os
        for name in os.listdir("/proc/self/fd"):
            try:
                print(os.readlink(f"/proc/self/fd/{name}").split(":")[0])
            except OSError:
                pass
    """)
    assert sorted(result.stdout.split("\n")) == ["", "/dev/null", "/memfd", "pipe", "pipe"]


WRITERS = {
    "a FIFO": ("os.mkfifo('a')", "not a regular file"),
    "a link": ("os.symlink('/etc/hostname', 'a')", "not a regular file"),
    "a link to a file of the run": ("open('b', 'w').write('x'); os.symlink('b', 'a')", "not a regular file"),
    "a hard link": ("open('b', 'w').write('x'); os.link('b', 'a')", "more than one link"),
    "a folder": ("os.mkdir('a')", "not a regular file"),
    "a socket": ("import socket; socket.socket(socket.AF_UNIX).bind('a')", "not a regular file"),
    "nothing": ("pass", "missing"),
    "a name as a folder": ("os.mkdir('a'); open('a/b', 'w').write('x')", "not a regular file"),
}


@pytest.mark.parametrize("name", WRITERS)
def test_artifacts_that_are_not_plain_files(go, name):
    statement, problem = WRITERS[name]
    result = go(f"import os\n{statement}\n", collect=("a",))
    assert (result.outcome, dict(result.artifacts)) == ("ok", {})
    assert problem in result.problems["a"]


def test_artifacts_that_are_too_large(tmp_path):
    (tmp_path / "just").write_bytes(b"x" * 4096)
    (tmp_path / "large").write_bytes(b"x" * 4097)
    with (tmp_path / "sparse").open("wb") as stream:
        stream.truncate(1 << 40)
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        artifacts, problems = collect(folder, ("just", "large", "sparse"), 4096)
    finally:
        os.close(folder)
    assert set(artifacts) == {"just"}
    assert problems == dict.fromkeys(("large", "sparse"), "larger than 4096 bytes")


def test_folders_of_artifacts_are_not_followed_through_links(go):
    result = go(
        "import os; os.mkdir('real'); open('real/a', 'w').write('x'); os.symlink('real', 'link')",
        collect=("real/a", "link/a", "real/a/b", "none/a"),
    )
    assert result.artifacts == {"real/a": b"x"}
    assert set(result.problems) == {"link/a", "real/a/b", "none/a"}


def test_a_workspace_that_was_swapped_is_not_followed(go):
    result = go(
        """
        import os
        here = os.getcwd()
        os.rename(here, here + "-gone")
        os.symlink("/etc", here)
        """,
        collect=("hostname", "passwd"),
    )
    assert result.problems == {"hostname": "missing", "passwd": "missing"}


def test_odd_file_names_are_collected(go):
    names = ("ünï côde \u2028.txt", "new\nline", "-rf", " ", "a" * 255, "quote'\"")
    result = go(f"for name in {names!r}: open(name, 'w').write('x')", collect=names)
    assert result.artifacts == dict.fromkeys(names, b"x")


def test_a_record_that_the_run_forged_is_no_json(go):
    script = """
        import os, atexit
        fd = next(f for f in map(int, os.listdir("/proc/self/fd")) if f > 2
                  and "memfd" in os.readlink(f"/proc/self/fd/{f}"))
        CONTENT
        os._exit(0)
    """
    for content in (
        "os.pwrite(fd, b'not json', 0)",
        "os.pwrite(fd, b'[' * 1_000_000, 0)",
        "os.pwrite(fd, b'[1]', 0)",
        "os.pwrite(fd, b'9' * 100_000, 0)",
        "os.ftruncate(fd, 60 << 20)",
        "os.pwrite(fd, b'\\xff\\xfe', 0)",
        "os.close(fd)",
    ):
        result = go(script.replace("CONTENT", content), trace=True)
        assert (result.outcome, result.trace) == ("ok", None)


def test_every_folder_is_removed_whatever_was_made_of_it(go_any, any_pool):
    result = go_any("""
        import os
        os.makedirs("locked/inner"); open("locked/inner/file", "w").write("x"); os.chmod("locked", 0)
        for name in ("new\\nline", "-rf", b"\\xff\\xfe", "link"):
            os.mkdir(name)
        os.symlink("/tmp", "link/out")
        os.mkfifo("fifo")
        deep = os.getcwd()
        for _ in range(1500):
            os.mkdir("d" * 20); os.chdir("d" * 20)
        os.mkdir(os.path.join(deep, "..", "tmp", "0"))
        os.chmod(deep, 0)
        print(os.path.dirname(os.environ["TMPDIR"]) != "", os.environ["TMPDIR"].split("/")[1])
    """)
    assert result.outcome == "ok", result.stderr
    bases = [worker._base for worker in any_pool._idle]
    assert bases
    for base in bases:
        assert base.name.startswith(PREFIX)
        assert not [path for path in base.iterdir() if path.name.startswith(("run-", PREFIX))]
        assert stat.S_IMODE(base.stat().st_mode) == 0o700


def test_the_largest_file_a_run_may_write(go):
    result = go("open('a', 'wb', 0).write(b'x' * 5000)\nopen('a', 'ab', 0).write(b'x')", file_bytes=4096)
    assert "File too large" in result.stderr
    assert result.outcome == "error"


def test_a_zygote_is_in_a_session_of_its_own(go, pool):
    go("")
    zygote = pool._idle[0]._process.pid
    assert alive(zygote)
    assert os.getsid(zygote) == zygote
