"""Sessions from one store to another: their events as they are, with sealed bodies and all.

No key is needed, since a body is bound to its session and its header and not to its store. Heads and
checkpoints follow from the events, as in any append; snapshots are made anew when they pay. Leases stay
behind: a session whose orchestrator fell silent has a lease that ran out in the target, too.

A copy that was stopped in the middle goes on when it is started again. Until then nobody can take up the
half that is there: it is held for `HOLD_SECONDS`.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import orjson

from state_core.codec import Codec
from state_core.events import EventRecord, Header
from state_core.exceptions import (
    DamagedError,
    Diverged,
    EncryptionKeyError,
    EventGone,
    LeaseHeld,
    SessionNotFound,
    StateError,
    StorageUnavailable,
)
from state_core.heads import apply_checkpoint_change, apply_head_change
from state_core.records import HELD, Checkpoint, Head, utc_now
from state_core.storage.base import StorageBackend, derived
from state_core.walk import (
    BYTES_AT_ONCE,
    OnProgress,
    WalkProgress,
    count_sessions,
    record_pages,
    session_ids,
)

HOLD_SECONDS = 3600.0
"""How long half a copy is kept from everybody but a further copy."""
OWNER = "copy_sessions"
RUNS_OUT_AT_ONCE = 0.001
"""Seconds."""


class CopyOutcome(StrEnum):
    COPIED = "copied"
    """What was missing was written, read back and compared."""
    TO_COPY = "to copy"
    """Would be copied; this was a dry run."""
    THERE = "there already"
    """The target has all of it; it was compared."""
    SKIPPED = "skipped"
    """An orchestrator holds it at present."""
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class SessionCopy:
    """What became of one session."""

    session_id: str
    outcome: CopyOutcome
    events: int = 0
    """That the source has."""
    written: int = 0
    """Of them, by this copy."""
    why: str = ""


async def copy_session(
    source: StorageBackend,
    target: StorageBackend,
    session_id: str,
    *,
    include_running: bool = False,
    dry_run: bool = False,
    codec: Codec | None = None,
    on_progress: OnProgress | None = None,
) -> SessionCopy:
    """Copy what the target does not have yet, then compare every event, the head and the checkpoints.

    ``include_running``: also a session that somebody holds, as far as it has come. ``codec``: with keys,
    encrypted bodies are opened, too, before they are copied; others always are.

    Raises SessionNotFound, LeaseHeld (in the source, or in the target), DamagedError before anything is
    written, and Diverged where the target has something else under this id.
    """
    head = await source.head(session_id)
    if _is_held(head) and not include_running:
        raise LeaseHeld(session_id, head.owner, head.lease_expires_at)
    return await _Copy(source, target, head, codec or Codec(), on_progress).run(dry_run)


async def copy_sessions(
    source: StorageBackend,
    target: StorageBackend,
    ids: Iterable[str] | None = None,
    *,
    include_running: bool = False,
    dry_run: bool = False,
    codec: Codec | None = None,
    on_progress: OnProgress | None = None,
) -> list[SessionCopy]:
    """Copy these sessions, or all, one after another; see `copy_session`. One that fails holds up no other.

    Raises StorageUnavailable when a store cannot be reached any more; start it again to go on.
    """
    chosen = None if ids is None else list(dict.fromkeys(ids))
    total = len(chosen) if chosen is not None else await count_sessions(source)
    results: list[SessionCopy] = []

    def tell(progress: WalkProgress) -> None:
        if on_progress:
            on_progress(replace(progress, sessions=len(results), of_sessions=max(total, len(results) + 1)))

    async for session_id in session_ids(source, chosen):
        try:
            head = await _head_if_there(source, session_id, named=chosen is not None)
            if head is None:
                continue
            if _is_held(head) and not include_running:
                why = f"{head.owner!r} runs it at present; pause it first, or include running sessions"
                result = SessionCopy(session_id, CopyOutcome.SKIPPED, head.last_seq, why=why)
            else:
                result = await _Copy(source, target, head, codec or Codec(), tell).run(dry_run)
        except StorageUnavailable:
            raise
        except StateError as error:
            result = SessionCopy(session_id, CopyOutcome.FAILED, why=str(error))
        results.append(result)
    return results


async def _head_if_there(source: StorageBackend, session_id: str, *, named: bool) -> Head | None:
    """None of one that was deleted since it was listed. Raises SessionNotFound where it was asked for."""
    try:
        return await source.head(session_id)
    except SessionNotFound:
        if named:
            raise
        return None


def _is_held(head: Head) -> bool:
    return bool(head.owner) and head.lease_expires_at is not None and head.lease_expires_at > utc_now()


@dataclass
class _Original:
    """What the source's log says, as far as its bodies are not needed for it."""

    head: Head
    checkpoints: dict[str, Checkpoint] = field(default_factory=dict)
    digests: dict[int, bytes] = field(default_factory=dict)
    """By seq."""

    def add(self, records: Sequence[EventRecord]) -> None:
        change, checkpoints = derived(self.head.session_id, records)
        if not self.digests:
            self.head.last_seq = change.first_seq - 1
        first = self.head.last_seq + 1
        apply_head_change(self.head, change, len(records))
        apply_checkpoint_change(self.checkpoints, checkpoints, first)
        self.digests.update((record.seq, _digest(record)) for record in records)


