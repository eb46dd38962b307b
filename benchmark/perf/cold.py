"""The other side of a comparison: a job as a user runs it, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path


def cold_seconds(files: Mapping[str, bytes], *arguments: str, check: bool = True) -> float:
    """Seconds of one `python ARGUMENTS` on one core, in a new folder with these files.

    Raises:
        CalledProcessError: the job failed, and that is to be checked.
    """
    with tempfile.TemporaryDirectory() as folder:
        for path, content in files.items():
            place = Path(folder, path)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
        environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        started = time.perf_counter()
        subprocess.run(
            [sys.executable, *arguments], cwd=folder, env=environment, check=check, capture_output=True
        )
        return time.perf_counter() - started
