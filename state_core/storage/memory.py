"""The memory store: the reference for the others, and a test double. Ends with its process."""

from __future__ import annotations

import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, ClassVar

from state_core.events import EventRecord, numbered
from state_core.exceptions import CheckpointNotFound, LeaseHeld, LeaseLost, SessionNotFound
from state_core.heads import CheckpointChange, HeadChange, apply_checkpoint_change, apply_head_change
from state_core.records import HELD, Checkpoint, Head, Lease, check_id
from state_core.storage.base import (
    EventQuery,
    Guard,
    HeadQuery,
    Snapshot,
    StorageBackend,
    Usage,
    check_replaces,
    refusal,
    refuse_if_moved_on,
    stored_size,
)


@dataclass
class _Session:
    head: Head
    events: list[EventRecord] = field(default_factory=list)
    checkpoints: dict[str, Checkpoint] = field(default_factory=dict)
    snapshots: dict[int, Snapshot] = field(default_factory=dict)

    def between(self, after: int, before: int | None) -> list[EventRecord]:
        gone = self.head.first_seq - 1
        end = None if before is None else max(0, before - 1 - gone)
        return self.events[max(0, after - gone) : end]


class MemoryStorageBackend(StorageBackend):
    """Sessions in this process's memory. ``clock``: seconds since 1970, for leases."""

    supports_other_processes: ClassVar[bool] = False
    survives_restart: ClassVar[bool] = False

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._sessions: dict[str, _Session] = {}

    def __repr__(self) -> str:
        return f"<MemoryStorageBackend {len(self._sessions)} sessions>"

    async def _append(
        self,
        session_id: str,
        events: Sequence[EventRecord],
        guard: Guard,
        change: HeadChange,
        checkpoints: CheckpointChange,
    ) -> int:
        with self._lock:
            session = self._guarded(session_id, guard, change.first_seq)
            first = session.head.last_seq + 1
            session.events.extend(numbered(event, seq) for seq, event in enumerate(events, first))
            apply_head_change(session.head, _own(change), len(events))
            apply_checkpoint_change(session.checkpoints, checkpoints, first)
            return session.head.last_seq

    def _guarded(self, session_id: str, guard: Guard, first_seq: int) -> _Session:
        session = self._sessions.get(session_id)
        if session is None:
            if not guard.creates:
                raise SessionNotFound(session_id)
            return self._sessions.setdefault(session_id, _Session(Head(session_id, last_seq=first_seq - 1)))
        head = session.head
        error = refusal(
            session_id,
            guard,
            last_seq=head.last_seq,
            status=head.status,
            fence=head.fence,
            lease_lasts=self._lease_lasts(head),
        )
        if error:
            raise error
        return session

    def _lease_lasts(self, head: Head) -> bool:
        return head.lease_expires_at is not None and head.lease_expires_at.timestamp() > self._clock()

    def _session(self, session_id: str) -> _Session:
        session = self._sessions.get(check_id(session_id))
        if session is None:
            raise SessionNotFound(session_id)
        return session

    async def _rewrite(self, session_id: str, records: Sequence[EventRecord], first_seq: int | None) -> None:
        with self._lock:
            session = self._session(session_id)
            events = {event.seq: event for event in session.events}
            for record in records:
                check_replaces(session_id, events.get(record.seq), record)
                events[record.seq] = record
            first = max(first_seq or 1, session.head.first_seq)
            session.events = [event for event in events.values() if event.seq >= first]
            session.head.first_seq = first
            session.head.counts["stored_bytes"] = sum(map(stored_size, session.events))
            session.snapshots = {seq: kept for seq, kept in session.snapshots.items() if seq >= first}

    async def _read_events(self, session_id: str, query: EventQuery) -> list[EventRecord]:
        with self._lock:
            session = self._sessions.get(session_id)
            events = session.between(query.after, query.before) if session else []
        found = [event for event in events if query.takes(event)]
        chosen = (found[::-1] if query.newest_first else found)[: query.limit]
        return chosen if query.bodies else [replace(event, body=b"") for event in chosen]

    async def head(self, session_id: str) -> Head:
        with self._lock:
            return deepcopy(self._session(session_id).head)

    async def heads(self, query: HeadQuery) -> list[Head]:
        with self._lock:
            now = self._clock()
            found = [s.head for s in self._sessions.values() if _matches(s.head, query, now)]
            # Python's sort is stable: first by the tie-breaker, then by the value.
            found.sort(key=lambda head: head.session_id)
            found.sort(key=lambda head: _order(query.sort_value(head)), reverse=query.descending)
            return deepcopy([head for head in found if _is_after(head, query)][: query.limit])

    async def count_by_status(self, query: HeadQuery) -> dict[str, int]:
        counts: dict[str, int] = {}
        with self._lock:
            now = self._clock()
            for session in self._sessions.values():
                if _matches(session.head, replace(query, statuses=()), now):
                    counts[str(session.head.status)] = counts.get(str(session.head.status), 0) + 1
        return counts

    async def last_seqs(self, session_ids: Iterable[str]) -> dict[str, int]:
        with self._lock:
            return {i: self._sessions[i].head.last_seq for i in session_ids if i in self._sessions}

    async def checkpoints(self, session_id: str) -> list[Checkpoint]:
        with self._lock:
            session = self._sessions.get(check_id(session_id))
            return deepcopy(sorted(session.checkpoints.values(), key=lambda c: c.seq)) if session else []

    async def checkpoint(self, checkpoint_id: str) -> Checkpoint:
        with self._lock:
            for session in self._sessions.values():
                if checkpoint_id in session.checkpoints:
                    return deepcopy(session.checkpoints[checkpoint_id])
        raise CheckpointNotFound(checkpoint_id)

    async def put_snapshot(self, session_id: str, snapshot: Snapshot) -> None:
        with self._lock:
            session = self._sessions.get(session_id)
            if session and snapshot.seq >= session.head.first_seq:
                session.snapshots[snapshot.seq] = snapshot

    async def snapshot(self, session_id: str, *, at_or_before: int) -> Snapshot | None:
        with self._lock:
            session = self._sessions.get(session_id)
            kept = sorted(session.snapshots) if session else []
            place = bisect_right(kept, at_or_before)
            return session.snapshots[kept[place - 1]] if session and place else None

    async def acquire(self, session_id: str, owner: str, ttl: float) -> Lease:
        with self._lock:
            head = self._session(session_id).head
            if self._lease_lasts(head) and head.owner != owner:
                raise LeaseHeld(session_id, head.owner, head.lease_expires_at)
            head.owner = owner
            head.fence += 1
            return self._extend(head, ttl)

    async def renew(self, session_id: str, fence: int, ttl: float) -> Lease:
        with self._lock:
            head = self._session(session_id).head
            if head.fence != fence or not self._lease_lasts(head):
                raise LeaseLost(session_id)
            return self._extend(head, ttl)

    def _extend(self, head: Head, ttl: float) -> Lease:
        head.lease_expires_at = datetime.fromtimestamp(self._clock() + ttl, UTC)
        return Lease(head.session_id, head.owner, head.fence, head.lease_expires_at)

    async def release(self, session_id: str, fence: int) -> None:
        with self._lock:
            session = self._sessions.get(session_id)
            if session and session.head.fence == fence:
                session.head.owner = ""
                session.head.lease_expires_at = None

    async def delete(self, session_id: str, *, expected_seq: int | None = None) -> None:
        with self._lock:
            head = self._session(session_id).head
            if self._lease_lasts(head):
                raise LeaseHeld(session_id, head.owner, head.lease_expires_at)
            refuse_if_moved_on(session_id, expected_seq, head.last_seq)
            del self._sessions[session_id]

    async def usage(self) -> Usage:
        with self._lock:
            heads = [session.head for session in self._sessions.values()]
        by_status: dict[str, int] = {}
        for head in heads:
            by_status[str(head.status)] = by_status.get(str(head.status), 0) + 1
        return Usage(
            sessions=len(heads),
            events=sum(head.event_count for head in heads),
            checkpoints=sum(head.counts["checkpoints"] for head in heads),
            bytes=sum(head.counts["stored_bytes"] for head in heads),
            by_status=by_status,
        )


