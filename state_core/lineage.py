"""Where a session comes from and what came of it: origins, forks, restores. Reads heads and headers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime

from state_core.events import EventKind, EventRecord
from state_core.exceptions import SessionNotFound
from state_core.records import Head
from state_core.storage.base import HeadQuery, StorageBackend

MOST = 200
"""Forks, and restores, that are told of one session."""
DEEPEST = 20
"""Generations, upwards and downwards."""


@dataclass(frozen=True)
class Relative:
    """A session that this one comes from, or that came from it."""

    session_id: str
    seq: int
    """The event of the older one at which the younger began."""
    generation: int
    """-1: where it comes from, 1: a fork of it, 2: a fork of a fork …"""
    head: Head | None
    """None where the session is there no more."""
    at: datetime | None = None
    """When the fork was made, by whom, and why."""
    actor: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Restored:
    """A time that a session was put back."""

    seq: int
    """Of the restore itself."""
    to: int
    checkpoint_id: str
    at: datetime
    actor: str
    reason: str


@dataclass(frozen=True)
class Lineage:
    session_id: str
    origins: tuple[Relative, ...]
    """The eldest first."""
    forks: tuple[Relative, ...]
    """Each followed by its own forks."""
    restores: tuple[Restored, ...]
    """The oldest first."""
    is_cut: bool = False
    """There are more than MOST."""

    def __bool__(self) -> bool:
        return bool(self.origins or self.forks or self.restores)


async def lineage_of(storage: StorageBackend, session_id: str) -> Lineage:
    """Raises SessionNotFound."""
    head = await storage.head(session_id)
    origins = [origin async for origin in _origins(storage, head)]
    forks: list[Relative] = []
    await _add_forks(storage, session_id, 1, forks)
    restores = await storage.read_events(
        session_id, kinds=[EventKind.SESSION_RESTORED], bodies=False, newest_first=True, limit=MOST + 1
    )
    return Lineage(
        session_id,
        tuple(reversed(origins)),
        tuple(forks[:MOST]),
        tuple(_restored(event) for event in reversed(restores[:MOST])),
        is_cut=max(len(forks), len(restores)) > MOST,
    )


async def _origins(storage: StorageBackend, head: Head) -> AsyncIterator[Relative]:
    for generation in range(1, DEEPEST + 1):
        if not head.origin:
            return
        parent, _, seq = head.origin.rpartition("@")
        made = await _first(storage, head.session_id)
        try:
            head = await storage.head(parent)
        except SessionNotFound:
            yield _relative(parent, seq, -generation, None, made)
            return
        yield _relative(parent, seq, -generation, head, made)


async def _add_forks(
    storage: StorageBackend, session_id: str, generation: int, found: list[Relative]
) -> None:
    query = HeadQuery(origin=session_id, sort="created_at", limit=MOST + 1 - len(found))
    for head in await storage.heads(query) if query.limit > 0 else ():
        made = await _first(storage, head.session_id)
        seq = head.origin.rpartition("@")[2]
        found.append(_relative(head.session_id, seq, generation, head, made))
        if generation < DEEPEST:
            await _add_forks(storage, head.session_id, generation + 1, found)


async def _first(storage: StorageBackend, session_id: str) -> EventRecord | None:
    events = await storage.read_events(session_id, limit=1, bodies=False)
    return events[0] if events else None


def _relative(
    session_id: str, seq: str, generation: int, head: Head | None, made: EventRecord | None
) -> Relative:
    told = (made.at, made.actor, str(made.data.get("reason", ""))) if made else (None, "", "")
    return Relative(session_id, int(seq) if seq.isdecimal() else 0, generation, head, *told)


def _restored(event: EventRecord) -> Restored:
    data = event.data
    return Restored(
        event.seq, data["to"], data.get("checkpoint", ""), event.at, event.actor, data.get("reason", "")
    )
