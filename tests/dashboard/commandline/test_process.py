"""The command as a process of its own, at a terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from state_core.manager import StateManager
from state_core.storage.file import FileStorageBackend

ROOT = Path(__file__).parents[3]
PATIENCE = 60.0
NOTICED = 10.0
"""Seconds in which a process that has noticed Ctrl-C is gone."""


class AtTerminal:
    def __init__(self, process: subprocess.Popen[bytes], terminal: int) -> None:
        self._process, self._terminal = process, terminal
        self._deadline = time.monotonic() + PATIENCE
        self.seen = b""

    def until(self, text: bytes) -> None:
        while text not in self.seen:
            assert self._process.poll() is None and time.monotonic() < self._deadline, self.seen
            self._read()

    def ends_by_ctrl_c(self) -> int:
        """Typed again where nothing comes of it: Python misses one that comes just before it reads."""
        while True:
            assert time.monotonic() < self._deadline, self.seen
            os.write(self._terminal, b"\x03")
            with suppress(subprocess.TimeoutExpired):
                code = self._process.wait(NOTICED)
                self._read()
                return code

    def _read(self) -> None:
        """What comes within a second."""
        while select.select([self._terminal], [], [], 1)[0]:
            try:
                read = os.read(self._terminal, 65536)
            except OSError:  # what Linux says where the other side is closed
                return
            self.seen += read
            if not read or self._process.poll() is None:
                return


@contextmanager
def at_terminal(var: Path, *arguments: str) -> Iterator[AtTerminal]:
    """Of what runs there Ctrl-C ends what is in the foreground, as in a shell."""
    ours, theirs = pty.openpty()
    environment = {
        **os.environ,
        "STATE_VAR": str(var),
        "DATABASE_URL": f"sqlite:///{var}/unused.sqlite3",
        "STATE_STORES": f"files=file:{var}/files",
        "COLUMNS": "100",
    }
    process = subprocess.Popen(
        [sys.executable, "manage.py", "session", *arguments],
        cwd=ROOT,
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(theirs)
    try:
        yield AtTerminal(process, ours)
    finally:
        process.kill()
        process.wait()
        os.close(ours)


@pytest.fixture
def made(tmp_path: Path) -> Iterator[StateManager]:
    manager = StateManager(FileStorageBackend(tmp_path / "files"), actor="tests")
    manager.sync.create_session("tides", title="\x1b]0;owned\x07")
    yield manager
    manager.sync.close()


def test_watching_tells_what_happens_until_ctrl_c_ends_it(made, tmp_path):
    with at_terminal(tmp_path, "watch", "files:tides", "--after", "0") as watching:
        watching.until(b"Session created")
        made.sync.create_checkpoint("tides", "\x1b[2Jearly")
        watching.until(b"early")
        assert watching.ends_by_ctrl_c() == 130
    assert b"Traceback" not in watching.seen
    assert b"\x1b" not in watching.seen and b"\x07" not in watching.seen
    assert made.sync.get_head("tides").status == "pending"


def test_ctrl_c_at_the_question_does_nothing(made, tmp_path):
    with at_terminal(tmp_path, "cancel", "files:tides", "--reason", "x") as asked:
        asked.until(b"Type tides to confirm: ")
        assert asked.ends_by_ctrl_c() == 130
    assert b"Traceback" not in asked.seen
    assert made.sync.get_head("tides").status == "pending"
