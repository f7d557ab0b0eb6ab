"""What a wheel has: all that is in the packages, files for the browser and templates among it."""

from __future__ import annotations

import glob
import os
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DATA = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]


@pytest.mark.parametrize("package", ["state_core", "marsys_dashboard"])
def test_each_file_of_a_package_that_is_no_module_is_named_as_its_data(package: str) -> None:
    named = {
        name
        for pattern in DATA[package]
        for name in glob.glob(pattern, root_dir=ROOT / package, recursive=True)
    }
    there = {
        os.path.relpath(os.path.join(folder, name), ROOT / package)
        for folder, _, names in os.walk(ROOT / package, followlinks=True)
        for name in names
        if not name.endswith((".py", ".pyc"))
    }
    assert there
    assert there <= named


@pytest.mark.parametrize("folder", ["templates", "static"])
def test_the_dashboards_package_has_the_folder(folder: str) -> None:
    inside = ROOT / "marsys_dashboard" / folder
    assert inside.is_symlink()
    assert inside.resolve() == ROOT / folder
