"""Modules of this package that go into the jail in memory: its files stay outside."""

from __future__ import annotations

import importlib.abc
import importlib.util
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

PACKAGE = __name__.split(".")[0]
CARRIED = ("grader/device", "grader/trace", "grader/runner", "grader/sandbox")
"""Folders of the package whose modules a zygote needs. The others, solutions and oracles among them, have no
business there."""


class Carried(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds and loads the modules that were read before the jail was closed."""

    def __init__(self) -> None:
        self._codes: dict[str, tuple[CodeType, Path]] = {}
        root = Path(__file__).parents[2]
        for folder in CARRIED:
            for file in sorted((root / folder).glob("*.py")):
                name = ".".join((PACKAGE, *folder.split("/"), file.stem)).removesuffix(".__init__")
                code = SourceFileLoader(name, str(file)).get_code(name)
                assert code is not None
                self._codes[name] = (code, file)

    def install(self) -> None:
        """Be asked before any other finder."""
        sys.meta_path.insert(0, self)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in self._codes:
            return None
        file = self._codes[fullname][1]
        is_package = file.name == "__init__.py"
        spec = importlib.util.spec_from_loader(fullname, self, origin=str(file), is_package=is_package)
        if spec is not None:
            spec.has_location = True
        return spec

    def exec_module(self, module: ModuleType) -> None:
        exec(self._codes[module.__name__][0], module.__dict__)
