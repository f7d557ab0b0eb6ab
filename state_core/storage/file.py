"""The file store: a folder for each session, an append-only log in it, no server.

    <base_path>/sessions/<session id>/log<ext>        the events; the only truth
                                     /lease.json      who may write, replaced as a whole
                                     /snapshots/      folded states, made anew when lost
                                     /lock            flock, held while writing
               /index.sqlite3                         heads and checkpoints for lists, made anew when lost

Any number of processes of one machine. Appends are on the disk (fdatasync) when they are acknowledged.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import logging
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, ParamSpec, TypeVar

import orjson

from state_core.events import EventRecord, numbered
from state_core.exceptions import (
    CheckpointNotFound,
    ConfigurationError,
    LeaseHeld,
    LeaseLost,
    SessionNotFound,
    StorageError,
    StorageUnavailable,
)
from state_core.heads import CheckpointChange, HeadChange, apply_head_change
from state_core.records import HELD, Checkpoint, Head, Lease, check_id
from state_core.storage.base import (
    EventQuery,
    Guard,
    HeadQuery,
    Snapshot,
    StorageBackend,
    Usage,
    refusal,
    refuse_if_moved_on,
)
from state_core.storage.filefolders import (
    SessionFolders,
    kind_of_file_system,
    replace_file,
    session_id_of,
    sync_folder,
)
from state_core.storage.fileheads import FileHeads
from state_core.storage.fileindex import INDEX, FileIndex, put_aside
from state_core.storage.filelog import BinaryFrames, JsonLines, LogFile
from state_core.storage.filerewrite import LogRewrite
from state_core.storage.sqlitecodes import is_damage, lasting_trouble
from state_core.storage.workers import Workers

logger = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

WINDOW = 500
"""Events looked at at once when reading backwards."""
NETWORK_FILE_SYSTEMS = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "afs", "ceph"}


def in_thread(function: Callable[P, R]) -> Callable[P, Any]:
    """A method that blocks on the disk, as a coroutine; the disk's errors become ours."""

    @functools.wraps(function)
    async def call(*args: P.args, **kwargs: P.kwargs) -> R:
        store: Any = args[0]
        work = functools.partial(store._translated, function, *args, **kwargs)
        found: R = await store._threads().run(work)
        return found

    return call