def _own(change: HeadChange) -> HeadChange:
    """Its lists copied: the caller may go on changing them."""
    values = {name: list(value) if isinstance(value, list) else value for name, value in change.set.items()}
    return HeadChange(change.add, values, change.worked)


def _matches(head: Head, query: HeadQuery, now: float) -> bool:
    text = query.text.lower()
    updated = head.updated_at or datetime.min.replace(tzinfo=UTC)
    return (
        (not query.statuses or head.status in query.statuses)
        and (not text or any(text in part.lower() for part in (head.session_id, head.title, head.workflow)))
        and (not query.tag or query.tag in head.tags)
        and (not query.agent or query.worked in head.worked)
        and (query.since is None or updated >= query.since)
        and (query.until is None or updated < query.until)
        and (not query.questions or head.counts["questions"] > 0)
        and (not query.origin or head.origin.rpartition("@")[0] == query.origin)
        and (not query.lease_expired or _has_expired(head, now))
        and query.owner in head.owner
        and query.error in head.error
        and _lasted(head, query)
    )


def _lasted(head: Head, query: HeadQuery) -> bool:
    shortest, longest = query.min_duration, query.max_duration
    if shortest is None and longest is None:
        return True
    return (
        head.started_at is not None
        and (shortest is None or head.duration_seconds >= shortest)
        and (longest is None or head.duration_seconds <= longest)
    )


def _has_expired(head: Head, now: float) -> bool:
    return (
        head.status in HELD and head.lease_expires_at is not None and head.lease_expires_at.timestamp() <= now
    )


def _order(value: Any) -> tuple[bool, Any]:
    """None sorts below every value."""
    return (value is not None, value if value is not None else 0)


def _is_after(head: Head, query: HeadQuery) -> bool:
    if query.after is None:
        return True
    value, session_id = _order(query.sort_value(head)), head.session_id
    last_value, last_id = _order(query.after[0]), query.after[1]
    if value == last_value:
        return session_id > last_id
    return value < last_value if query.descending else value > last_value
