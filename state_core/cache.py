"""Folded states kept in memory, so that the next reader folds only what came after."""

from __future__ import annotations

import marshal
import threading
from bisect import bisect_right, insort
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime

import orjson

from state_core.records import Document, Head, parse_time
from state_core.snapshots import Unsnapshotted

ENTRY_BYTES = 512
"""What keeping a state costs besides its content."""


@dataclass(frozen=True, slots=True)
class Cached:
    """A folded state. It holds no object of the reader that left it here, nor gives one to the next."""

    session_id: str
    seq: int
    body: bytes
    created_at: datetime | None
    updated_at: datetime | None
    """The moment of event ``seq``."""
    unsnapshotted: Unsnapshotted
    """What was read for it since the last snapshot."""

    @property
    def bytes(self) -> int:
        return len(self.body) + ENTRY_BYTES

    def document(self) -> Document:
        document: Document = marshal.loads(self.body)  # noqa: S302 - bytes that never left this process
        return document

    def is_of(self, head: Head) -> bool:
        """Is this the session that has the head, and not one of the same id that was deleted?"""
        return self.created_at == head.created_at and self.seq <= head.last_seq

    def is_last_of(self, head: Head) -> bool:
        return self.seq == head.last_seq and self.updated_at == head.updated_at


class DocumentCache:
    """Keeps the states used last, up to ``max_bytes``. May be used from several threads.

    It promises nothing about the store: who takes a state from here compares it with the session's head
    and log (`EventLog.document`), so that another process's write is never missed.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self._lock = threading.Lock()
        self._entries: OrderedDict[tuple[str, int], Cached] = OrderedDict()
        self._seqs: dict[str, list[int]] = {}
        """Session id → the seqs of its entries, ascending."""

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, session_id: str, *, after: int, upto: int) -> Cached | None:
        """The newest state of a session with ``after < seq <= upto``."""
        with self._lock:
            seqs = self._seqs.get(session_id, [])
            place = bisect_right(seqs, upto)
            if not place or seqs[place - 1] <= after:
                return None
            key = (session_id, seqs[place - 1])
            self._entries.move_to_end(key)
            return self._entries[key]

    def keep(
        self, document: Document, unsnapshotted: Unsnapshotted, instead_of: Cached | None = None
    ) -> None:
        """Keep a copy. ``instead_of``: the state that it was folded from, which has had its day."""
        entry = Cached(
            document["session_id"],
            document["seq"],
            _packed(document),
            parse_time(document["created_at"]),
            parse_time(document["updated_at"]),
            unsnapshotted,
        )
        with self._lock:
            for old in (instead_of, entry):
                if old:
                    self._drop((old.session_id, old.seq))
            if entry.bytes <= self.max_bytes:
                self._add(entry)

    def forget(self, session_id: str) -> None:
        with self._lock:
            for seq in list(self._seqs.get(session_id, [])):
                self._drop((session_id, seq))

    def _add(self, entry: Cached) -> None:
        self._entries[entry.session_id, entry.seq] = entry
        insort(self._seqs.setdefault(entry.session_id, []), entry.seq)
        self.bytes += entry.bytes
        while self.bytes > self.max_bytes:
            self._drop(next(iter(self._entries)))

    def _drop(self, key: tuple[str, int]) -> None:
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        self.bytes -= entry.bytes
        seqs = self._seqs[entry.session_id]
        seqs.remove(entry.seq)
        if not seqs:
            del self._seqs[entry.session_id]


def _packed(document: Document) -> bytes:
    """For plain JSON values marshal is several times as quick as deepcopy, and says what they weigh."""
    try:
        return marshal.dumps(document)
    except ValueError:  # an enum or the like, from a store that keeps headers as they were given to it
        return marshal.dumps(orjson.loads(orjson.dumps(document)))
