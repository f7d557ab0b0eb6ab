"""A Python of 3.12 or later in whose environment the real MARSYS 0.2.1 is installed. It is made once, and
kept in pytest's cache."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REQUIREMENTS = Path(__file__).parent / "adapters" / "marsys_021" / "requirements.txt"
MARSYS = "marsys==0.2.1"
NAMES = ("python3.13", "python3.12", "python3.14", "python3")
LONGEST_INSTALL = 120


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
    with folder.with_suffix(".lock").open("w") as lock:
        # Tests run in several processes at once.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "ready").exists():
            shutil.rmtree(folder, ignore_errors=True)
            make_environment(python, folder)
            (folder / "ready").touch()
    return folder / "bin" / "python"


def make_environment(python: str, folder: Path) -> None:
    subprocess.run([python, "-m", "venv", folder], check=True, timeout=60)
    pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for more in (["-r", REQUIREMENTS], ["--no-deps", MARSYS]):
        try:
            # Most of it is never imported.
            done = subprocess.run(
                [*pip, "--no-compile", *more], capture_output=True, text=True, timeout=LONGEST_INSTALL
            )
        except subprocess.TimeoutExpired:
            pytest.skip(f"{MARSYS} could not be installed within {LONGEST_INSTALL} seconds")
        if done.returncode:
            pytest.skip(f"{MARSYS} could not be installed: {done.stderr.strip()[-300:]}")
