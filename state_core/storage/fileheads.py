"""Heads of sessions in folders: what their logs say, and in an index for lists.

An append by whoever holds the session's lease, which changes nothing that is waited for (no status, no
checkpoint), reaches the index a moment later, together with what follows it. Meanwhile the log is longer than
the index says; who lists sessions looks for that where a lease lasts, and mends it first.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime

from state_core.exceptions import DamagedError, SessionNotFound
from state_core.heads import TELL_OF_WORK, CheckpointChange, apply_head_change, head_change
from state_core.records import Head
from state_core.storage.base import derived
from state_core.storage.filefolders import SessionFolder, SessionFolders, size_of
from state_core.storage.fileindex import FileIndex
from state_core.storage.filelog import LogFile

logger = logging.getLogger(__name__)

SOON = 0.01
"""Seconds after which the index follows."""
PATIENCE = 2.0
"""Seconds for which a list waits for a session that is being written, and whose writer may stand still."""
NO_CHANGE = CheckpointChange()


class FileHeads:
    """``submit`` runs work in the background."""

    def __init__(
        self, index: FileIndex, folders: SessionFolders, submit: Callable[[Callable[[], None]], None]
    ) -> None:
        self.index = index
        self._folders = folders
        self._submit = submit
        self._lock = threading.Lock()
        self._behind: set[str] = set()
        """Sessions whose log this process made longer than the index says."""
        self._following_in = 0
        """The process in which that is about to be mended; one that was forked inherits no thread."""

    # Following the logs

    def take_stock(self) -> None:
        """Index what was written by a process that was killed before it could."""
        known = self.index.known()
        for session_id in self._folders.session_ids():
            if known.pop(session_id, None) != size_of(self._folders.log_path(session_id)):
                self._index_anew(session_id)
        for session_id in known:
            self.index.delete(session_id)

    def _index_anew(self, session_id: str) -> None:
        try:
            with self._folders.locked(session_id, PATIENCE) as folder:
                self._reindex(session_id, folder)
        except BlockingIOError:
            logger.warning(
                "Session %s is being written for long; lists have it once that is done.", session_id
            )
        except DamagedError as error:
            # The others must stay usable; whoever asks for this one is told again.
            logger.error("%s", error)

    def caught_up(self) -> FileIndex:
        """The index, of all sessions that a lease lasts on as their logs are now."""
        with self._lock:
            behind = set(self._behind)
        for session_id, log_bytes in self.index.held(time.time()):
            if log_bytes != size_of(self._folders.log_path(session_id)):
                behind.add(session_id)
        for session_id in behind:
            self._mend(session_id, PATIENCE)
        return self.index

    def telling_worked(self) -> FileIndex:
        """The index, caught up; for so long as a list waits, what an earlier version wrote is made to tell
        who has worked in it."""
        until = time.monotonic() + PATIENCE
        for session_id in self.index.not_telling_worked():
            if time.monotonic() > until:
                break
            self._mend(session_id, PATIENCE)
        return self.caught_up()

    def put_soon(self, head: Head, folder: SessionFolder) -> None:
        """As `put`, for what need not be found in lists at once."""
        folder.know(head)
        with self._lock:
            self._behind.add(head.session_id)
            is_under_way, self._following_in = self._following_in == os.getpid(), os.getpid()
        if not is_under_way:
            self._submit(self._follow)

    def _follow(self) -> None:
        time.sleep(SOON)
        with self._lock:
            behind, self._following_in = set(self._behind), 0
        for session_id in behind:
            self._mend(session_id)

    def _mend(self, session_id: str, patience: float | None = None) -> None:
        is_ours = session_id in self._behind
        try:
            with self._folders.locked(session_id, patience) as folder:
                self.put(self.of(session_id, folder), folder)
                if not is_ours:
                    folder.head = None  # The agents at work are not in the log: who writes it tells of them.
        except BlockingIOError:
            return  # It is being written, or whoever writes it stands still: what it says will do.
        except SessionNotFound:
            with self._lock:
                self._behind.discard(session_id)
        except DamagedError as error:
            logger.error("%s", error)

    # Heads

    def get(self, session_id: str) -> Head:
        """Raises SessionNotFound."""
        if session_id in self._behind:
            self._mend(session_id)
        found = self.index.get(session_id)
        log_bytes = size_of(self._folders.log_path(session_id))
        if found and found.tells_worked and found.log_bytes == log_bytes:
            return self._with_lease(found.head, self._folders.opened(session_id))
        with self._folders.locked(session_id) as folder:
            head = self.of(session_id, folder)
            folder.know(head)
            copy = deepcopy(head)
        if copy.last_seq == 0:
            raise SessionNotFound(session_id)
        return copy

    def last_seqs(self, session_ids: Iterable[str]) -> dict[str, int]:
        indexed = self.index.last_seqs(session_ids)
        return {session_id: self._last_seq(session_id, *known) for session_id, known in indexed.items()}

    def _last_seq(self, session_id: str, indexed: int, log_bytes: int) -> int:
        if size_of(self._folders.log_path(session_id)) in (log_bytes, None):
            return indexed
        try:
            with self._folders.scanned(session_id) as folder:
                return folder.log.last_seq or indexed
        except DamagedError:
            return indexed  # Whoever reads its events is told.

    def put(
        self,
        head: Head,
        folder: SessionFolder,
        change: CheckpointChange = NO_CHANGE,
        first: int = 0,
        *,
        afresh: bool = False,
    ) -> None:
        """The log is durable already: an index that cannot be written is mended when it is next read."""
        folder.head = None
        changed = [replace(checkpoint, seq=first + i) for i, checkpoint in change.added]
        new = {checkpoint.id for checkpoint in changed}
        try:
            for checkpoint_id in () if afresh else (change.renamed.keys() | change.pinned.keys()) - new:
                found = self.index.checkpoint(checkpoint_id)
                changed += [found] if found else []
            for checkpoint in changed:
                checkpoint.name = change.renamed.get(checkpoint.id, checkpoint.name)
                checkpoint.pinned = change.pinned.get(checkpoint.id, checkpoint.pinned)
            self.index.put(head, folder.log.place, changed, change.removed, afresh=afresh)
            folder.know(head)
            with self._lock:
                self._behind.discard(head.session_id)
        except sqlite3.Error as error:
            logger.warning("Session %s: its index entry is behind its log: %s.", head.session_id, error)

    def of(self, session_id: str, folder: SessionFolder) -> Head:
        """The head as its log says; the index mended where it is behind. The caller has the lock, and may
        change the head, which it then puts."""
        known = folder.known_head()
        folder.head = None  # Until it is put: an append that fails may have changed it.
        if known:
            return self._with_lease(known, folder)
        found = self.index.get(session_id)
        is_whole = found is not None and found.tells_worked and found.log_bytes == folder.log.size
        if found is None or not is_whole or _is_of_another(found.log_begins, folder.log):
            return self._reindex(session_id, folder)
        return self._with_lease(found.head, folder)

    def _reindex(self, session_id: str, folder: SessionFolder) -> Head:
        found, log = self.index.get(session_id), folder.log
        afresh = found is not None and _is_of_another(found.log_begins, log)
        if afresh:
            found = None  # it was rewritten, or put back to what a backup had
        if found and found.log_bytes > log.size:
            raise DamagedError(
                session_id,
                f"its log {log.path.name}",
                f"it ends at event {log.last_seq}, {found.head.last_seq} were acknowledged",
            )
        head = self._with_lease(found.head if found else Head(session_id), folder)
        if found and not found.tells_worked:
            head.worked = _worked(log, head.last_seq)
        events = list(log.read(head.last_seq, log.last_seq))
        if events:
            first = events[0].seq
            head.last_seq = first - 1
            change, checkpoints = derived(session_id, events)
            apply_head_change(head, change, len(events))
            self.put(head, folder, checkpoints, first, afresh=afresh)
        elif found and not found.tells_worked:
            self.put(head, folder)
        return head

    def _with_lease(self, head: Head, folder: SessionFolder) -> Head:
        try:
            lease = folder.read_lease()
            head.owner, head.fence, expires = str(lease["owner"]), int(lease["fence"]), lease["expires"]
            head.lease_expires_at = datetime.fromtimestamp(expires, UTC) if expires else None
        except FileNotFoundError:
            return head
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            raise DamagedError(head.session_id, "lease.json", "it cannot be read") from error
        return head


def _worked(log: LogFile, upto: int) -> list[str]:
    events = list(log.read(log.first_seq - 1, upto, TELL_OF_WORK))
    return head_change(events).first_worked if events else []


def _is_of_another(begins: bytes | None, log: LogFile) -> bool:
    """Was it another log that the index was made from? One without any event has lost what it had."""
    return log.size > 0 and begins not in (None, b"", log.place[0])
