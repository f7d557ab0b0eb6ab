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
from typing import Any, BinaryIO

import orjson

from state_core.exceptions import InvalidId, SessionNotFound
from state_core.records import Head, check_id
from state_core.storage.filelog import Framing, LogFile

KEPT_OPEN = 256
"""Sessions whose log's places are remembered."""


@dataclass
class SessionFolder:
    """One session's folder, as far as this process knows it."""

    log: LogFile
    lease_path: str
    lock_path: str
    head: Head | None = None
    """As the index has it for a log of ``head_at`` bytes: what this process put there last."""
    head_at: tuple[bytes, int] = (b"", 0)
    lease: tuple[bytes, dict[str, Any]] = (b"", {})
    """What lease.json held when it was last read, as bytes and as values."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def know(self, head: Head) -> None:
        self.head, self.head_at = head, self.log.place

    def known_head(self) -> Head | None:
        """Unless somebody else wrote since."""
        return self.head if self.head_at == self.log.place else None

    def read_lease(self) -> dict[str, Any]:
        """Raises FileNotFoundError where nobody ever held it, ValueError where it is damaged."""
        content = _read_small(self.lease_path)
        if content != self.lease[0]:
            self.lease = content, orjson.loads(content)
        return self.lease[1]


class SessionFolders:
    """``<path>/<session id>/``, and the logs in them. For many threads and processes."""

    def __init__(self, path: Path, extension: str, framing: Framing) -> None:
        self.path = path
        self._extension = extension
        self._framing = framing
        self._opened: OrderedDict[str, SessionFolder] = OrderedDict()
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

    def refuse_if_gone(self) -> None:
        """Raises FileNotFoundError where all of them are away, as on a disk that is not mounted: what is not
        found then is not deleted."""
        self.path.stat()

    def make(self, session_id: str) -> None:
        folder = self.folder(session_id)
        folder.mkdir(exist_ok=True)
        (folder / "lock").touch()
        sync_folder(self.path)

    def snapshots(self, session_id: str) -> dict[int, Path]:
        paths = (self.folder(session_id) / "snapshots").glob(f"*{self._extension}")
        return {int(path.stem): path for path in paths if path.stem.isdigit()}

    def remove_snapshots(self, session_id: str, *, before: int) -> None:
        for seq, path in self.snapshots(session_id).items():
            if seq < before:
                path.unlink()

    def remove(self, session_id: str) -> Path:
        """Out of sight at once, by one rename; returns what `shutil.rmtree` can take its time with."""
        doomed = self.path / f"~deleted-{time.time_ns()}"
        self.folder(session_id).rename(doomed)
        with self._lock:
            self._opened.pop(session_id, None)
        return doomed

    @contextmanager
    def locked(self, session_id: str, patience: float | None = None) -> Iterator[SessionFolder]:
        """For this thread of this process alone. Raises SessionNotFound where there is none, and
        BlockingIOError where another has it for longer than ``patience``, in seconds."""
        path = self.opened(session_id).lock_path
        while True:
            try:
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
            except FileNotFoundError:
                self.refuse_if_gone()
                raise SessionNotFound(session_id) from None
            try:
                _lock(descriptor, patience)
                if _is_at(descriptor, path):
                    with self.scanned(session_id) as folder:
                        yield folder
                    return
            finally:
                os.close(descriptor)
            # Deleted, and perhaps created anew, while we waited.

    @contextmanager
    def rewriting(self, session_id: str) -> Iterator[BinaryIO]:
        """An empty file beside the log, for one rewriter at a time, whatever one that was killed left in it.
        Unless it has been renamed it is taken away again. Raises SessionNotFound where there is none."""
        path = self.log_path(session_id).with_name(f"~log{self._extension}")
        while True:
            try:
                file = path.open("ab")
            except FileNotFoundError:
                self.refuse_if_gone()
                raise SessionNotFound(session_id) from None
            with file:
                fcntl.flock(file, fcntl.LOCK_EX)
                if not _is_at(file.fileno(), str(path)):
                    continue  # the one before has renamed it or taken it away
                file.truncate(0)
                try:
                    yield file
                finally:
                    if _is_at(file.fileno(), str(path)):
                        path.unlink()
                return

    def log_of(self, session_id: str) -> LogFile:
        """To be read without any lock: it does not follow what is appended."""
        log = LogFile(self.log_path(session_id), session_id, self._framing)
        log.scan()
        return log

    @contextmanager
    def scanned(self, session_id: str) -> Iterator[SessionFolder]:
        """Its log up to date, to be read. Another process may be appending to it."""
        opened = self.opened(session_id)
        with opened.lock:
            opened.log.scan()
            yield opened

    def opened(self, session_id: str) -> SessionFolder:
        with self._lock:
            opened = self._opened.get(session_id)
            if opened is None:
                opened = self._opened[session_id] = self._new(session_id)
            self._opened.move_to_end(session_id)
            while len(self._opened) > KEPT_OPEN:
                self._opened.popitem(last=False)
            return opened

    def _new(self, session_id: str) -> SessionFolder:
        folder = self.folder(session_id)
        log = LogFile(self.log_path(session_id), session_id, self._framing)
        return SessionFolder(log, str(folder / "lease.json"), str(folder / "lock"))


def session_id_of(folder: str) -> str:
    return folder.replace("~", ":")


def size_of(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def _lock(descriptor: int, patience: float | None) -> None:
    if patience is None:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return
    until = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                raise
        else:
            return
        time.sleep(0.001)


def _is_at(descriptor: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))  # noqa: PTH116 - once for each append
    except FileNotFoundError:
        return False


def _read_small(path: str) -> bytes:
    """A file of a few hundred bytes that is only ever replaced as a whole."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.read(descriptor, 65_536)
    finally:
        os.close(descriptor)


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
