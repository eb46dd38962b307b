"""This package as a wheel, for images that grade: the same sources give the same bytes."""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[2]

DATA = ("py.typed", "openenv.yaml")
PAGES = ("benchmark/report", "env/adapters/openenv/page")
PAGE_FILES = (".css", ".html", ".js")
JOBS = "clean_scripts"
JOB_FILES = (".py", ".md", ".json")
"""Of a job of the library, whose folder is no package."""


def wheel() -> tuple[str, bytes]:
    """Its file name and content."""
    version = metadata.version("mldebug")
    info = f"mldebug-{version}.dist-info"
    found = {f"mldebug/{path}": content for path, content in package_files()}
    found[f"{info}/METADATA"] = _metadata(version)
    found[f"{info}/WHEEL"] = (
        b"Wheel-Version: 1.0\nGenerator: mldebug\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    found[f"{info}/entry_points.txt"] = b"[console_scripts]\nmldebug = mldebug.cli:main\n"
    lines = [f"{path},{_digest(content)},{len(content)}" for path, content in sorted(found.items())]
    found[f"{info}/RECORD"] = "\n".join([*lines, f"{info}/RECORD,,", ""]).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for path, content in sorted(found.items()):
            entry = zipfile.ZipInfo(path)  # of 1980-01-01
            entry.create_system, entry.external_attr = 3, 0o100644 << 16
            archive.writestr(entry, content)
    return f"mldebug-{version}-py3-none-any.whl", buffer.getvalue()


def package_files(root: Path = ROOT) -> Iterator[tuple[str, bytes]]:
    """Every file that an installation of this package has: path below it, and content."""
    for package in _packages(root):
        for path in sorted(package.iterdir()):
            if path.is_file() and (path.suffix == ".py" or path.name in DATA):
                yield path.relative_to(root).as_posix(), path.read_bytes()
    for folder in PAGES:
        for path in sorted((root / folder).iterdir()):
            if path.suffix in PAGE_FILES:
                yield path.relative_to(root).as_posix(), path.read_bytes()
    for path in sorted((root / JOBS).glob("*/*")):
        if path.is_file() and path.suffix in JOB_FILES and not (path.parent / "__init__.py").exists():
            yield path.relative_to(root).as_posix(), path.read_bytes()


def _packages(root: Path) -> Iterator[Path]:
    yield root
    for path in sorted(root.iterdir()):
        if path.is_dir() and path.name.isidentifier() and (path / "__init__.py").is_file():
            yield from _packages(path)


def _metadata(version: str) -> bytes:
    needs = [one for one in metadata.requires("mldebug") or [] if "extra ==" not in one]
    lines = ["Metadata-Version: 2.1", "Name: mldebug", f"Version: {version}", "License: MIT"]
    return "\n".join([*lines, *(f"Requires-Dist: {one}" for one in sorted(needs)), ""]).encode()


def _digest(content: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
