"""The real MARSYS 0.2.1, which needs Python 3.12 or later: the checks in `marsys_021` run in a Python of
that kind, each reported here. Its environment is made once and kept in pytest's cache."""

from __future__ import annotations

import ast
import hashlib
import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

HERE = Path(__file__).parent / "marsys_021"
ROOT = HERE.parents[2]
REQUIREMENTS = HERE / "requirements.txt"
MARSYS = "marsys==0.2.1"
NAMES = ("python3.13", "python3.12", "python3.14", "python3")
LONGEST_INSTALL = 280


def checks() -> list[str]:
    """``check_state::check_1_…``, of every check that there is."""
    return [
        f"{path.stem}::{node.name}"
        for path in sorted(HERE.glob("check_*.py"))
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("check_")
    ]


def new_python() -> str | None:
    """A Python of 3.12 or later with venv: this one, on PATH, or of pyenv or uv."""
    places = [Path.home() / ".pyenv" / "versions", Path.home() / ".local" / "share" / "uv" / "python"]
    installed = [str(path) for place in places for path in sorted(place.glob("*/bin/python3"), reverse=True)]
    found = [sys.executable, *filter(None, map(shutil.which, NAMES)), *installed]
    return next((python for python in found if is_new_enough(python)), None)


def is_new_enough(python: str) -> bool:
    code = "import sys, venv, ensurepip; sys.exit(not (3, 12) <= sys.version_info[:2] <= (3, 14))"
    return subprocess.run([python, "-c", code], capture_output=True).returncode == 0


@pytest.fixture(scope="session")
def marsys_python(pytestconfig: pytest.Config) -> Path:
    """A Python in whose environment MARSYS is installed."""
    python = new_python()
    if python is None:
        pytest.skip("MARSYS 0.2.1 needs Python 3.12 or later, and none is on PATH or in pyenv or uv")
    version = subprocess.run([python, "-VV"], capture_output=True, text=True).stdout
    mark = hashlib.blake2b(f"{version}{REQUIREMENTS.read_text()}".encode(), digest_size=6).hexdigest()
    folder = pytestconfig.cache.mkdir("marsys") / mark
    ready = folder / "ready"
    if not ready.exists():
        shutil.rmtree(folder, ignore_errors=True)
        make_environment(python, folder)
        ready.touch()
    return folder / "bin" / "python"


def make_environment(python: str, folder: Path) -> None:
    subprocess.run([python, "-m", "venv", folder], check=True, timeout=60)
    pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for more in (["-r", REQUIREMENTS], ["--no-deps", MARSYS]):
        done = subprocess.run([*pip, *more], capture_output=True, text=True, timeout=LONGEST_INSTALL)
        if done.returncode:
            pytest.skip(f"{MARSYS} could not be installed: {done.stderr.strip()[-300:]}")


@pytest.fixture(scope="session")
def outcomes(marsys_python: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Check → what went wrong in it; of every check that ran."""
    report = tmp_path_factory.mktemp("marsys") / "report.xml"
    # The settings of Django's are this process's own.
    kept = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    done = subprocess.run(
        [
            marsys_python, "-m", "pytest", HERE, "-q", "-c", HERE / "pytest.ini", "-p", "no:cacheprovider",
            f"--rootdir={HERE}", f"--confcutdir={HERE}", f"--junit-xml={report}",
        ],
        env={**kept, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )  # fmt: skip
    assert report.exists(), done.stdout + done.stderr
    found: dict[str, list[str]] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        name = f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name', '').partition('[')[0]}"
        wrong = [part.text or "" for part in case if part.tag in {"failure", "error", "skipped"}]
        found.setdefault(name, []).extend(wrong)
    return found


@pytest.mark.parametrize("check", checks())
def test_with_the_real_marsys(check: str, outcomes: dict[str, list[str]]) -> None:
    assert check in outcomes, "it did not run"
    assert outcomes[check] == [], "\n".join(outcomes[check])
