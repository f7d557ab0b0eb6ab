"""The file store's folders: one for each session, locked while it is written, replaced files whole."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from state_core.exceptions import InvalidId, SessionNotFound
from state_core.records import check_id
from state_core.storage.filelog import Framing, LogFile

KEPT_OPEN = 256
"""Sessions whose log's places are remembered."""


@dataclass
class _Opened:
    log: LogFile
    lock: threading.Lock = field(default_factory=threading.Lock)


class SessionFolders:
    """``<path>/<session id>/``, and the logs in them. For many threads and processes."""

    def __init__(self, path: Path, extension: str, framing: Framing) -> None:
        self.path = path
        self._extension = extension
        self._framing = framing
        self._opened: OrderedDict[str, _Opened] = OrderedDict()
        self._lock = threading.Lock()

    def folder(self, session_id: str) -> Path:
        return self.path / check_id(session_id).replace(":", "~")

    def log_path(self, session_id: str) -> Path:
        return self.folder(session_id) / f"log{self._extension}"

    def session_ids(self) -> Iterator[str]:
        """Of all folders; what else lies there is passed over."""
        with os.scandir(self.path) as entries:
            names = [entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("~")]
        for name in names:
            try:
                yield check_id(session_id_of(name))
            except InvalidId:
                continue

    def make(self, session_id: str) -> None:
        folder = self.folder(session_id)
        folder.mkdir(exist_ok=True)
        (folder / "lock").touch()
        sync_folder(self.path)

    def remove(self, session_id: str) -> Path:
        """Out of sight at once, by one rename; returns what `shutil.rmtree` can take its time with."""
        doomed = self.path / f"~deleted-{time.time_ns()}"
        self.folder(session_id).rename(doomed)
        with self._lock:
            self._opened.pop(session_id, None)
        return doomed

    @contextmanager
    def locked(self, session_id: str) -> Iterator[LogFile]:
        """The log, for this thread of this process alone. Raises SessionNotFound where there is none."""
        path = self.folder(session_id) / "lock"
        while True:
            try:
                file = path.open("ab")
            except FileNotFoundError:
                raise SessionNotFound(session_id) from None
            with file:
                fcntl.flock(file, fcntl.LOCK_EX)
                if _is_at(file.fileno(), path):
                    with self.scanned(session_id) as log:
                        yield log
                    return
            # Deleted, and perhaps created anew, while we waited.

    @contextmanager
    def scanned(self, session_id: str) -> Iterator[LogFile]:
        """The log, up to date, to be read. Another process may be appending to it."""
        opened = self._open(session_id)
        with opened.lock:
            opened.log.scan()
            yield opened.log

    def _open(self, session_id: str) -> _Opened:
        with self._lock:
            opened = self._opened.get(session_id)
            if opened is None:
                log = LogFile(self.log_path(session_id), session_id, self._framing)
                opened = self._opened[session_id] = _Opened(log)
            self._opened.move_to_end(session_id)
            while len(self._opened) > KEPT_OPEN:
                self._opened.popitem(last=False)
            return opened


def session_id_of(folder: str) -> str:
    return folder.replace("~", ":")


def size_of(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def replace_file(path: Path, content: bytes, *, durable: bool) -> None:
    """temp → fsync → rename → fsync folder: a reader sees the old file or the new one, whole.

    The temporary name is this thread's own: two writers never share it.
    """
    temporary = path.with_name(f"~{path.name}.{os.getpid()}.{threading.get_ident()}")
    with temporary.open("wb") as file:
        file.write(content)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    temporary.replace(path)
    if durable:
        sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def kind_of_file_system(path: Path) -> str:
    """From the longest mount point above it; "" where the system does not tell."""
    mounts = Path("/proc/mounts")
    if not mounts.exists():
        return ""
    where = f"{path.resolve()}/"
    lines = [line.split() for line in mounts.read_text().splitlines()]
    above = [(mount, kind) for _, mount, kind, *_ in lines if where.startswith(mount.rstrip("/") + "/")]
    return max(above, key=lambda found: len(found[0]), default=("", ""))[1]
