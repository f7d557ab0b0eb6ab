"""The contract of a store as tests, so that a store of your own can prove itself.

Write a class with one fixture, and let pytest run it (with pytest-asyncio in its ``auto`` mode)::

    class TestMyStore(StoreContract):
        @pytest.fixture
        async def storage(self, tmp_path):
            store = MyStore(tmp_path)
            yield store
            await store.close()

Each test gets a store that is empty. `state_core.storage.base` says what is promised.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from state_core.events import EventKind, EventRecord
from state_core.exceptions import (
    CheckpointNotFound,
    ConflictError,
    InvalidId,
    InvalidValue,
    LeaseHeld,
    LeaseLost,
    SessionExists,
    SessionNotFound,
    TooLarge,
    TransitionError,
)
from state_core.heads import apply_head_change, checkpoint_change, head_change
from state_core.records import CheckpointKind, Head, SessionStatus
from state_core.storage.base import SORTS, HeadQuery, Snapshot, StorageBackend, sort_value, stored_size

START = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
LONG = 600.0
"""Seconds: a lease that outlasts its test."""
PATIENCE = 10.0
"""Seconds after which something that should have happened did not."""


def record(kind: str, after: float = 0.0, **header: Any) -> EventRecord:
    """An event, ``after`` seconds after `START`."""
    return EventRecord(kind=kind, at=START + timedelta(seconds=after), **{"encoding": "j1", **header})


def message(text: str = "hello", **header: Any) -> EventRecord:
    return record(EventKind.MESSAGE_ADDED, body=text.encode(), **header)


async def create(storage: StorageBackend, session_id: str, after: float = 0.0, **data: Any) -> str:
    await storage.append(session_id, [record(EventKind.SESSION_CREATED, after, data=data)])
    return session_id


async def start(storage: StorageBackend, session_id: str, after: float = 0.0) -> None:
    await storage.append(session_id, [record(EventKind.SESSION_STARTED, after)])


async def until(condition: Callable[[], Awaitable[Any]]) -> Any:
    """What ``condition`` gives once it gives something true. Fails after `PATIENCE`."""
    async with asyncio.timeout(PATIENCE):
        while not (found := await condition()):  # noqa: ASYNC110 - a store's clock rings no bell
            await asyncio.sleep(0.01)
    return found


async def numbers(storage: StorageBackend, session_id: str) -> list[int]:
    return [event.seq for event in await storage.read_events(session_id)]


def outcomes(results: list[Any]) -> list[Any]:
    """Names of errors, and values as they are."""
    return sorted((type(r).__name__ if isinstance(r, Exception) else r for r in results), key=str)


class AppendContract:
    """Numbering, guards, and all or nothing."""

    async def test_the_first_append_creates_the_session(self, storage: StorageBackend) -> None:
        assert await storage.append("s", [record(EventKind.SESSION_CREATED), message()]) == 2
        assert await numbers(storage, "s") == [1, 2]
        assert (await storage.head("s")).last_seq == 2

    async def test_numbers_follow_on(self, storage: StorageBackend) -> None:
        await create(storage, "s")
        assert await storage.append("s", [message()]) == 2
        assert await storage.append("s", [message(), message(), message()]) == 5
        assert await numbers(storage, "s") == [1, 2, 3, 4, 5]

    async def test_appends_at_once_are_numbered_without_gaps(self, storage: StorageBackend) -> None:
        await create(storage, "s")
        given = await asyncio.gather(*(storage.append("s", [message(f"{n}")] * 2) for n in range(20)))
        assert sorted(given) == list(range(3, 42, 2))
        events = await storage.read_events("s", after=1)
        assert [event.seq for event in events] == list(range(2, 42))
        assert sorted(int(event.body) for event in events) == sorted([*range(20), *range(20)])

    async def test_sessions_are_numbered_apart(self, storage: StorageBackend) -> None:
        await create(storage, "a")
        await create(storage, "b")
        await storage.append("a", [message("of a")])
        assert await storage.append("b", [message("of b")]) == 2
        assert [e.body for e in await storage.read_events("b", after=1)] == [b"of b"]

    async def test_an_unknown_session_cannot_be_appended_to(self, storage: StorageBackend) -> None:
        with pytest.raises(SessionNotFound):
            await storage.append("nobody", [message()])
        assert await storage.read_events("nobody") == []

    async def test_a_session_cannot_be_created_twice(self, storage: StorageBackend) -> None:
        await create(storage, "s", title="first")
        with pytest.raises(SessionExists):
            await create(storage, "s", title="second")
        head = await storage.head("s")
        assert (head.title, head.last_seq) == ("first", 1)

    async def test_of_two_creations_at_once_one_wins(self, storage: StorageBackend) -> None:
        results = await asyncio.gather(
            *(storage.append("s", [record(EventKind.SESSION_CREATED)]) for _ in range(4)),
            return_exceptions=True,
        )
        assert outcomes(results) == [1, "SessionExists", "SessionExists", "SessionExists"]
        assert await numbers(storage, "s") == [1]

    async def test_an_append_without_events_is_refused(self, storage: StorageBackend) -> None:
        await create(storage, "s")
        with pytest.raises(InvalidValue):
            await storage.append("s", [])

    async def test_an_append_over_the_limit_is_refused_and_the_session_lives_on(
        self, storage: StorageBackend
    ) -> None:
        await create(storage, "s")
        part = bytes(storage.max_append_bytes // 2)
        with pytest.raises(TooLarge):
            await storage.append("s", [record(EventKind.MESSAGE_ADDED, body=part)] * 3)
        assert await storage.append("s", [message()]) == 2

    async def test_expected_seq_is_compared(self, storage: StorageBackend) -> None:
        await create(storage, "s")
        assert await storage.append("s", [message()], expected_seq=1) == 2
        with pytest.raises(ConflictError) as caught:
            await storage.append("s", [message()], expected_seq=1)
        assert (caught.value.expected, caught.value.actual) == (1, 2)
        assert await numbers(storage, "s") == [1, 2]

    async def test_of_writers_that_expect_the_same_one_wins(self, storage: StorageBackend) -> None:
        await create(storage, "s")
        results = await asyncio.gather(
            *(storage.append("s", [message()], expected_seq=1) for _ in range(4)), return_exceptions=True
        )
        assert outcomes(results) == [2, "ConflictError", "ConflictError", "ConflictError"]

    async def test_the_status_is_compared(self, storage: StorageBackend) -> None:
        await create(storage, "s")
        await start(storage, "s")
        allowed = [SessionStatus.RUNNING, SessionStatus.WAITING]
        assert await storage.append("s", [message()], statuses=allowed) == 3
        with pytest.raises(TransitionError):
            await storage.append("s", [message()], statuses=[SessionStatus.PAUSED])
        with pytest.raises(TransitionError):
            await storage.append("s", [message()], statuses=[])
        assert await numbers(storage, "s") == [1, 2, 3]

    async def test_the_fence_is_compared(self, storage: StorageBackend) -> None:
        await create(storage, "s")
        lease = await storage.acquire("s", "me", LONG)
        assert await storage.append("s", [message()], fence=lease.fence) == 2
        for fence in (lease.fence - 1, lease.fence + 1):
            with pytest.raises(LeaseLost):
                await storage.append("s", [message()], fence=fence)
        assert await numbers(storage, "s") == [1, 2]

    async def test_a_write_without_a_fence_does_not_need_the_lease(self, storage: StorageBackend) -> None:
        await create(storage, "s")
        await storage.acquire("s", "somebody", LONG)
        assert await storage.append("s", [record(EventKind.PAUSE_REQUESTED)]) == 2

    async def test_a_lease_given_back_fences_off(self, storage: StorageBackend) -> None:
        await create(storage, "s")
        lease = await storage.acquire("s", "me", LONG)
        await storage.release("s", lease.fence)
        with pytest.raises(LeaseLost):
            await storage.append("s", [message()], fence=lease.fence)

    async def test_a_lease_that_ran_out_fences_off(self, storage: StorageBackend) -> None:
        await create(storage, "s")
        lease = await storage.acquire("s", "me", 0.02)
        await until(lambda: _is_lost(storage, lease.fence))
        with pytest.raises(LeaseLost):
            await storage.append("s", [message()], fence=lease.fence)
        assert await numbers(storage, "s") == [1]

    async def test_a_refused_append_leaves_nothing(self, storage: StorageBackend) -> None:
        await create(storage, "s")
        before = await storage.head("s")
        events = [
            record(EventKind.SESSION_STARTED),
            record(EventKind.CHECKPOINT_CREATED, data={"id": "c", "name": "c"}),
        ]
        with pytest.raises(ConflictError):
            await storage.append("s", events, expected_seq=7)
        assert await storage.head("s") == before
        assert await storage.checkpoints("s") == []
        with pytest.raises(CheckpointNotFound):
            await storage.checkpoint("c")

    async def test_a_reader_sees_an_append_whole_or_not_at_all(self, storage: StorageBackend) -> None:
        await create(storage, "s")
        sizes: list[int] = []

        async def read() -> None:
            while not sizes or sizes[-1] < 401:
                sizes.append(len(await storage.read_events("s")))
                await asyncio.sleep(0)

        reader = asyncio.ensure_future(read())
        for _ in range(4):
            await storage.append("s", [message()] * 100)
        async with asyncio.timeout(PATIENCE):
            await reader
        assert {size % 100 for size in sizes} == {1}

    async def test_ids_that_are_none_are_refused(self, storage: StorageBackend) -> None:
        for bad in ("", "..", "../../x", "a b", "ä", "x" * 129, "a\x00b", "a/b"):
            for attempt in (
                storage.append(bad, [record(EventKind.SESSION_CREATED)]),
                storage.head(bad),
                storage.read_events(bad),
                storage.acquire(bad, "me", LONG),
                storage.renew(bad, 1, LONG),
                storage.checkpoints(bad),
                storage.delete(bad),
            ):
                with pytest.raises(InvalidId):
                    await attempt

    async def test_the_longest_id_works(self, storage: StorageBackend) -> None:
        session_id = await create(storage, "Az09-_.:" * 16)
        assert (await storage.head(session_id)).session_id == session_id

    async def test_ids_differ_by_case(self, storage: StorageBackend) -> None:
        await create(storage, "session")
        await create(storage, "SESSION")
        assert await storage.append("session", [message()]) == 2
        assert (await storage.head("SESSION")).last_seq == 1

    async def test_it_serves_several_event_loops_and_threads(self, storage: StorageBackend) -> None:
        await create(storage, "s")

        async def work() -> None:
            for _ in range(5):
                await storage.append("s", [message()])

        threads = [threading.Thread(target=asyncio.run, args=(work(),)) for _ in range(3)]
        for thread in threads:
            thread.start()
        await work()
        for thread in threads:
            await asyncio.to_thread(thread.join)
        assert await numbers(storage, "s") == list(range(1, 22))


async def _is_lost(storage: StorageBackend, fence: int) -> bool:
    try:
        await storage.append("s", [message()], fence=fence, expected_seq=-1)
    except LeaseLost:
        return True
    except ConflictError:
        return False
    raise AssertionError("An append that expects the impossible went through.")


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


class HeadContract:
    """What follows from events in a head, and finding heads."""

    async def test_a_head_follows_from_its_events(self, storage: StorageBackend) -> None:
        parts = _a_life()
        expected = Head("s")
        for part, extra in parts:
            await storage.append("s", part, head=extra)
            change = head_change(part, extra)
            change.count("stored_bytes", sum(map(stored_size, part)))
            apply_head_change(expected, change, len(part))
            assert await storage.head("s") == expected
        assert await storage.heads(HeadQuery()) == [expected]

    async def test_an_unknown_session_has_no_head(self, storage: StorageBackend) -> None:
        with pytest.raises(SessionNotFound):
            await storage.head("nobody")

    async def test_what_is_returned_is_the_callers(self, storage: StorageBackend) -> None:
        await create(storage, "s", tags=["a"])
        head = await storage.head("s")
        head.tags.append("b")
        head.counts["steps"] = 7
        assert (await storage.head("s")).tags == ["a"]
        assert (await storage.heads(HeadQuery()))[0].counts["steps"] == 0

    async def test_an_empty_store_finds_nothing(self, storage: StorageBackend) -> None:
        assert await storage.heads(HeadQuery()) == []
        assert await storage.count_by_status(HeadQuery()) == {}
        assert await storage.last_seqs(["a", "b"]) == {}

    async def test_finding_by_status(self, storage: StorageBackend) -> None:
        await _five(storage)
        assert await found(storage, statuses=["running"]) == ["news-2", "news-3"]
        assert await found(storage, statuses=[SessionStatus.PENDING, SessionStatus.PAUSED]) == [
            "News-1",
            "other.5",
        ]
        assert await found(storage, statuses=["cancelled"]) == []

    async def test_finding_by_text(self, storage: StorageBackend) -> None:
        await _five(storage)
        assert await found(storage, text="NEWS-") == ["News-1", "news-2", "news-3"]
        assert await found(storage, text="überblick") == ["News-1"]
        assert await found(storage, text="ÜBERBLICK") == ["News-1"]
        assert await found(storage, text="weekly") == ["news-2", "other_4"]
        for nowhere in ("%", "n_ws", "*", "news-1überblick", "a\x00b", "\ud800", "'; --"):
            assert await found(storage, text=nowhere) == []
        assert await found(storage, text="r_4") == ["other_4"]

    async def test_finding_by_tag(self, storage: StorageBackend) -> None:
        await _five(storage)
        assert await found(storage, tag="red") == ["News-1", "news-2"]
        assert await found(storage, tag="Red") == ["news-3"]
        assert await found(storage, tag='say "red"') == ["other_4"]
        for nowhere in ("re", "ed", '"red"', "%", "red,blue", '","', "\x00", "\\"):
            assert await found(storage, tag=nowhere) == []

    async def test_finding_by_agent(self, storage: StorageBackend) -> None:
        await _five(storage)
        await storage.append("news-2", [message(after=2)], head={"agents": ["Reader", "Ä \\ 'writer'"]})
        assert await found(storage, agent="Reader") == ["news-2"]
        assert await found(storage, agent="Ä \\ 'writer'") == ["news-2"]
        assert await found(storage, agent="reader") == []
        await storage.append("news-2", [message(after=2)], head={"agents": ["Reviewer"]})
        assert await found(storage, agent="Reader") == []

    async def test_finding_by_time(self, storage: StorageBackend) -> None:
        await _five(storage)
        third = START + timedelta(seconds=3)
        assert await found(storage, since=third) == ["news-3", "other.5", "other_4"]
        assert await found(storage, until=third) == ["News-1", "news-2"]
        assert await found(storage, since=third, until=third + timedelta(microseconds=1)) == ["news-3"]

    async def test_finding_open_questions(self, storage: StorageBackend) -> None:
        await _five(storage)
        asked = record(EventKind.INPUT_REQUESTED, 9, branch_id="b", data={"question": "q"})
        await storage.append("news-2", [asked])
        await storage.append("news-3", [asked, record(EventKind.INPUT_ANSWERED, 9, data={"question": "q"})])
        assert await found(storage, questions=True) == ["news-2"]

    async def test_finding_leases_that_ran_out(self, storage: StorageBackend) -> None:
        await _five(storage)
        assert await found(storage, lease_expired=True) == []
        await storage.acquire("news-2", "a", 0.02)
        await storage.acquire("news-3", "b", LONG)
        await storage.acquire("other.5", "c", 0.02)  # nobody holds a paused session
        await until(lambda: found(storage, lease_expired=True))
        assert await found(storage, lease_expired=True) == ["news-2"]

    async def test_conditions_count_together(self, storage: StorageBackend) -> None:
        await _five(storage)
        assert await found(storage, text="news", tag="red", statuses=["running"]) == ["news-2"]
        assert await found(storage, text="weekly", tag="Red") == []

    async def test_counting_by_status(self, storage: StorageBackend) -> None:
        await _five(storage)
        everything = {"pending": 1, "running": 2, "paused": 1, "completed": 1}
        assert await storage.count_by_status(HeadQuery()) == everything
        ignored = HeadQuery(statuses=["running"], after=(None, "zzz"), limit=1)
        assert await storage.count_by_status(ignored) == everything
        assert await storage.count_by_status(HeadQuery(tag="red")) == {"pending": 1, "running": 1}
        assert await storage.count_by_status(HeadQuery(text="no such")) == {}

    async def test_an_unknown_order_is_refused(self) -> None:
        with pytest.raises(InvalidValue):
            HeadQuery(sort="owner; DROP TABLE")

    @pytest.mark.parametrize("direction", ["", "-"])
    @pytest.mark.parametrize("field", SORTS)
    async def test_a_walk_through_pages_sees_every_head_once(
        self, storage: StorageBackend, field: str, direction: str
    ) -> None:
        await _eleven(storage)
        query = HeadQuery(sort=f"{direction}{field}", limit=3)
        everything = await storage.heads(replace(query, limit=100))
        assert [head.session_id for head in everything] == _in_order(everything, field, bool(direction))
        walked: list[Head] = []
        while page := await storage.heads(query):
            assert len(page) <= 3
            walked += page
            query = replace(query, after=query.cursor(page[-1]))
        assert walked == everything

    async def test_a_page_goes_on_behind_a_head_that_is_gone(self, storage: StorageBackend) -> None:
        await _eleven(storage)
        query = HeadQuery(sort="session_id", limit=4)
        page = await storage.heads(query)
        await storage.delete(page[-1].session_id)
        rest = await storage.heads(replace(query, after=query.cursor(page[-1]), limit=100))
        assert len(rest) == 7

    async def test_last_seqs_of_many(self, storage: StorageBackend) -> None:
        await _five(storage)
        asked = ["news-2", "nobody", "not an id", "a\x00b", "News-1", *(f"x{n}" for n in range(2500))]
        assert await storage.last_seqs(asked) == {"news-2": 2, "News-1": 1}
        assert await storage.last_seqs(iter(["other_4"])) == {"other_4": 3}
        assert await storage.last_seqs([]) == {}


async def found(storage: StorageBackend, **query: Any) -> list[str]:
    return [head.session_id for head in await storage.heads(HeadQuery(sort="session_id", **query))]


async def _five(storage: StorageBackend) -> None:
    await create(storage, "News-1", 1, title="Ein Überblick", tags=["red", "blue"])
    await create(storage, "news-2", 2, workflow="Weekly", tags=["red"])
    await create(storage, "news-3", 3, tags=["Red", "green"])
    await create(storage, "other_4", 4, title="the WEEKLY digest", tags=['say "red"'])
    await create(storage, "other.5", 5)
    await start(storage, "news-2", 2)
    await start(storage, "news-3", 3)
    await storage.append(
        "other_4", [record(EventKind.SESSION_STARTED, 4), record(EventKind.SESSION_COMPLETED, 4)]
    )
    await storage.append("other.5", [record(EventKind.SESSION_PAUSED, 5)])


async def _eleven(storage: StorageBackend) -> None:
    """With ties in every order, and some that never started."""
    for n in range(11):
        session_id = await create(storage, f"{'aB'[n % 2]}{n % 3}-{n}", n // 3)
        if n % 3:
            await start(storage, session_id, 100 - n // 2)
        steps = [record(EventKind.STEP_STARTED, 200 + n // 4, branch_id="b", size=n % 4)] * (n % 3 + 1)
        await storage.append(session_id, steps)


def _in_order(heads: list[Head], field: str, descending: bool) -> list[str]:
    """None below every value; ties by session id, ascending."""

    def key(head: Head) -> tuple[bool, Any]:
        value = sort_value(head, field)
        return (value is not None, 0 if value is None else value)

    by_id = sorted(heads, key=lambda head: head.session_id)
    return [head.session_id for head in sorted(by_id, key=key, reverse=descending)]


def _a_life() -> list[tuple[list[EventRecord], dict[str, Any] | None]]:
    """Appends that change everything that a head holds."""
    b = {"branch_id": "b", "step_id": "b.1"}
    counts = {"branches": 1, "steps": 1, "messages": 0, "questions": 0, "state_bytes": 77}
    first = {"title": "Title", "workflow": "W", "tags": ["x", "y"], "reason": "new"}
    return [
        ([record(EventKind.SESSION_CREATED, data=first, size=10, body=b"123")], None),
        ([record(EventKind.SESSION_STARTED, 1), record(EventKind.BRANCH_OPENED, 1, branch_id="b")], None),
        ([record(EventKind.STEP_STARTED, 2, size=5, **b)], {"agents": ["One", "Two"]}),
        ([message(data={"count": 3}), record(EventKind.MEMORY_REWRITTEN, data={"count": -1}, size=-4)], None),
        ([record(EventKind.CHECKPOINT_CREATED, 3, data={"id": "c1", "name": "C", "counts": counts})], None),
        ([record(EventKind.INPUT_REQUESTED, 4, data={"question": "q", "session": "waiting"}, **b)], None),
        ([record(EventKind.INPUT_ANSWERED, 5, data={"question": "q", "session": "running"}, **b)], None),
        ([record(EventKind.STEP_FAILED, 6, data={"error": "no"}, **b)], {"agents": []}),
        ([record(EventKind.STEP_RETRIED, 7, data={"attempt": 2, "previous": "failed"}, **b)], None),
        ([record(EventKind.STEP_COMPLETED, 8, **b), record(EventKind.BRANCH_COMPLETED, 8, **b)], None),
        ([record(EventKind.SESSION_FAILED, 9, data={"error": "it broke", "reason": "r"})], None),
        (
            [
                record(EventKind.CHECKPOINT_CREATED, 10, data={"id": "c2", "name": "D"}),
                record(EventKind.SESSION_RESTORED, 10, data={"to": 3, "counts": counts}),
                record(EventKind.CHECKPOINT_DELETED, 10, data={"ids": ["c1"]}),
            ],
            None,
        ),
        ([record(EventKind.SESSION_RESUMED, 11, size=3, data={"reason": "again"})], None),
        ([record(EventKind.SESSION_COMPLETED, 12)], None),
    ]


class CheckpointContract:
    """Checkpoints, snapshots, leases, deletion, and the whole."""

    async def test_a_checkpoint_is_a_place_in_the_log(self, storage: StorageBackend) -> None:
        data = {"id": "c", "name": "Näme", "size": 7, "kind": "auto", "reason": "why", "counts": {"steps": 2}}
        await create(storage, "s")
        created = record(EventKind.CHECKPOINT_CREATED, 5, actor="ann", data=data)
        await storage.append("s", [message(), created, message()])
        place = await storage.checkpoint("c")
        assert (place.session_id, place.name, place.seq, place.size_bytes) == ("s", "Näme", 3, 7)
        assert (place.kind, place.actor, place.reason, place.pinned) == (
            CheckpointKind.AUTO,
            "ann",
            "why",
            False,
        )
        assert (place.created_at, place.counts) == (created.at, {"steps": 2})
        assert [place] == await storage.checkpoints("s")
        assert checkpoint_change("s", [replace(created, seq=3)]).added == [(0, place)]

    async def test_checkpoints_come_oldest_first(self, storage: StorageBackend) -> None:
        await create(storage, "s")
        await create(storage, "t")
        for session_id, ids in (("s", "cab"), ("t", "x"), ("s", "0")):
            await storage.append(session_id, [_checkpoint(i) for i in ids])
        assert [(c.id, c.seq) for c in await storage.checkpoints("s")] == [
            ("c", 2),
            ("a", 3),
            ("b", 4),
            ("0", 5),
        ]
        assert [c.id for c in await storage.checkpoints("t")] == ["x"]
        assert await storage.checkpoints("nobody") == []

    async def test_a_session_may_begin_with_a_checkpoint(self, storage: StorageBackend) -> None:
        await storage.append("s", [record(EventKind.SESSION_CREATED), _checkpoint("c")])
        assert (await storage.checkpoint("c")).seq == 2

    async def test_checkpoints_are_renamed_pinned_and_deleted(self, storage: StorageBackend) -> None:
        await create(storage, "s")
        await storage.append("s", [_checkpoint("a"), _checkpoint("b"), _checkpoint("c")])
        await storage.append("s", [record(EventKind.CHECKPOINT_RENAMED, data={"id": "a", "name": "new"})])
        await storage.append("s", [record(EventKind.CHECKPOINT_PINNED, data={"id": "b", "pinned": True})])
        await storage.append("s", [record(EventKind.CHECKPOINT_DELETED, data={"ids": ["c"]})])
        assert [(c.id, c.name, c.pinned) for c in await storage.checkpoints("s")] == [
            ("a", "new", False),
            ("b", "b", True),
        ]
        await storage.append("s", [record(EventKind.CHECKPOINT_PINNED, data={"id": "b", "pinned": False})])
        assert not (await storage.checkpoint("b")).pinned
        with pytest.raises(CheckpointNotFound):
            await storage.checkpoint("c")
        assert (await storage.head("s")).counts["checkpoints"] == 2

    async def test_one_append_may_add_and_change_checkpoints(self, storage: StorageBackend) -> None:
        await create(storage, "s")
        await storage.append("s", [_checkpoint("a")])
        events = [
            _checkpoint("b"),
            record(EventKind.CHECKPOINT_RENAMED, data={"id": "b", "name": "B"}),
            record(EventKind.CHECKPOINT_DELETED, data={"ids": ["a"]}),
        ]
        assert await storage.append("s", events, expected_seq=2) == 5
        assert [(c.id, c.name, c.seq) for c in await storage.checkpoints("s")] == [("b", "B", 3)]

    async def test_changing_a_checkpoint_that_is_gone_is_no_error(self, storage: StorageBackend) -> None:
        await create(storage, "s")
        await storage.append("s", [record(EventKind.CHECKPOINT_RENAMED, data={"id": "gone", "name": "x"})])
        await storage.append("s", [record(EventKind.CHECKPOINT_PINNED, data={"id": "gone", "pinned": True})])
        await storage.append("s", [record(EventKind.CHECKPOINT_DELETED, data={"ids": ["gone"]})])
        assert await numbers(storage, "s") == [1, 2, 3, 4]

    async def test_an_unknown_checkpoint_is_not_found(self, storage: StorageBackend) -> None:
        for unknown in ("nothing", "", "a\x00b", "../x"):
            with pytest.raises(CheckpointNotFound):
                await storage.checkpoint(unknown)

    async def test_the_newest_snapshot_that_fits_is_found(self, storage: StorageBackend) -> None:
        await create(storage, "s")
        assert await storage.snapshot("s", at_or_before=99) is None
        ten, twenty = Snapshot(10, b"ten\x00", "j1"), Snapshot(20, b"twenty" * 100_000, "j1+z")
        for kept in (twenty, ten):
            await storage.put_snapshot("s", kept)
        assert await storage.snapshot("s", at_or_before=9) is None
        assert await storage.snapshot("s", at_or_before=10) == ten
        assert await storage.snapshot("s", at_or_before=19) == ten
        assert await storage.snapshot("s", at_or_before=20) == twenty
        assert await storage.snapshot("s", at_or_before=10**12) == twenty

    async def test_a_snapshot_replaces_one_of_the_same_place(self, storage: StorageBackend) -> None:
        await create(storage, "s")
        await storage.put_snapshot("s", Snapshot(5, b"old", "j1"))
        await storage.put_snapshot("s", Snapshot(5, b"new", "j1+z"))
        assert await storage.snapshot("s", at_or_before=5) == Snapshot(5, b"new", "j1+z")

    async def test_a_snapshot_of_a_session_that_is_gone_is_no_error(self, storage: StorageBackend) -> None:
        await storage.put_snapshot("nobody", Snapshot(5, b"x", "j1"))
        assert await storage.snapshot("nobody", at_or_before=5) is None
        assert await storage.read_events("nobody") == []


def _checkpoint(checkpoint_id: str) -> EventRecord:
    return record(EventKind.CHECKPOINT_CREATED, data={"id": checkpoint_id, "name": checkpoint_id})


class LeaseContract:
    """Who may write."""

    async def test_a_lease_is_taken_for_a_time(self, storage: StorageBackend) -> None:
        await create(storage, "s")
        lease = await storage.acquire("s", "me", LONG)
        head = await storage.head("s")
        assert (lease.session_id, lease.owner) == ("s", "me")
        assert (head.owner, head.fence, head.lease_expires_at) == ("me", lease.fence, lease.expires_at)
        left = lease.expires_at - datetime.now(UTC)
        assert timedelta(seconds=LONG - 60) < left < timedelta(seconds=LONG + 60)

    async def test_another_owner_has_to_wait(self, storage: StorageBackend) -> None:
        await create(storage, "s")
        lease = await storage.acquire("s", "me", LONG)
        with pytest.raises(LeaseHeld) as caught:
            await storage.acquire("s", "you", LONG)
        assert (caught.value.owner, caught.value.expires_at) == ("me", lease.expires_at)
        assert await storage.append("s", [message()], fence=lease.fence) == 2

    async def test_each_acquisition_has_a_higher_fence(self, storage: StorageBackend) -> None:
        await create(storage, "s")
        first = await storage.acquire("s", "me", LONG)
        second = await storage.acquire("s", "me", LONG)
        await storage.release("s", second.fence)
        third = await storage.acquire("s", "you", LONG)
        assert first.fence < second.fence < third.fence
        with pytest.raises(LeaseLost):
            await storage.append("s", [message()], fence=first.fence)

    async def test_of_many_that_acquire_at_once_one_wins(self, storage: StorageBackend) -> None:
        await create(storage, "s")
        results = await asyncio.gather(
            *(storage.acquire("s", f"owner{n}", LONG) for n in range(6)), return_exceptions=True
        )
        assert sum(isinstance(result, LeaseHeld) for result in results) == 5

    async def test_a_lease_that_ran_out_can_be_taken(self, storage: StorageBackend) -> None:
        await create(storage, "s")
        mine = await storage.acquire("s", "me", 0.02)
        yours = await until(lambda: _taken(storage, "you"))
        assert yours.fence > mine.fence
        for attempt in (
            storage.renew("s", mine.fence, LONG),
            storage.append("s", [message()], fence=mine.fence),
        ):
            with pytest.raises(LeaseLost):
                await attempt
        await storage.release("s", mine.fence)
        assert await storage.append("s", [message()], fence=yours.fence) == 2

    async def test_renewing_makes_it_last(self, storage: StorageBackend) -> None:
        await create(storage, "s")
        lease = await storage.acquire("s", "me", LONG)
        renewed = await storage.renew("s", lease.fence, LONG * 2)
        assert renewed.fence == lease.fence
        assert renewed.expires_at - lease.expires_at > timedelta(seconds=LONG / 2)
        assert (await storage.head("s")).lease_expires_at == renewed.expires_at

    async def test_a_lease_that_ran_out_cannot_be_renewed(self, storage: StorageBackend) -> None:
        await create(storage, "s")
        lease = await storage.acquire("s", "me", 0.02)
        await until(lambda: _is_lost(storage, lease.fence))
        with pytest.raises(LeaseLost):
            await storage.renew("s", lease.fence, LONG)

    async def test_a_lease_given_back_is_free(self, storage: StorageBackend) -> None:
        await create(storage, "s")
        lease = await storage.acquire("s", "me", LONG)
        await storage.release("s", lease.fence)
        head = await storage.head("s")
        assert (head.owner, head.lease_expires_at) == ("", None)
        assert (await storage.acquire("s", "you", LONG)).owner == "you"

    async def test_giving_back_what_is_lost_is_no_error(self, storage: StorageBackend) -> None:
        await create(storage, "s")
        lease = await storage.acquire("s", "me", LONG)
        await storage.release("s", lease.fence - 1)
        await storage.release("nobody", 1)
        assert (await storage.head("s")).owner == "me"

    async def test_a_session_that_is_not_there_has_no_lease(self, storage: StorageBackend) -> None:
        with pytest.raises(SessionNotFound):
            await storage.acquire("nobody", "me", LONG)
        with pytest.raises(SessionNotFound):
            await storage.renew("nobody", 1, LONG)


async def _taken(storage: StorageBackend, owner: str) -> Any:
    try:
        return await storage.acquire("s", owner, LONG)
    except LeaseHeld:
        return None


class StoreContract(AppendContract, EventContract, HeadContract, CheckpointContract, LeaseContract):
    """Everything that `StorageBackend` promises."""

    async def test_a_deleted_session_leaves_nothing(self, storage: StorageBackend) -> None:
        for session_id in ("s", "t"):
            await create(storage, session_id, title=session_id)
            await storage.append(session_id, [message(session_id), _checkpoint(f"of-{session_id}")])
            await storage.put_snapshot(session_id, Snapshot(2, b"x", "j1"))
        await storage.delete("s")
        with pytest.raises(SessionNotFound):
            await storage.head("s")
        with pytest.raises(CheckpointNotFound):
            await storage.checkpoint("of-s")
        assert await storage.read_events("s") == []
        assert await storage.checkpoints("s") == []
        assert await storage.snapshot("s", at_or_before=9) is None
        assert await storage.last_seqs(["s", "t"]) == {"t": 3}
        assert await numbers(storage, "t") == [1, 2, 3]

    async def test_a_deleted_session_may_be_created_again(self, storage: StorageBackend) -> None:
        await create(storage, "s", tags=["old"])
        await storage.append("s", [message(), _checkpoint("c")])
        await storage.delete("s")
        await create(storage, "s", tags=["new"])
        head = await storage.head("s")
        assert (head.last_seq, head.tags, head.counts["checkpoints"]) == (1, ["new"], 0)
        assert await numbers(storage, "s") == [1]

    async def test_a_session_that_is_held_cannot_be_deleted(self, storage: StorageBackend) -> None:
        await create(storage, "s")
        lease = await storage.acquire("s", "me", LONG)
        with pytest.raises(LeaseHeld):
            await storage.delete("s")
        await storage.release("s", lease.fence)
        await storage.delete("s")
        with pytest.raises(SessionNotFound):
            await storage.delete("s")

    async def test_usage_adds_up_all_sessions(self, storage: StorageBackend) -> None:
        empty = await storage.usage()
        assert (empty.sessions, empty.events, empty.checkpoints, empty.bytes) == (0, 0, 0, 0)
        assert dict(empty.by_status) == {}
        events = [message("1234"), _checkpoint("c")]
        for session_id in ("a", "b"):
            await create(storage, session_id)
        await start(storage, "a")
        await storage.append("b", events)
        usage = await storage.usage()
        assert (usage.sessions, usage.events, usage.checkpoints) == (2, 5, 1)
        assert dict(usage.by_status) == {"running": 1, "pending": 1}
        await storage.append("a", [record(EventKind.MESSAGE_ADDED, body=bytes(5000))])
        assert (await storage.usage()).bytes >= usage.bytes + 5000

    async def test_its_configuration_can_be_checked(self, storage: StorageBackend) -> None:
        assert all(isinstance(sentence, str) and sentence for sentence in await storage.check())

    async def test_a_closed_store_opens_again(self, storage: StorageBackend) -> None:
        await create(storage, "s")
        await storage.close()
        await storage.close()
        if not storage.survives_restart:
            return
        assert await storage.append("s", [message()]) == 2

    async def test_a_change_wakes_its_watchers(self, storage: StorageBackend) -> None:
        await create(storage, "s")
        if not storage.supports_wakeups:
            with pytest.raises(NotImplementedError):
                await anext(storage.wakeups())
            return
        assert await _woken_by(storage, lambda: storage.append("s", [message()])) in {"s", ""}


async def _woken_by(storage: StorageBackend, act: Callable[[], Coroutine[Any, Any, Any]]) -> str:
    """The first hint that comes after ``act``; those of before have been heard."""
    async with aclosing(storage.wakeups()) as hints:  # type: ignore[type-var]
        async with asyncio.timeout(PATIENCE):
            hint = asyncio.ensure_future(anext(hints))
            while not hint.done():
                await act()
                await asyncio.wait([hint], timeout=0.5)
            return await hint
