"""The data: Python packages that are installed on this machine, as files with their text."""

from __future__ import annotations

import sys
import sysconfig
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MAX_FILE_BYTES = 400_000
"""Longer files are generated tables; reading them would tell nothing."""


@dataclass(frozen=True)
class Package:
    """An importable package, by name and folder."""

    name: str
    folder: Path

    def files(self) -> list[Path]:
        """Its Python files, tests and vendored code included, in a stable order."""
        return sorted(path for path in self.folder.rglob("*.py") if path.stat().st_size <= MAX_FILE_BYTES)


def installed_packages() -> list[Package]:
    """Of the standard library and of site-packages, by name; those without Python files are left out."""
    folders = [Path(sysconfig.get_path("stdlib")), Path(sysconfig.get_path("purelib"))]
    found = {package.name: package for folder in folders for package in _packages_in(folder)}
    return sorted(found.values(), key=lambda package: package.name.lower())


def _packages_in(folder: Path) -> Iterator[Package]:
    for initial in folder.glob("*/__init__.py"):
        name = initial.parent.name
        if name.isidentifier() and name not in {"test", "__pycache__"}:
            yield Package(name, initial.parent)


def package(name: str) -> Package:
    """Raises LookupError: a package may be uninstalled between two steps of a long session."""
    for candidate in installed_packages():
        if candidate.name == name:
            return candidate
    raise LookupError(f"No package {name!r} is installed for {sys.executable} any more.")


def packages_worth_reading(files: int = 5) -> list[Package]:
    """Those of so many files or more. Looks at every file's size: not for an event loop's own thread."""
    return [package for package in installed_packages() if len(package.files()) >= files]


def all_files() -> list[Path]:
    """Of every package, the first packages first."""
    return [path for package in installed_packages() for path in package.files()]


def standard_modules() -> list[Path]:
    """The top-level modules of the standard library, by name."""
    return sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))


def read_source(path: Path) -> str:
    """The text as Python reads it; raises SyntaxError where its declared encoding is wrong."""
    with tokenize.open(path) as file:
        return file.read()