class _Copy:
    """Of one session: look through the source, compare what the target has, write the rest, compare it."""

    def __init__(
        self,
        source: StorageBackend,
        target: StorageBackend,
        head: Head,
        codec: Codec,
        on_progress: OnProgress | None,
    ) -> None:
        self._source = source
        self._target = target
        self._head = head
        self._session_id = head.session_id
        self._codec = codec
        self._on_progress = on_progress
        self._original = _Original(Head(head.session_id))
        self._fence: int | None = None
        self._before = head.first_seq - 1

    async def run(self, dry_run: bool) -> SessionCopy:
        await self._look_through()
        total, events = self._head.last_seq, self._head.event_count
        there, is_longer = await self._there()
        await self._compare_events(self._head.first_seq if is_longer else self._before, min(there, total))
        if there >= total and not is_longer:
            return self._copied(CopyOutcome.THERE, 0, await self._compare_rest())
        if dry_run:
            return SessionCopy(self._session_id, CopyOutcome.TO_COPY, events)
        if is_longer:
            await self._compact_there()
        if there < total:
            await self._write(there)
            await self._compare_events(there, total)
        more = await self._compare_rest()
        await self._let_go(more)
        return self._copied(CopyOutcome.COPIED, max(0, total - there), more)

    def _copied(self, outcome: CopyOutcome, written: int, more: int) -> SessionCopy:
        why = f"it has gone on there by {more}" if more else ""
        return SessionCopy(self._session_id, outcome, self._head.event_count, written, why)

    def _tell(self, seq: int) -> None:
        if self._on_progress:
            done = seq - self._before
            self._on_progress(WalkProgress(self._session_id, done, self._head.event_count))

    # The source

    async def _look_through(self) -> None:
        async for records in self._pages(self._source, self._before, self._head.last_seq):
            for record in records:
                # Encrypted with a key that we do not have: the target's readers will find out.
                with contextlib.suppress(EncryptionKeyError):
                    self._codec.open(self._session_id, record)
            self._original.add(records)
        if _state_of(self._original.head) != _state_of(self._head):
            raise DamagedError(self._session_id, "its head", "it does not follow from its events")

    def _pages(self, store: StorageBackend, after: int, upto: int) -> AsyncIterator[list[EventRecord]]:
        return record_pages(store, self._head, after, upto)

    # The target

    async def _there(self) -> tuple[int, bool]:
        """The last event there, or what the log begins after; and is the source alone compacted?"""
        try:
            head = await self._target.head(self._session_id)
        except SessionNotFound:
            return self._before, False
        is_longer = head.first_seq < self._head.first_seq <= head.last_seq
        if head.first_seq != self._head.first_seq and not is_longer:
            raise Diverged(self._session_id, "where its log begins, since one of them was compacted,")
        return head.last_seq, is_longer

    async def _compact_there(self) -> None:
        """As in the source: an earlier copy is from before it was compacted."""
        first = self._head.first_seq
        await self._hold()
        records = await self._source.read_events(self._session_id, before=first + 1)
        try:
            await self._target.rewrite(self._session_id, records, first_seq=first)
        except EventGone as error:
            raise Diverged(self._session_id, f"event {first}") from error
        await self._compare_events(self._before, first)

    async def _write(self, seq: int) -> None:
        total, is_there = self._head.last_seq, seq > self._before
        if is_there:
            await self._hold()
        async for records in self._pages(self._source, seq, total):
            for part in _parts(records):
                seq = await self._target.append(
                    self._session_id, part, expected_seq=seq if is_there else None, fence=self._fence
                )
                is_there = True
                if seq < total:
                    await self._hold()
                self._tell(seq)

    async def _hold(self) -> None:
        """So that nobody takes up what is there only in part."""
        if self._fence is None:
            lease = await self._target.acquire(self._session_id, OWNER, HOLD_SECONDS)
            self._fence = lease.fence
        else:
            await self._target.renew(self._session_id, self._fence, HOLD_SECONDS)

    async def _let_go(self, more: int) -> None:
        if self._fence is not None:
            await self._target.release(self._session_id, self._fence)
        head = self._head
        if head.status in HELD and head.owner and not _is_held(head) and not more:
            # Its orchestrator fell silent: whoever watches the target is to find that out as well.
            with contextlib.suppress(LeaseHeld):
                await self._target.acquire(self._session_id, head.owner, RUNS_OUT_AT_ONCE)

    # Comparing

    async def _compare_events(self, after: int, upto: int) -> None:
        async for records in self._pages(self._target, after, upto):
            for record in records:
                if _digest(record) != self._original.digests[record.seq]:
                    raise Diverged(self._session_id, f"event {record.seq}")

    async def _compare_rest(self) -> int:
        """The head and the checkpoints, unless the session has gone on there: returns by how many events."""
        head = await self._target.head(self._session_id)
        more = head.last_seq - self._head.last_seq
        if more:
            return more
        if _derived_part(head) != _derived_part(self._original.head):
            raise Diverged(self._session_id, "its head")
        checkpoints = {place.id: place for place in await self._target.checkpoints(self._session_id)}
        if checkpoints != self._original.checkpoints:
            raise Diverged(self._session_id, "its list of checkpoints")
        return 0


def _parts(records: Sequence[EventRecord]) -> Iterator[list[EventRecord]]:
    """Appends of bounded size, at least an event each."""
    part: list[EventRecord] = []
    size = 0
    for record in records:
        if part and size + len(record.body) > BYTES_AT_ONCE:
            yield part
            part, size = [], 0
        part.append(record)
        size += len(record.body)
    yield part


def _state_of(head: Head) -> Any:
    """What every event changes; how many bytes a store counts is its own affair."""
    return head.status, {name: n for name, n in head.counts.items() if name != "stored_bytes"}


def _derived_part(head: Head) -> Head:
    """All that follows from events alone."""
    counts = _state_of(head)[1]
    return replace(head, counts=counts, agents=[], owner="", fence=0, lease_expires_at=None)


def _digest(record: EventRecord) -> bytes:
    """Of all that a store keeps of an event."""
    values = {name: getattr(record, name) for name in Header.__dataclass_fields__}
    values["kind"] = str(record.kind)
    values["data"] = dict(record.data)
    values["duration"] = None if record.duration is None else float(record.duration)
    header = orjson.dumps([values, record.encoding, len(record.body)], option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(header + record.body, digest_size=16).digest()
