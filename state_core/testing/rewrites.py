"""Rewriting history: how it is kept, never what it says."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from state_core.events import EventKind, EventRecord
from state_core.exceptions import ConflictError, EventGone, InvalidValue, SessionExists, SessionNotFound
from state_core.storage.base import Snapshot, StorageBackend, derived
from state_core.testing.records import START, create, message, named_checkpoint, numbers, record

COUNTS = {"branches": 0, "steps": 0, "messages": 4, "checkpoints": 0, "state_bytes": 0}


class RewriteContract:
    """Rewriting history: how it is kept, never what it says."""

    async def test_events_are_replaced_where_they_stand(self, storage: StorageBackend) -> None:
        events = await _log_of_eight(storage)
        new = [replace(events[i], body=b"n" * 40 * i, encoding="j1+e:beef") for i in (1, 4, 7)]
        before = await storage.head("s")
        await storage.rewrite("s", new[::-1])
        expected = {event.seq: event for event in [*events, *new]}
        assert await storage.read_events("s") == list(expected.values())
        headers = [replace(event, body=b"") for event in expected.values()]
        assert await storage.read_events("s", bodies=False) == headers
        after = await storage.head("s")
        assert after.counts["stored_bytes"] == _stored_bytes(expected.values())
        assert replace(after, counts=before.counts) == before
        assert await storage.append("s", [message("on it goes")]) == 9
        await storage.rewrite("s", [events[4]])
        assert (await storage.read_events("s", after=4, before=6)) == [events[4]]

    async def test_what_lies_before_the_new_beginning_is_gone(self, storage: StorageBackend) -> None:
        events = await _log_of_eight(storage)
        for seq in (3, 6):
            await storage.put_snapshot("s", Snapshot(seq, b"x", "j1"))
        before, places = await storage.head("s"), await storage.checkpoints("s")
        await storage.rewrite("s", [compacted(5)], first_seq=5)
        assert await storage.read_events("s") == [compacted(5), *events[5:]]
        assert await storage.read_events("s", after=3, limit=1) == [compacted(5)]
        assert await storage.read_events("s", newest_first=True, limit=2) == events[:-3:-1]
        assert await storage.read_events("s", before=5) == []
        assert await storage.read_events("s", kinds=["session.compacted"], branch_id="") == [compacted(5)]
        after = await storage.head("s")
        assert (after.first_seq, after.last_seq, after.event_count) == (5, 8, 4)
        counts = {**before.counts, "stored_bytes": _stored_bytes([compacted(5), *events[5:]])}
        assert replace(after, first_seq=1) == replace(before, counts=counts)
        assert (await storage.usage()).events == 4
        assert await storage.checkpoints("s") == places
        assert await storage.snapshot("s", at_or_before=5) is None
        assert (await storage.snapshot("s", at_or_before=9)) == Snapshot(6, b"x", "j1")
        await storage.put_snapshot("s", Snapshot(4, b"late", "j1"))
        assert await storage.snapshot("s", at_or_before=5) is None
        assert await storage.append("s", [message("on it goes")]) == 9

    async def test_a_log_may_be_compacted_again(self, storage: StorageBackend) -> None:
        events = await _log_of_eight(storage)
        await storage.rewrite("s", [compacted(3)], first_seq=3)
        again = compacted(8, body=b"more")
        await storage.rewrite("s", [again], first_seq=8)
        assert await storage.read_events("s") == [again]
        assert (await storage.head("s")).counts["stored_bytes"] == _stored_bytes([again])
        await storage.rewrite("s", [replace(again, body=b"sealed anew", encoding="j1+e:beef")])
        assert [event.body for event in await storage.read_events("s")] == [b"sealed anew"]
        with pytest.raises(EventGone):
            await storage.rewrite("s", [events[2]])

    async def test_a_compacted_log_may_begin_a_session(self, storage: StorageBackend) -> None:
        first = compacted(40, data=_with_checkpoint())
        assert await storage.append("s", [first, message(), message()]) == 42
        assert await numbers(storage, "s") == [40, 41, 42]
        head = await storage.head("s")
        assert (head.first_seq, head.last_seq, head.title, head.status) == (40, 42, "T", "paused")
        assert (head.counts["messages"], head.counts["checkpoints"]) == (6, 1)
        assert (head.created_at, head.tags, head.last_kind) == (START, ["x"], "message.added")
        place = await storage.checkpoint("c")
        assert (place.seq, place.name, place.actor, place.created_at) == (40, "C", "ann", first.at)
        with pytest.raises(SessionExists):
            await storage.append("s", [first])
        assert await storage.append("s", [named_checkpoint("d")], expected_seq=42) == 43
        assert (await storage.checkpoint("d")).seq == 43

    async def test_an_event_that_is_another_or_gone_is_left_alone(self, storage: StorageBackend) -> None:
        events = await _log_of_eight(storage)
        await storage.rewrite("s", [compacted(3)], first_seq=3)
        before = await storage.read_events("s"), await storage.head("s")
        well = replace(events[5], body=b"new")
        for wrong in (
            events[1],
            replace(events[4], at=events[5].at),
            replace(events[4], kind=EventKind.STEP_FAILED),
            replace(events[4], seq=9),
            replace(events[2], body=b"what stood there before it was compacted"),
        ):
            with pytest.raises(EventGone):
                await storage.rewrite("s", [well, wrong])
        with pytest.raises(ConflictError):
            await storage.rewrite("s", [compacted(7, after=1)], first_seq=7)
        assert (await storage.read_events("s"), await storage.head("s")) == before

    async def test_a_session_created_again_is_left_alone(self, storage: StorageBackend) -> None:
        events = await _log_of_eight(storage)
        await storage.delete("s")
        with pytest.raises(SessionNotFound):
            await storage.rewrite("s", [events[1]])
        await create(storage, "s", 5)
        for old in events[:2]:
            with pytest.raises(EventGone):
                await storage.rewrite("s", [old])
        assert await numbers(storage, "s") == [1]

    async def test_what_makes_no_log_is_refused(self, storage: StorageBackend) -> None:
        events = await _log_of_eight(storage)
        for records, first in (([events[1], events[1]], None), ([], 3), ([events[2]], 3), ([events[0]], 3)):
            with pytest.raises(InvalidValue):
                await storage.rewrite("s", records, first_seq=first)
        assert await storage.read_events("s") == events

    async def test_appends_go_on_while_it_is_rewritten(self, storage: StorageBackend) -> None:
        events = await _log_of_eight(storage)
        rounds = 12

        async def write() -> None:
            for number in range(rounds):
                await storage.append("s", [message(str(number))] * 3)

        async def rewrite() -> None:
            for number in range(rounds):
                await storage.rewrite("s", [replace(e, body=b"%d" % number * 50) for e in events])

        await asyncio.gather(write(), rewrite(), write())
        await storage.rewrite("s", [compacted(8)], first_seq=8)
        found = await storage.read_events("s")
        assert [event.seq for event in found] == list(range(8, 9 + 6 * rounds))
        texts = [event.body.decode() for event in found[1::3]]
        assert sorted(texts) == sorted([*map(str, range(rounds))] * 2)
        assert (await storage.head("s")).counts["stored_bytes"] == _stored_bytes(found)

    async def test_a_large_log_is_rewritten_in_one_go(self, storage: StorageBackend) -> None:
        await create(storage, "s")
        for _ in range(3):
            await storage.append("s", [message("x" * 300)] * 800)
        old = await storage.read_events("s", after=100, before=602)
        new = [replace(event, body=event.body * 2) for event in old]
        await storage.rewrite("s", new)
        assert await storage.read_events("s", after=100, before=602) == new
        await storage.rewrite("s", [compacted(2300, after=0)], first_seq=2300)
        found = await storage.read_events("s")
        assert [event.seq for event in found] == list(range(2300, 2402))
        assert (await storage.head("s")).counts["stored_bytes"] == _stored_bytes(found)


def compacted(seq: int, *, after: float | None = None, **header: Any) -> EventRecord:
    """What stands in the place of an event of `_log_of_eight` and of all before it."""
    data = {"kind": "message.added", "session": "paused", "head": _head(), "counts": COUNTS}
    given = {"seq": seq, "body": b"all", "data": data, **header}
    return record(EventKind.SESSION_COMPACTED, float(seq - 1) if after is None else after, **given)


def _head() -> dict[str, Any]:
    return {"title": "T", "tags": ["x"], "created_at": START.isoformat()}


def _with_checkpoint() -> dict[str, Any]:
    made = {"id": "c", "name": "C", "kind": "manual", "actor": "ann"}
    counts = {**COUNTS, "checkpoints": 1}
    return {"kind": "checkpoint.created", "session": "paused", "head": _head(), "counts": counts} | {
        "checkpoint": made
    }


def _stored_bytes(events: Any) -> int:
    return derived("s", list(events))[0].add["stored_bytes"]


async def _log_of_eight(storage: StorageBackend) -> list[EventRecord]:
    """In appends of one, three and four, a second after another."""
    await create(storage, "s")
    events = [message("text " * n, branch_id="b", data={"number": n}) for n in range(1, 6)]
    events += [named_checkpoint("c"), message("end")]
    events = [replace(event, at=record("", 1 + n).at) for n, event in enumerate(events)]
    await storage.append("s", events[:3])
    await storage.append("s", events[3:])
    return await storage.read_events("s")
