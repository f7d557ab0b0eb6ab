"""Going through a store: its sessions in order, a session's records in pages, and how far one is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace

from state_core.events import EventRecord
from state_core.exceptions import DamagedError
from state_core.records import Head
from state_core.storage.base import HeadQuery, StorageBackend

MOST_EVENTS = 500
"""Most events that are in memory at once."""
BYTES_AT_ONCE = 8_000_000
"""How much of a session is read or written at once, as far as its events are alike."""
HEADS_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class WalkProgress:
    """How far it is: in one session, and in all of them."""

    session_id: str
    events: int
    """Of this session that are dealt with."""
    of_events: int
    sessions: int = 0
    """That were dealt with before this one."""
    of_sessions: int = 1

    @property
    def part(self) -> float:
        """Of all, from 0 to 1."""
        return (self.sessions + self.events / max(1, self.of_events)) / self.of_sessions


OnProgress = Callable[[WalkProgress], None]


async def session_ids(store: StorageBackend, chosen: Sequence[str] | None = None) -> AsyncIterator[str]:
    """Those chosen, or all in the order of their ids."""
    if chosen is not None:
        for session_id in chosen:
            yield session_id
        return
    query = HeadQuery(sort="session_id", limit=HEADS_AT_ONCE)
    while heads := await store.heads(query):
        for head in heads:
            yield head.session_id
        query = replace(query, after=query.cursor(heads[-1]))


async def count_sessions(store: StorageBackend) -> int:
    return sum((await store.count_by_status(HeadQuery())).values())


async def record_pages(
    store: StorageBackend, head: Head, after: int, upto: int, *, bodies: bool = True
) -> AsyncIterator[list[EventRecord]]:
    """Events with ``after < seq <= upto``. Raises DamagedError where one is missing."""
    limit = _page_size(head) if bodies else 2 * MOST_EVENTS
    while after < upto:
        records = await store.read_events(
            head.session_id, after=after, before=upto + 1, limit=limit, bodies=bodies
        )
        expected = range(after + 1, after + 1 + max(1, len(records)))
        missing = set(expected) - {record.seq for record in records}
        if missing:
            raise DamagedError(head.session_id, f"event {min(missing)}", f"it is missing in {store!r}")
        yield records
        after = records[-1].seq


def _page_size(head: Head) -> int:
    """Events to read at once: fewer where they are large."""
    average = max(1, head.counts["stored_bytes"]) / max(1, head.event_count)
    return max(1, min(MOST_EVENTS, int(BYTES_AT_ONCE / average)))
