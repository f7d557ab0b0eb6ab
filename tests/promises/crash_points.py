"""Where the file store can die in an append, a change of lease or a rewrite: at each boundary of what is
durable."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from state_core.storage import file, filefolders, filelog, filerewrite
from state_core.storage.fileindex import FileIndex
from state_core.storage.filelog import LogFile

CRASHED = 77


class Countdown:
    """Dies at the n-th call."""

    def __init__(self, number: int) -> None:
        self.left = number

    def __call__(self) -> None:
        if self.is_last():
            os._exit(CRASHED)

    def is_last(self) -> bool:
        self.left -= 1
        return self.left == 0


def _before(owner: Any, name: str) -> Callable[[pytest.MonkeyPatch, Countdown], None]:
    def install(patch: pytest.MonkeyPatch, die: Countdown) -> None:
        original = getattr(owner, name)

        def dying(*arguments: Any, **options: Any) -> Any:
            die()
            return original(*arguments, **options)

        patch.setattr(owner, name, dying)

    return install


def _after(owner: Any, name: str) -> Callable[[pytest.MonkeyPatch, Countdown], None]:
    def install(patch: pytest.MonkeyPatch, die: Countdown) -> None:
        original = getattr(owner, name)

        def dying(*arguments: Any, **options: Any) -> Any:
            found = original(*arguments, **options)
            die()
            return found

        patch.setattr(owner, name, dying)

    return install


def _half_written(patch: pytest.MonkeyPatch, die: Countdown) -> None:
    original = LogFile.append

    def dying(log: LogFile, records: Any) -> None:
        if die.is_last():
            lefts = range(len(records) - 1, -1, -1)
            frames = [log._framing.pack(filelog.Frame(*pair)) for pair in zip(records, lefts, strict=True)]
            with log.path.open("ab") as file:
                file.write(b"".join(frames)[: -len(frames[-1]) // 2])
            os._exit(CRASHED)
        original(log, records)

    patch.setattr(LogFile, "append", dying)


def _in_lease(patch: pytest.MonkeyPatch, die: Countdown) -> None:
    original = os.fsync

    def dying(descriptor: int) -> None:
        die()
        original(descriptor)

    patch.setattr(filefolders.os, "fsync", dying)


POINTS: dict[str, Callable[[pytest.MonkeyPatch, Countdown], None]] = {
    "before-folder": _before(filefolders.SessionFolders, "make"),
    "before-write": _before(LogFile, "append"),
    "half-written": _half_written,
    "before-sync": _before(filelog.os, "fdatasync"),
    "after-sync": _after(filelog.os, "fdatasync"),
    "before-index": _before(FileIndex, "put"),
    "after-index": _after(FileIndex, "put"),
    "before-fsync-of-lease": _in_lease,
    "before-lease": _before(file, "replace_file"),
    "after-lease": _after(file, "replace_file"),
}

REWRITING: dict[str, Callable[[pytest.MonkeyPatch, Countdown], None]] = {
    "before-copy": _before(filerewrite.LogRewrite, "copy"),
    "before-sync-of-copy": _before(filerewrite.LogRewrite, "_sync"),
    "after-sync-of-copy": _after(filerewrite.LogRewrite, "_sync"),
    "before-snapshots": _before(filefolders.SessionFolders, "remove_snapshots"),
    "after-snapshots": _after(filefolders.SessionFolders, "remove_snapshots"),
    "before-rename": _before(filerewrite.os, "replace"),
    "after-rename": _after(filerewrite.os, "replace"),
    "before-sync-of-folder": _before(filerewrite, "sync_folder"),
    "after-rewrite": _after(filerewrite.LogRewrite, "finish"),
    "before-index-of-rewrite": _before(FileIndex, "put"),
    "after-index-of-rewrite": _after(FileIndex, "put"),
}


@contextmanager
def installed(point: str = "", number: str = "1") -> Iterator[None]:
    """Die at the n-th time that this point is reached; nothing without a point."""
    with pytest.MonkeyPatch.context() as patch:
        if point:
            {**POINTS, **REWRITING}[point](patch, Countdown(int(number)))
        yield