class FileStorageBackend(StorageBackend):
    """Sessions in folders below ``base_path``.

    ``use_json``: readable lines rather than binary frames, for logs that are begun from now on.
    ``create_dirs``: make ``base_path`` where it is not there. ``file_extension``: of logs and snapshots.
    """

    supports_wakeups: ClassVar[bool] = True
    rewrite_bytes: ClassVar[int] = 64_000_000  # each rewrite copies the whole log

    def __init__(
        self,
        base_path: str | Path,
        use_json: bool = True,
        create_dirs: bool = True,
        file_extension: str = ".state",
    ) -> None:
        self.base_path = Path(base_path)
        if not file_extension.startswith(".") or "/" in file_extension:
            raise ConfigurationError(f"file_extension is {file_extension!r}; give one such as '.state'.")
        self._extension = file_extension
        self._create_dirs = create_dirs
        framing = JsonLines() if use_json else BinaryFrames()
        self._folders = SessionFolders(self.base_path / "sessions", file_extension, framing)
        self._lock = threading.Lock()
        self._opening = threading.Lock()
        self._known_heads: FileHeads | None = None
        self._pool: Workers | None = None

    def __repr__(self) -> str:
        return f"<FileStorageBackend {self.base_path}>"

    # Opening

    def _threads(self) -> Workers:
        with self._lock:
            if self._pool is None:
                self._pool = Workers(8, "state_core.file")
            return self._pool

    def _translated(self, function: Callable[..., R], *args: Any, **kwargs: Any) -> R:
        try:
            return function(*args, **kwargs)
        except StorageError:
            raise
        except sqlite3.Error as error:
            raise self._index_error(error) from error
        except OSError as error:
            raise self._error(error) from error

    def _error(self, error: OSError) -> StorageError:
        if error.errno == errno.ENOSPC:
            return StorageError(
                f"The disk of {self.base_path} is full; nothing was written. Free some space."
            )
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            return StorageError(
                f"{self.base_path} cannot be written: {error.strerror}. Give this user the right to."
            )
        return StorageUnavailable(f"{self.base_path} cannot be used: {error.strerror or error}.")

    def _index_error(self, error: sqlite3.Error) -> StorageError:
        trouble = lasting_trouble(error)
        if trouble:
            return StorageError(f"The index of {self.base_path} {trouble}.")
        if is_damage(error):
            self._put_index_aside()
            return StorageUnavailable(
                f"The index of {self.base_path} was damaged ({error}) and is made anew from the logs; "
                "try again."
            )
        return StorageUnavailable(f"The index of {self.base_path} cannot be used: {error}.")

    def _put_index_aside(self) -> None:
        """It holds nothing that the logs do not; whoever wants to know what befell it finds it there."""
        with self._opening:
            logger.warning("The index of %s is damaged; it is made anew from the logs.", self.base_path)
            if self._known_heads is not None:
                self._known_heads.index.close()
                self._known_heads = None
            put_aside(self.base_path / INDEX)

    @property
    def index(self) -> FileIndex:
        return self._heads.index

    @property
    def _heads(self) -> FileHeads:
        with self._opening:
            if self._known_heads is None:
                self._make_folders()
                index = FileIndex(self.base_path / INDEX)
                heads = FileHeads(index, self._folders, lambda work: self._threads().submit(work))
                heads.take_stock()
                self._known_heads = heads
            return self._known_heads

    def _make_folders(self) -> None:
        if not self.base_path.is_dir() and not self._create_dirs:
            raise StorageUnavailable(
                f"There is no folder {self.base_path}. Create it, or pass create_dirs=True."
            )
        self._folders.path.mkdir(parents=True, exist_ok=True)

    # Appending

    @in_thread
    def _append(
        self,
        session_id: str,
        events: Sequence[EventRecord],
        guard: Guard,
        change: HeadChange,
        checkpoints: CheckpointChange,
    ) -> int:
        heads = self._heads
        if guard.creates:
            self._folders.make(session_id)
        with self._folders.locked(session_id) as folder:
            log = folder.log
            head = heads.of(session_id, folder)
            self._check(session_id, guard, head)
            if log.torn_bytes:
                logger.warning(
                    "Session %s: %d bytes of an append that was cut off are removed.",
                    session_id,
                    log.torn_bytes,
                )
            if guard.creates:
                head.last_seq = change.first_seq - 1
            first = head.last_seq + 1
            log.append([numbered(event, seq) for seq, event in enumerate(events, first)])
            if guard.creates:
                sync_folder(log.path.parent)
            apply_head_change(head, change, len(events))
            if guard.fence is None or head.status not in HELD or "status" in change.set or checkpoints:
                heads.put(head, folder, checkpoints, first)
            else:
                heads.put_soon(head, folder)
            return head.last_seq

    def _check(self, session_id: str, guard: Guard, head: Head) -> None:
        if head.last_seq == 0:
            if not guard.creates:
                raise SessionNotFound(session_id)
            return
        error = refusal(
            session_id,
            guard,
            last_seq=head.last_seq,
            status=head.status,
            fence=head.fence,
            lease_lasts=_lasts(head),
        )
        if error:
            raise error

    @in_thread
    def _rewrite(self, session_id: str, records: Sequence[EventRecord], first_seq: int | None) -> None:
        heads = self._heads
        with self._folders.rewriting(session_id) as file:
            rewrite = LogRewrite(self._folders.log_of(session_id), records, first_seq, file)
            rewrite.copy()
            with self._folders.locked(session_id) as folder:
                head = heads.of(session_id, folder)
                # Now the index says which log it was made from, should this process end before the next.
                heads.put(head, folder)
                self._folders.remove_snapshots(session_id, before=rewrite.first_seq)
                rewrite.finish(folder.log)
                folder.log.scan()
                head.first_seq = rewrite.first_seq
                head.counts["stored_bytes"] += rewrite.grown
                heads.put(head, folder)

    # Heads

    @in_thread
    def head(self, session_id: str) -> Head:
        return self._heads.get(check_id(session_id))

    @in_thread
    def heads(self, query: HeadQuery) -> list[Head]:
        return self._index_for(query).heads(query, time.time())

    @in_thread
    def count_by_status(self, query: HeadQuery) -> dict[str, int]:
        return self._index_for(query).count_by_status(query, time.time())

    def _index_for(self, query: HeadQuery) -> FileIndex:
        return self._heads.telling_worked() if query.agent else self._heads.caught_up()

    @in_thread
    def last_seqs(self, session_ids: Iterable[str]) -> dict[str, int]:
        return self._heads.last_seqs(session_ids)

    # Reading

    @in_thread
    def _read_events(self, session_id: str, query: EventQuery) -> list[EventRecord]:
        if not self._folders.folder(session_id).is_dir():
            if self._known_heads:  # before, it may have none yet
                self._folders.refuse_if_gone()
            return []
        with self._folders.scanned(session_id) as folder:
            fitting = filter(query.takes, _events(folder.log, query))
            found = list(islice(fitting, query.limit))
        return found if query.bodies else [replace(record, body=b"") for record in found]

    @in_thread
    def checkpoints(self, session_id: str) -> list[Checkpoint]:
        return self.index.checkpoints(check_id(session_id))

    @in_thread
    def checkpoint(self, checkpoint_id: str) -> Checkpoint:
        found = self.index.checkpoint(checkpoint_id)
        if found is None:
            raise CheckpointNotFound(checkpoint_id)
        return found

    # Snapshots

    @in_thread
    def put_snapshot(self, session_id: str, snapshot: Snapshot) -> None:
        folder = self._folders.folder(session_id) / "snapshots"
        found = self.index.get(session_id)
        if not folder.parent.is_dir() or (found and snapshot.seq < found.head.first_seq):
            return
        folder.mkdir(exist_ok=True)
        encoding = snapshot.encoding.encode()
        replace_file(
            folder / f"{snapshot.seq}{self._extension}", encoding + b"\n" + snapshot.body, durable=True
        )

    @in_thread
    def snapshot(self, session_id: str, *, at_or_before: int) -> Snapshot | None:
        kept = self._folders.snapshots(session_id)
        best = max((seq for seq in kept if seq <= at_or_before), default=None)
        if best is None:
            return None
        encoding, _, body = kept[best].read_bytes().partition(b"\n")
        return Snapshot(best, body, encoding.decode("ascii", "replace"))

    # Leases

    @in_thread
    def acquire(self, session_id: str, owner: str, ttl: float) -> Lease:
        with self._changing_lease(session_id) as head:
            if _lasts(head) and head.owner != owner:
                raise LeaseHeld(session_id, head.owner, head.lease_expires_at)
            head.owner, head.fence = owner, head.fence + 1
            return self._put_lease(head, ttl, durable=True)

    @in_thread
    def renew(self, session_id: str, fence: int, ttl: float) -> Lease:
        with self._changing_lease(session_id) as head:
            if head.fence != fence or not _lasts(head):
                raise LeaseLost(session_id)
            return self._put_lease(head, ttl, durable=False)

    @in_thread
    def release(self, session_id: str, fence: int) -> None:
        try:
            with self._changing_lease(session_id) as head:
                if head.fence == fence:
                    head.owner = ""
                    self._put_lease(head, None, durable=False)
        except SessionNotFound:
            return

    @contextmanager
    def _changing_lease(self, session_id: str) -> Iterator[Head]:
        heads = self._heads
        with self._folders.locked(session_id) as folder:
            head = heads.of(session_id, folder)
            if head.last_seq == 0:
                raise SessionNotFound(session_id)
            yield head
            heads.put(head, folder)

    def _put_lease(self, head: Head, ttl: float | None, *, durable: bool) -> Lease:
        expires = time.time() + ttl if ttl is not None else 0.0
        head.lease_expires_at = datetime.fromtimestamp(expires, UTC) if expires else None
        values = {"owner": head.owner, "fence": head.fence, "expires": expires}
        replace_file(
            self._folders.folder(head.session_id) / "lease.json", orjson.dumps(values), durable=durable
        )
        return Lease(head.session_id, head.owner, head.fence, datetime.fromtimestamp(expires, UTC))

    # Deleting and reckoning

    @in_thread
    def delete(self, session_id: str, *, expected_seq: int | None = None) -> None:
        heads = self._heads
        with self._folders.locked(session_id) as folder:
            head = heads.of(session_id, folder)
            if _lasts(head):
                raise LeaseHeld(session_id, head.owner, head.lease_expires_at)
            refuse_if_moved_on(session_id, expected_seq, head.last_seq)
            doomed = self._folders.remove(session_id)
            heads.index.delete(session_id)
        shutil.rmtree(doomed)

    @in_thread
    def usage(self) -> Usage:
        index = self._heads.caught_up()
        by_status = index.count_by_status(HeadQuery(), time.time())
        events, stored = index.totals()
        return Usage(
            sessions=sum(by_status.values()),
            events=events,
            checkpoints=index.count_checkpoints(),
            bytes=stored,
            by_status=by_status,
        )

    @in_thread
    def check(self) -> list[str]:
        self._make_folders()
        problems = []
        kind = kind_of_file_system(self.base_path)
        if kind in NETWORK_FILE_SYSTEMS:
            problems.append(
                f"{self.base_path} is on a network file system ({kind}): locks and durable writes are not "
                "certain there. Use a local disk, or the database or Redis store."
            )
        if not os.access(self._folders.path, os.W_OK):
            problems.append(f"{self._folders.path} cannot be written by this user.")
        if (self.base_path / "SESSIONS").exists():
            problems.append(
                f"{self.base_path} does not tell 'a' from 'A': session ids that differ only in case collide."
            )
        return problems

    async def wakeups(self) -> AsyncIterator[str]:
        """By inotify, or what the system has like it."""
        from watchfiles import awatch

        await self._threads().run(self._make_folders)
        async for changes in awatch(self._folders.path, recursive=True, step=20, debounce=50):
            for session_id in {self._changed_session(path) for _, path in changes} - {""}:
                yield session_id

    def _changed_session(self, path: str) -> str:
        parts = Path(path).relative_to(self._folders.path.absolute()).parts
        is_log = len(parts) == 2 and parts[1].startswith("log")
        return session_id_of(parts[0]) if is_log else ""

    async def close(self) -> None:
        with self._opening, self._lock:
            pool, self._pool = self._pool, None
            heads, self._known_heads = self._known_heads, None
        if pool:
            await asyncio.to_thread(pool.close)
        if heads:
            heads.index.close()


def _lasts(head: Head) -> bool:
    return head.lease_expires_at is not None and head.lease_expires_at.timestamp() > time.time()


def _events(log: LogFile, query: EventQuery) -> Iterator[EventRecord]:
    after = query.after
    upto = log.last_seq if query.before is None else min(query.before - 1, log.last_seq)
    if not query.newest_first:
        yield from log.read(after, upto, query.kinds)
        return
    while upto > after:
        start = max(after, upto - WINDOW)
        yield from reversed(list(log.read(start, upto, query.kinds)))
        upto = start
