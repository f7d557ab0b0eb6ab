"""Compaction: one event that carries the state, in the place of all that led to it.

A log is compacted at its oldest kept checkpoint, so that every state that somebody can still ask for stays
exactly what it was: that checkpoint's, all later ones, the present one, and what a restore can be undone to.
Nothing is renumbered.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from state_core.changes import KEEPS_RECORDS, set_value
from state_core.events import Changes, Event, EventKind, EventRecord, Header
from state_core.exceptions import DamagedError, LeaseLost, StorageUnavailable, TransitionError
from state_core.fold import apply_event, empty_document
from state_core.heads import apply_head_change, carried
from state_core.log import EventLog
from state_core.records import HELD, Document, Head, SessionStatus, check_id, show_time, utc_now
from state_core.storage.base import StorageBackend, derived, stored_size
from state_core.walk import record_pages

OWNER = "compaction"
HOLD_SECONDS = 5.0
"""For how long a compaction that was killed keeps orchestrators away; one that works renews it. Who comes
then does no harm."""
EVENT_BYTES = 1000
"""About what an event that carries a state takes besides it."""
WORTH = 0.1
"""Which part of a session a clean-up must save for it."""
NOT_OF_A_STATE = frozenset({"session_id", "seq", "updated_at", "state_bytes"})
"""Of a document, what the event tells by itself."""
BUSY = HELD | {SessionStatus.RESUMING}


Carry = Callable[[Head, int], Awaitable[Changes]]
"""What an adapter keeps beside the state up to an event, as changes that say the same."""


@dataclass(frozen=True, slots=True)
class Compaction:
    """What compacting a session does, or would do."""

    session_id: str
    first_seq: int
    """The event that the log begins with then."""
    events: int
    """How many are folded into it; 0 where there is nothing to do."""
    bytes_before: int
    """Of the session, as its head counts them."""
    bytes_after: int

    @property
    def bytes_saved(self) -> int:
        return self.bytes_before - self.bytes_after

    @property
    def is_worth_it(self) -> bool:
        return self.events > 0 and self.bytes_saved > WORTH * self.bytes_before


async def compaction_place(
    log: EventLog, head: Head, without: Collection[str] = (), *, records: bool = False
) -> int:
    """The event that this session's log would begin with. ``without``: checkpoints that will be gone.
    ``records``: what adapters keep beside the state can be carried."""
    kept = [c.seq for c in await log.storage.checkpoints(head.session_id) if c.id not in without]
    place = min([*kept, head.last_seq if records else await _last_without_records(log, head)])
    jumps = await _restores(log, head)
    # Whoever goes back to what lies before the place takes it along, until none does.
    while (lower := min([place, *(to for seq, to in jumps if seq > place)])) < place:
        place = lower
    return max(place, head.first_seq)


def may_be_worth_it(head: Head) -> bool:
    """As far as the head tells: not where nearly all of the session is its state."""
    least = head.counts["state_bytes"] + EVENT_BYTES
    stored = head.counts["stored_bytes"]
    return Compaction(head.session_id, head.first_seq, head.event_count, stored, least).is_worth_it


async def estimate(log: EventLog, head: Head, without: Collection[str] = ()) -> Compaction:
    """What compacting would do, about, without reading the log."""
    place = await compaction_place(log, head, without)
    stored = head.counts["stored_bytes"]
    share = (place - head.first_seq + 1) / max(1, head.event_count)
    after = stored - int(stored * share) + head.counts["state_bytes"] + EVENT_BYTES
    return Compaction(head.session_id, place, place - head.first_seq, stored, max(0, after))


async def _last_without_records(log: EventLog, head: Head) -> int:
    """What an adapter keeps beside the state, no state can carry."""
    found = await log.read(head.session_id, kinds=[EventKind.RECORD_KEPT], limit=1, bodies=False)
    return found[0].seq - 1 if found else head.last_seq


async def _restores(log: EventLog, head: Head) -> list[tuple[int, int]]:
    """From where, to where."""
    if not head.counts["restores"]:
        return []
    found = await log.read(head.session_id, kinds=[EventKind.SESSION_RESTORED], bodies=False)
    return [(event.seq, event.data["to"]) for event in found]


async def compact_session(
    log: EventLog, session_id: str, *, actor: str = "", dry_run: bool = False, carry: Carry | None = None
) -> Compaction:
    """See `StateManager.compact_session`. ``carry``: of the adapter that keeps something beside the state."""
    head = await log.storage.head(check_id(session_id))
    if head.status in BUSY:
        raise TransitionError(session_id, head.status, "compact", "Pause it, or wait until it has ended.")
    place = await compaction_place(log, head, records=carry is not None)
    if place == head.first_seq:
        return _nothing(head)
    if dry_run:
        return (await _prepared(log, head, place, actor, carry))[0]
    async with _held(log.storage, session_id):
        compaction, record = await _prepared(log, head, place, actor, carry)
        if compaction.events:
            await log.storage.rewrite(session_id, [record], first_seq=place)
    return compaction


@asynccontextmanager
async def _held(storage: StorageBackend, session_id: str) -> AsyncIterator[None]:
    """Under a lease that is renewed for as long as this takes. Raises LeaseHeld."""
    lease = await storage.acquire(session_id, f"{OWNER}.{secrets.token_hex(2)}", HOLD_SECONDS)

    async def renew() -> None:
        with suppress(LeaseLost, StorageUnavailable):  # It does no harm without.
            while True:
                await asyncio.sleep(HOLD_SECONDS / 3)
                await storage.renew(session_id, lease.fence, HOLD_SECONDS)

    renewing = asyncio.create_task(renew())
    try:
        yield
    finally:
        renewing.cancel()
        await storage.release(session_id, lease.fence)


def _nothing(head: Head) -> Compaction:
    stored = head.counts["stored_bytes"]
    return Compaction(head.session_id, head.first_seq, 0, stored, stored)


async def _prepared(
    log: EventLog, head: Head, place: int, actor: str, carry: Carry | None
) -> tuple[Compaction, EventRecord]:
    """All that takes time, before the store is touched."""
    session_id, stored = head.session_id, head.counts["stored_bytes"]
    then, last = await _head_at(log, head, place)
    document = await log.document(session_id, place)
    has_records = document.get(KEEPS_RECORDS, False)
    if has_records and carry is None:
        return _nothing(head), EventRecord(kind="")
    records = await carry(head, place) if has_records and carry else []
    event = compacting_event(then, last, document, actor, records)
    record = log.codec.seal(session_id, event, bounded=False)
    _check_carries(log.codec.open(session_id, record), document)
    after = stored - then.counts["stored_bytes"] + stored_size(record)
    if after >= stored:
        return _nothing(head), record
    return Compaction(session_id, place, place - head.first_seq, stored, after), record


async def _head_at(log: EventLog, head: Head, place: int) -> tuple[Head, Header]:
    """What the head was after this event, and the event."""
    found = Head(head.session_id, last_seq=head.first_seq - 1)
    last = Header(kind="")
    async for records in record_pages(log.storage, head, found.last_seq, place):
        apply_head_change(found, derived(head.session_id, records)[0], len(records))
        last = records[-1]
    return found, last


def compacting_event(then: Head, last: Header, document: Document, actor: str, records: Changes) -> Event:
    """What stands in the place of ``last`` and of all before it. ``then``: the head after it. ``records``:
    what stands beside the state."""
    data = {
        "kind": str(last.kind),
        "compacted_at": show_time(utc_now()),
        "session": str(then.status),
        "head": carried(then),
        "counts": {name: count for name, count in then.counts.items() if name != "stored_bytes"},
    }
    if last.kind == EventKind.CHECKPOINT_CREATED:
        data["checkpoint"] = {**last.data, "actor": last.actor}
    state = {name: value for name, value in document.items() if name not in NOT_OF_A_STATE}
    return Event(
        kind=EventKind.SESSION_COMPACTED,
        seq=last.seq,
        at=last.at,
        actor=actor,
        size=document["state_bytes"],
        data=data,
        changes=[set_value([], state), *records],
    )


def _check_carries(event: Event, document: Document) -> None:
    """Raises DamagedError rather than put another state in the place of this one."""
    found = empty_document(document["session_id"])
    apply_event(found, event)
    if found != document:
        raise DamagedError(document["session_id"], f"event {event.seq}", "its state cannot be carried")
