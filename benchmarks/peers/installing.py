"""Peers with dependencies of their own: each in a folder of its own below build/, run by its own Python."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.peers import PeerMissing

FOLDER = Path(__file__).parent.parent.parent / "build" / "peers"
SCRIPTS = Path(__file__).parent / "scripts"
PATIENCE = 600.0


def python_of_at_least(minor: int) -> str:
    """Raises PeerMissing."""
    if sys.version_info >= (3, minor):
        return sys.executable
    names = [f"python3.{n}" for n in range(minor, minor + 4)]
    found = [path for path in map(shutil.which, names) if path]
    found += map(str, sorted(Path.home().glob(".pyenv/versions/3.*/bin/python3")))
    for path in found:
        if _runs(path, minor):
            return path
    raise PeerMissing(f"No Python 3.{minor} or later was found on this machine, which it needs.")


def _runs(path: str, minor: int) -> bool:
    question = f"import sys; sys.exit(sys.version_info < (3, {minor}))"
    return subprocess.run([path, "-c", question], capture_output=True).returncode == 0


def installed(name: str, requirement: str, python: str) -> Path:
    """Its folder; installed there once. Raises PeerMissing."""
    folder = FOLDER / name
    done = folder / "installed"
    if not (done.exists() and done.read_text() == requirement):
        shutil.rmtree(folder, ignore_errors=True)
        command = [python, "-m", "pip", "install", "--quiet", "--target", str(folder), requirement]
        found = subprocess.run(command, capture_output=True, text=True)
        if found.returncode:
            last = found.stderr.strip().splitlines()[-1:] or ["pip failed"]
            raise PeerMissing(f"{requirement} could not be installed: {last[0]}")
        done.write_text(requirement)
    return folder


async def run(script: str, folder: Path, python: str, *arguments: str) -> dict[str, Any]:
    """What the script prints, as JSON; its libraries are those of ``folder``."""
    process = await asyncio.create_subprocess_exec(
        python,
        str(SCRIPTS / script),
        *arguments,
        env={**os.environ, "PYTHONPATH": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), PATIENCE)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise PeerMissing(f"{script} did not end within {PATIENCE:.0f} s.") from None
    if process.returncode:
        raise PeerMissing(f"{script} ended with: {err.decode(errors='replace').strip()[-300:]}")
    found: dict[str, Any] = json.loads(out.decode().strip().splitlines()[-1])
    return found
