"""Key rotation: everything that is stored, under the key that encrypts at present.

It goes through the store while orchestrators run and append, a batch at a time, and needs no record of how
far it has come: each encoding names its key, so that a run that was killed is simply started again. Opening
and sealing are done outside of any lock, and each batch is one `StorageBackend.rewrite`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field, replace

from state_core.codec import Codec, key_of
from state_core.events import EventRecord
from state_core.exceptions import (
    ConfigurationError,
    DamagedError,
    EncryptionKeyError,
    EventGone,
    SessionNotFound,
    StateError,
)
from state_core.records import Head
from state_core.storage.base import Snapshot, StorageBackend
from state_core.walk import OnProgress, WalkProgress, count_sessions, record_pages, session_ids

NO_KEY = "it is encrypted with key {}, which is not given"
PAGE = 1000
"""Headers read at once."""
BYTES_AN_EVENT = 8_000
"""A batch holds as many events as a store likes to be given at once if each were so large."""
TRIES = 5
"""For a session that is compacted, or deleted and created again, again and again meanwhile."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """What of a session could not be read, and is left as it is."""

    session_id: str
    why: str
    count: int = 1
    key_id: str = ""
    """Of the key that is missing, where that is why."""
    what: str = "events and snapshots"


@dataclass
class RotationReport:
    """What was re-encrypted or, of a dry run, what would be, and what is under which key then."""

    dry_run: bool
    key_id: str
    """Of the key that everything is to be under; "" where all is to be decrypted."""
    key_ids: Sequence[str] = ()
    """Of all that were given."""
    sessions: int = 0
    """That held something under another key, or under none."""
    events: int = 0
    snapshots: int = 0
    beside: Counter[str] = field(default_factory=Counter)
    """What is kept elsewhere under the store's keys, a noun → how many."""
    unreadable: list[Unreadable] = field(default_factory=list)
    in_use: Counter[str] = field(default_factory=Counter)
    """Key id, or "" → how many events and snapshots are under it afterwards; of a dry run, at present."""

    counts_all: bool = True
    """False where ``in_use`` does not say it of the whole store."""

    @property
    def does_nothing(self) -> bool:
        return not (self.events or self.snapshots or self.beside)

    @property
    def unneeded(self) -> list[str]:
        """Keys that nothing in the store is under any more, for certain."""
        if not self.counts_all:
            return []
        return [key_id for key_id in self.key_ids if key_id != self.key_id and key_id not in self.in_use]

    @property
    def still_used(self) -> list[str]:
        """Keys, "" for none, that something that can be read is under, though it should not be."""
        wanted = {self.key_id, *(entry.key_id for entry in self.unreadable if entry.key_id)}
        return [key_id for key_id in self.in_use if key_id not in wanted]

    @property
    def missing(self) -> list[str]:
        return sorted({entry.key_id for entry in self.unreadable if entry.key_id})


async def rotate_keys(
    store: StorageBackend,
    codec: Codec,
    ids: Iterable[str] | None = None,
    *,
    decrypt: bool = False,
    dry_run: bool = False,
    on_progress: OnProgress | None = None,
) -> RotationReport:
    """See `StateManager.rotate_keys`."""
    if not codec.key_ids:
        raise ConfigurationError(
            "There is no encryption_key to rotate to, nor any to read with. Pass it; "
            "of a store in STATE_STORES it is ENCRYPTION_KEY, of the default one STATE_ENCRYPTION_KEY."
        )
    chosen = None if ids is None else list(dict.fromkeys(ids))
    key_id = "" if decrypt else codec.key_ids[0]
    report = RotationReport(dry_run, key_id, tuple(codec.key_ids), counts_all=chosen is None)
    total = len(chosen) if chosen is not None else await count_sessions(store)
    done = 0

    def tell(progress: WalkProgress) -> None:
        if on_progress:
            on_progress(replace(progress, sessions=done, of_sessions=max(total, done + 1)))

    rotation = _Rotation(store, codec, decrypt, report, tell)
    async for session_id in session_ids(store, chosen):
        try:
            if not dry_run:
                await rotation.run(session_id)
            await rotation.take_stock(session_id)
        except DamagedError as error:
            report.unreadable.append(Unreadable(session_id, str(error)))
            report.counts_all = False
        done += 1
    return report


