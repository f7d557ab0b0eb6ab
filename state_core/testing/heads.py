"""What follows from events in a head, and finding heads."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from state_core.events import EventKind, EventRecord
from state_core.exceptions import (
    InvalidValue,
    SessionNotFound,
)
from state_core.heads import LONGEST_NAME, MOST_WORKED, apply_head_change, head_change
from state_core.records import Head, SessionStatus
from state_core.storage.base import SORTS, HeadQuery, StorageBackend, stored_size
from state_core.testing.records import (
    LONG,
    START,
    create,
    message,
    record,
    start,
    until,
)


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
        await storage.append(
            "news-2", [step(3, "Reader"), step(3, "Ä \\ 'writer'")], head={"agents": ["Reader"]}
        )
        await storage.append("news-3", [step(3, 'say "50 %"'), step(3, "Reader")])
        await storage.append("news-3", [record(EventKind.SESSION_COMPLETED, 4)])
        assert await found(storage, agent="Reader") == ["news-2", "news-3"]
        assert await found(storage, agent="Ä \\ 'writer'") == ["news-2"]
        assert await found(storage, agent='say "50 %"') == ["news-3"]
        for nowhere in (
            "reader",
            "Read",
            "eader",
            "%",
            '"',
            "Reader,",
            '","',
            "\\",
            "\x00",
            "\ud800",
            "Reader ",
        ):
            assert await found(storage, agent=nowhere) == []
        assert await storage.count_by_status(HeadQuery(agent="Reader")) == {"running": 1, "completed": 1}

    async def test_who_has_worked_stands_in_the_order_in_which_they_began(
        self, storage: StorageBackend
    ) -> None:
        await create(storage, "s")
        await start(storage, "s", 1)
        for agents in (["C"], ["A", "C", "B"], [""], ["B", "D"], ["D"], ["A"]):
            await storage.append("s", [step(2, agent) for agent in agents])
        told = step(3, "E", kind=EventKind.STEP_COMPLETED, data={"began": "2026-01-01T00:00:00+00:00"})
        await storage.append("s", [told, step(3, "F", kind=EventKind.STEP_COMPLETED)])
        assert (await storage.head("s")).worked == ["C", "A", "B", "D", "E"]

    async def test_they_have_worked_whatever_is_restored(self, storage: StorageBackend) -> None:
        await create(storage, "s")
        await start(storage, "s", 1)
        await storage.append("s", [step(2, "Reader")])
        await storage.append("s", [record(EventKind.SESSION_RESTORED, 3, data={"to": 2, "counts": {}})])
        assert await found(storage, agent="Reader") == ["s"]

    async def test_a_fork_is_found_by_those_whose_steps_it_carries(self, storage: StorageBackend) -> None:
        forked = record(EventKind.SESSION_FORKED, 1, data={"origin": "s@3", "worked": ["Reader", "Writer"]})
        await storage.append("fork", [forked])
        await storage.append("fork", [step(2, "Editor"), step(2, "Reader")])
        assert (await storage.head("fork")).worked == ["Reader", "Writer", "Editor"]
        assert await found(storage, agent="Writer") == ["fork"]

    async def test_of_very_many_the_first_are_known_to_have_worked(self, storage: StorageBackend) -> None:
        await create(storage, "s")
        await start(storage, "s", 1)
        names = [f"Agent {number}" for number in range(MOST_WORKED + 9)]
        for part in (names[:3], names[: MOST_WORKED - 3], names[MOST_WORKED - 5 :], names):
            await storage.append("s", [step(2, name) for name in part])
        await storage.append("s", [step(3, "One more")])
        assert (await storage.head("s")).worked == names[:MOST_WORKED]
        assert await found(storage, agent=names[MOST_WORKED - 1]) == ["s"]
        for beyond in (names[MOST_WORKED], "One more"):
            assert await found(storage, agent=beyond) == []

    async def test_an_agent_with_a_very_long_name_is_found_by_it(self, storage: StorageBackend) -> None:
        await create(storage, "s")
        await start(storage, "s", 1)
        name = "Ä" * 1000
        await storage.append("s", [step(2, name)])
        assert [len(kept) for kept in (await storage.head("s")).worked] == [LONGEST_NAME]
        assert await found(storage, agent=name) == ["s"]
        assert await found(storage, agent="Ä" * LONGEST_NAME) == []

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

    async def test_finding_forks_of_a_session(self, storage: StorageBackend) -> None:
        await _five(storage)
        for fork, origin in (("f1", "News-1@3"), ("f2", "News-1@12"), ("f3", "News-10@3"), ("f4", "f1@2")):
            await storage.append(fork, [record(EventKind.SESSION_FORKED, 6, data={"origin": origin})])
        assert await found(storage, origin="News-1") == ["f1", "f2"]
        assert await found(storage, origin="f1") == ["f4"]
        assert await found(storage, origin="News-1", statuses=["running"]) == []
        for nowhere in ("news-1", "News", "News-1@3", "f4", "%", "a\x00b", "\ud800"):
            assert await found(storage, origin=nowhere) == []
        assert await storage.count_by_status(HeadQuery(origin="News-1")) == {"paused": 2}

    async def test_finding_by_owner(self, storage: StorageBackend) -> None:
        await _five(storage)
        await storage.acquire("news-2", "Machine-7.4711", LONG)
        await storage.acquire("news-3", "machine-8.1", LONG)
        assert await found(storage, owner="Machine") == ["news-2"]
        assert await found(storage, owner="4711") == ["news-2"]
        assert await found(storage, owner="achine-") == ["news-2", "news-3"]
        for nowhere in ("%", "machine-7", "a\x00b", "\ud800"):
            assert await found(storage, owner=nowhere) == []
        assert await storage.count_by_status(HeadQuery(owner="achine-")) == {"running": 2}

    async def test_finding_by_error(self, storage: StorageBackend) -> None:
        await _five(storage)
        failed = record(EventKind.SESSION_FAILED, 9, data={"error": "ValueError: 100 % 'Überlauf'"})
        await storage.append("news-2", [failed])
        assert await found(storage, error="ValueError") == ["news-2"]
        assert await found(storage, error="% 'Überlauf'") == ["news-2"]
        for nowhere in ("valueerror", "TypeError", "_", "a\x00b", "\ud800"):
            assert await found(storage, error=nowhere) == []
        assert await storage.count_by_status(HeadQuery(error="100")) == {"failed": 1}

    async def test_finding_by_duration(self, storage: StorageBackend) -> None:
        await _five(storage)
        for session_id, after in (("News-1", 11.0), ("other.5", 65.0)):
            await start(storage, session_id, 1)
            await storage.append(session_id, [record(EventKind.SESSION_COMPLETED, after)])
        ended = ["completed"]
        assert await found(storage, min_duration=0.5, statuses=ended) == ["News-1", "other.5"]
        assert await found(storage, min_duration=10.5, statuses=ended) == ["other.5"]
        assert await found(storage, max_duration=10.5, statuses=ended) == ["News-1", "other_4"]
        assert await found(storage, min_duration=5, max_duration=20) == ["News-1"]
        assert await found(storage, min_duration=60) == ["news-2", "news-3", "other.5"]
        counts = await storage.count_by_status(HeadQuery(min_duration=60))
        assert counts == {"completed": 1, "running": 2}

    async def test_what_lasts_is_sorted_among_what_ended_by_how_long_it_has_lasted(
        self, storage: StorageBackend
    ) -> None:
        for session_id, begun, took in (
            ("brief", 3, 0.000_001), ("long", 1, 40.0), ("same", 2, 40.0),
            ("going", 9, None), ("new", 48, None),
        ):  # fmt: skip
            await create(storage, session_id)
            await start(storage, session_id, begun)
            if took is not None:
                await storage.append(session_id, [record(EventKind.SESSION_COMPLETED, begun + took)])
        await create(storage, "unstarted")
        query = HeadQuery(sort="-duration", as_of=START + timedelta(seconds=50), limit=2)
        expected = ["going", "long", "same", "new", "brief", "unstarted"]
        assert await walked(storage, query) == expected
        ascending = ["unstarted", "brief", "new", "long", "same", "going"]
        assert await walked(storage, replace(query, sort="duration")) == ascending
        later = replace(query, as_of=START + timedelta(seconds=88), limit=50)
        assert await walked(storage, later) == ["going", "long", "new", "same", "brief", "unstarted"]

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
        assert [head.session_id for head in everything] == _in_order(everything, query)
        for statuses in ((), ("running", "completed"), ("running",), ("pending", "completed", "paused")):
            asked = [head.session_id for head in everything if not statuses or head.status in statuses]
            assert await walked(storage, replace(query, statuses=statuses)) == asked

    @pytest.mark.parametrize("direction", ["", "-"])
    async def test_what_is_counted_sorts_a_session_at_work_and_at_rest(
        self, storage: StorageBackend, direction: str
    ) -> None:
        await _eleven(storage)
        counts = {"steps": 3, "state_bytes": 0}
        for after, (kind, data) in enumerate((
            (EventKind.SESSION_PAUSED, {}), (EventKind.SESSION_RESUMED, {}), (EventKind.STEP_STARTED, {}),
            (EventKind.INPUT_REQUESTED, {"question": "q", "session": "waiting"}),
            (EventKind.INPUT_ANSWERED, {"question": "q", "session": "running"}),
            (EventKind.SESSION_COMPLETED, {}), (EventKind.SESSION_RESTORED, {"to": 2, "counts": counts}),
            (EventKind.SESSION_CANCELLED, {}),
        ), start=300):  # fmt: skip
            await storage.append("B1-7", [record(kind, after, branch_id="b", size=1, data=data)])
            for field in ("steps", "state_bytes"):
                query = HeadQuery(sort=f"{direction}{field}", limit=100)
                heads = await storage.heads(query)
                assert [head.session_id for head in heads] == _in_order(heads, query)
                assert len(heads) == 11

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


def step(after: float, agent: str, kind: str = EventKind.STEP_STARTED, **header: Any) -> EventRecord:
    return record(kind, after, branch_id="b", step_id="b.1", agent=agent, **header)


async def found(storage: StorageBackend, **query: Any) -> list[str]:
    return [head.session_id for head in await storage.heads(HeadQuery(sort="session_id", **query))]


async def walked(storage: StorageBackend, query: HeadQuery) -> list[str]:
    """All pages."""
    ids: list[str] = []
    while page := await storage.heads(query):
        assert len(page) <= query.limit
        ids += [head.session_id for head in page]
        query = replace(query, after=query.cursor(page[-1]))
    return ids


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
    """With ties in every order, at work and at rest: some that never started, some paused, some ended."""
    for n in range(11):
        session_id = await create(storage, f"{'aB'[n % 2]}{n % 3}-{n}", n // 3)
        if n % 3:
            await start(storage, session_id, 100 - n // 2)
        steps = [record(EventKind.STEP_STARTED, 200 + n // 4, branch_id="b", size=n % 4)] * (n % 3 + 1)
        await storage.append(session_id, steps)
        if n % 5 == 2:
            await storage.append(session_id, [record(EventKind.SESSION_PAUSED, 200)])
        if n % 4 == 1:
            end = 200 + n // 5 + n / 1_000_000
            await storage.append(session_id, [record(EventKind.SESSION_COMPLETED, end)])


def _in_order(heads: list[Head], query: HeadQuery) -> list[str]:
    """None below every value; ties by session id, ascending."""

    def key(head: Head) -> tuple[bool, Any]:
        value = query.sort_value(head)
        return (value is not None, 0 if value is None else value)

    by_id = sorted(heads, key=lambda head: head.session_id)
    return [head.session_id for head in sorted(by_id, key=key, reverse=query.descending)]


def _a_life() -> list[tuple[list[EventRecord], dict[str, Any] | None]]:
    """Appends that change everything that a head holds."""
    b = {"branch_id": "b", "step_id": "b.1", "agent": "One"}
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
