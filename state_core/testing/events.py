"""What comes back from a log."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from state_core.events import EventKind, EventRecord
from state_core.exceptions import SessionNotFound
from state_core.storage.base import StorageBackend
from state_core.testing.records import (
    START,
    create,
    message,
    record,
)


class EventContract:
    """What comes back from a log."""

    async def test_events_come_back_as_they_went(self, storage: StorageBackend) -> None:
        given = record(
            EventKind.STEP_COMPLETED,
            actor="Zoë <zoe@example.org>",
            branch_id="b:1",
            step_id="b:1.7",
            agent="分析 \N{SNAKE}",
            status="completed",
            duration=0.1 + 0.2,
            size=-12345678901,
            data={"attempt": 2, "deep": {"list": [1, 2.5, None, True, "x"]}, "text": "ünïcödé"},
            body=bytes(range(256)) * 3,
            encoding="j1+z+e:0011",
        )
        await create(storage, "s")
        await storage.append("s", [given])
        assert await storage.read_events("s", after=1) == [replace(given, seq=2)]

    async def test_the_least_event_comes_back(self, storage: StorageBackend) -> None:
        given = EventRecord(kind=EventKind.CONTEXT_CHANGED, at=START.replace(microsecond=0))
        await create(storage, "s")
        await storage.append("s", [given])
        assert await storage.read_events("s", after=1) == [replace(given, seq=2)]

    async def test_any_text_may_stand_in_data(self, storage: StorageBackend) -> None:
        data = {
            "nul": "a\x00b",
            "line": "a\nb\r\tc",
            "quotes": "\"'`\\",
            "markup": "<script>%s {0} $1</script>",
        }
        await create(storage, "s")
        await storage.append("s", [message(data=data)])
        assert (await storage.read_events("s", after=1))[0].data == data

    async def test_a_title_may_hold_any_text(self, storage: StorageBackend) -> None:
        await create(storage, "s", title="a\x00b 'quoted' \"twice\" \\ %s \N{SNAKE}")
        assert (
            await storage.head("s")
        ).title == "a\N{REPLACEMENT CHARACTER}b 'quoted' \"twice\" \\ %s \N{SNAKE}"

    async def test_a_large_body_comes_back(self, storage: StorageBackend) -> None:
        body = bytes(range(256)) * 20_000
        await create(storage, "s")
        await storage.append("s", [record(EventKind.MESSAGE_ADDED, body=body)])
        assert (await storage.read_events("s", after=1))[0].body == body

    async def test_an_unknown_session_has_no_events(self, storage: StorageBackend) -> None:
        assert await storage.read_events("nobody") == []

    async def test_reading_from_a_place_to_a_place(self, storage: StorageBackend) -> None:
        await _log_of_ten(storage)

        async def seqs(**query: Any) -> list[int]:
            return [event.seq for event in await storage.read_events("s", **query)]

        assert await seqs() == list(range(1, 11))
        assert await seqs(after=7) == [8, 9, 10]
        assert await seqs(after=10) == await seqs(after=99) == []
        assert await seqs(before=3) == [1, 2]
        assert await seqs(before=1) == await seqs(before=0) == []
        assert await seqs(after=2, before=6) == [3, 4, 5]
        assert await seqs(after=2, limit=2) == [3, 4]
        assert await seqs(limit=0) == []
        assert await seqs(newest_first=True, limit=3) == [10, 9, 8]
        assert await seqs(newest_first=True, before=5, after=2) == [4, 3]

    async def test_reading_some_kinds_or_one_branch(self, storage: StorageBackend) -> None:
        await _log_of_ten(storage)

        async def seqs(**query: Any) -> list[int]:
            return [event.seq for event in await storage.read_events("s", **query)]

        assert await seqs(kinds=[EventKind.STEP_STARTED]) == [2, 5, 8]
        assert await seqs(kinds={"step.started", "step.completed"}) == [2, 4, 5, 7, 8, 10]
        assert await seqs(kinds=[]) == await seqs(kinds=["no.such"]) == []
        assert await seqs(branch_id="b1") == [5, 6, 7]
        assert await seqs(branch_id="") == [1]
        assert await seqs(branch_id="none") == []
        assert await seqs(branch_id="b1", kinds=[EventKind.MESSAGE_ADDED]) == [6]
        assert await seqs(kinds=[EventKind.STEP_STARTED], after=2, limit=1) == [5]
        assert await seqs(kinds=[EventKind.STEP_STARTED], newest_first=True, limit=2) == [8, 5]

    async def test_reading_without_bodies(self, storage: StorageBackend) -> None:
        await _log_of_ten(storage)
        full = await storage.read_events("s")
        assert any(event.body for event in full)
        assert await storage.read_events("s", bodies=False) == [replace(event, body=b"") for event in full]

    async def test_what_is_new_comes_with_the_head(self, storage: StorageBackend) -> None:
        await _log_of_ten(storage)
        headers = await storage.read_events("s", bodies=False)
        head = await storage.head("s")
        assert await storage.news("s", after=7, limit=100) == (head, headers[7:])
        assert await storage.news("s", after=2, limit=3) == (head, headers[2:5])
        assert await storage.news("s", after=10, limit=3) == (head, [])
        with pytest.raises(SessionNotFound):
            await storage.news("nobody", after=0, limit=3)


async def _log_of_ten(storage: StorageBackend) -> None:
    events = [record(EventKind.SESSION_CREATED)]
    for branch in ("b0", "b1", "b2"):
        place: dict[str, Any] = {"branch_id": branch, "step_id": f"{branch}.1"}
        events += [
            record(EventKind.STEP_STARTED, body=b"input", **place),
            message("between", **place),
            record(EventKind.STEP_COMPLETED, body=b"output", **place),
        ]
    await storage.append("s", events)