class _Rotation:
    """Of one store."""

    def __init__(
        self, store: StorageBackend, codec: Codec, decrypt: bool, report: RotationReport, tell: OnProgress
    ) -> None:
        self._store = store
        self._codec = codec
        self._decrypt = decrypt
        self._report = report
        self._tell = tell

    def _is_current(self, encoding: str) -> bool:
        return self._codec.is_current(encoding, decrypt=self._decrypt)

    async def run(self, session_id: str) -> None:
        """One that is compacted, or deleted and made again, meanwhile is gone through once more."""
        for _ in range(TRIES):
            try:
                await self._go_through(session_id)
            except SessionNotFound:
                return
            except EventGone:
                continue
            return
        self._leave(session_id, "it changed under every one of several attempts; start again", 1)

    async def _go_through(self, session_id: str) -> None:
        left: Counter[tuple[str, str]] = Counter()
        rewritten = await self._events(session_id, left)
        rewritten += await self._snapshots(session_id, left)
        self._report.sessions += rewritten > 0
        for (why, key_id), count in left.items():
            self._leave(session_id, why, count, key_id)

    def _leave(self, session_id: str, why: str, count: int, key_id: str = "") -> None:
        self._report.unreadable.append(Unreadable(session_id, why, count, key_id))

    async def _events(self, session_id: str, left: Counter[tuple[str, str]]) -> int:
        done = 0
        async for stale in self._batches(session_id):
            new = await asyncio.to_thread(self._resealed, session_id, stale, left)
            if new:
                await self._store.rewrite(session_id, new)
            done += len(new)
            self._report.events += len(new)
        return done

    async def _batches(self, session_id: str) -> AsyncIterator[list[EventRecord]]:
        """What is to be sealed anew, as much at once as the store likes to be given."""
        batch: list[EventRecord] = []
        size, most = 0, self._store.rewrite_bytes
        async for record in self._stale(session_id):
            batch.append(record)
            size += len(record.body)
            if size >= most or len(batch) >= most // BYTES_AN_EVENT:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch

    async def _stale(self, session_id: str) -> AsyncIterator[EventRecord]:
        """Also of what is appended meanwhile. Raises EventGone."""
        head = await self._store.head(session_id)
        seq, first = head.first_seq - 1, head.first_seq
        while seq < head.last_seq:
            try:
                async for headers in record_pages(self._store, head, seq, head.last_seq, bodies=False):
                    async for record in self._stale_among(head, headers):
                        yield record
                    seq = headers[-1].seq
                    self._tell(WalkProgress(session_id, seq - first + 1, head.event_count))
            except DamagedError:
                if (await self._store.head(session_id)).first_seq != first:
                    raise EventGone(session_id, seq + 1) from None  # it was compacted
                raise
            head = await self._store.head(session_id)

    async def _stale_among(self, head: Head, headers: Sequence[EventRecord]) -> AsyncIterator[EventRecord]:
        stale = [header.seq for header in headers if not self._is_current(header.encoding)]
        if not stale:
            return
        async for records in record_pages(self._store, head, stale[0] - 1, stale[-1]):
            for record in records:
                if not self._is_current(record.encoding):
                    yield record

    def _resealed(
        self, session_id: str, records: Sequence[EventRecord], left: Counter[tuple[str, str]]
    ) -> list[EventRecord]:
        """In a thread. What cannot be read is left as it is."""
        found = []
        for record in records:
            try:
                found.append(self._codec.reseal(session_id, record, decrypt=self._decrypt))
            except (DamagedError, EncryptionKeyError) as error:
                left[why_unreadable(record.encoding, error)] += 1
        return found

    async def _snapshots(self, session_id: str, left: Counter[tuple[str, str]]) -> int:
        done = 0
        async for kept in self._kept(session_id):
            if self._is_current(kept.encoding):
                continue
            try:
                body, encoding = self._codec.reseal_snapshot(
                    session_id, kept.seq, kept.body, kept.encoding, decrypt=self._decrypt
                )
            except (DamagedError, EncryptionKeyError) as error:
                left[why_unreadable(kept.encoding, error)] += 1
                continue
            await self._store.put_snapshot(session_id, Snapshot(kept.seq, body, encoding))
            done += 1
        self._report.snapshots += done
        return done

    async def _kept(self, session_id: str) -> AsyncIterator[Snapshot]:
        """The newest first."""
        seq = (await self._store.head(session_id)).last_seq
        while kept := await self._store.snapshot(session_id, at_or_before=seq):
            yield kept
            seq = kept.seq - 1

    async def take_stock(self, session_id: str) -> None:
        """What is under which key; of a dry run also what would be done."""
        found: Counter[str] = Counter()
        after = 0
        while page := await self._store.read_events(session_id, after=after, limit=PAGE, bodies=False):
            found.update(key_of(record.encoding) for record in page)
            after = page[-1].seq
        snapshots: Counter[str] = Counter()
        with contextlib.suppress(SessionNotFound):
            snapshots.update([key_of(kept.encoding) async for kept in self._kept(session_id)])
        self._report.in_use.update(found + snapshots)
        if self._report.dry_run:
            self._plan(session_id, found, snapshots)

    def _plan(self, session_id: str, events: Counter[str], snapshots: Counter[str]) -> None:
        given = {"", *self._codec.key_ids}
        for key_id in sorted((events + snapshots).keys() - given):
            count = events.pop(key_id, 0) + snapshots.pop(key_id, 0)
            self._leave(session_id, NO_KEY.format(key_id), count, key_id)
        stale = [
            sum(n for key, n in found.items() if key != self._report.key_id) for found in (events, snapshots)
        ]
        self._report.events += stale[0]
        self._report.snapshots += stale[1]
        self._report.sessions += any(stale)


def why_unreadable(encoding: str, error: StateError) -> tuple[str, str]:
    """And the key that is missing, where one is."""
    if isinstance(error, EncryptionKeyError):
        return NO_KEY.format(key_of(encoding)), key_of(encoding)
    return str(error), ""
