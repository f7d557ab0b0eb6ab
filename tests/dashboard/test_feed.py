"""The feed: every event once and in order, whatever the store and whatever happens to it."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from marsys_dashboard import feed as feed_module
from marsys_dashboard import list_watch, outlines
from marsys_dashboard import watched as watched_module
from marsys_dashboard.feed import Feed
from marsys_dashboard.hub import LIST, Topic
from marsys_dashboard.outlines import OutlineCache
from state_core.events import Event, EventKind
from state_core.exceptions import SessionNotFound, StorageUnavailable
from state_core.manager import StateManager
from state_core.records import utc_now
from state_core.storage.base import StorageBackend
from state_core.storage.memory import MemoryStorageBackend
from tests.dashboard.conftest import SESSION, Listening

TOPIC: Topic = ("default", SESSION)


@asynccontextmanager
async def watching(feed: Feed, listener: Listening, topic: Topic = TOPIC) -> AsyncIterator[None]:
    await feed.watch(topic, listener)
    try:
        yield
    finally:
        feed.leave(topic, listener)


async def test_every_event_of_a_burst_arrives_once_and_in_order(
    feed: Feed, manager: StateManager, listener: Listening
) -> None:
    await manager.create_session(SESSION)
    async with watching(feed, listener):
        for start in range(0, 500, 10):
            await manager.log.append(SESSION, [_context(start + n) for n in range(10)])
        await listener.until(lambda: listener.seqs[-1:] == [501])
    assert listener.seqs == list(range(2, 502))
    for before, after in zip(listener.frames, listener.frames[1:], strict=False):
        assert after["after"] == before["seq"]


def _context(number: int) -> Event:
    return Event(kind=EventKind.CONTEXT_CHANGED, changes=[["set", ["context", "n"], number]])


async def test_a_burst_comes_in_few_frames(feed: Feed, manager: StateManager, listener: Listening) -> None:
    await manager.create_session(SESSION)
    async with watching(feed, listener):
        for number in range(100):
            await manager.log.append(SESSION, [_context(number)])
        await listener.until(lambda: listener.seqs[-1:] == [101])
    assert len(listener.frames) < 100


async def test_everybody_is_handed_the_same_frames(
    feed: Feed, manager: StateManager, listener: Listening
) -> None:
    other = Listening()
    await manager.create_session(SESSION)
    async with watching(feed, listener), watching(feed, other):
        await manager.log.append(SESSION, [_context(1)])
        await listener.until(lambda: listener.frames)
        await other.until(lambda: other.frames)
    assert listener.frames == other.frames


async def test_a_frame_carries_the_rows_that_its_events_touch(
    feed: Feed, manager: StateManager, listener: Listening
) -> None:
    await manager.create_session(SESSION)
    async with watching(feed, listener):
        async with manager.session(SESSION) as session:
            branch = await session.open_branch("collect")
            async with branch.step("Collector", {"query": "codes"}) as step:
                await branch.add_message("assistant", "<script>alert(1)</script>", agent="Collector")
                step.output = "fourteen papers"
            await session.checkpoint("found")
        await listener.until(lambda: listener.events and listener.events[-1]["kind"] == "session.completed")
    rows = {name: [row for frame in listener.frames for row in frame["rows"][name]] for name in
            ("steps", "messages", "checkpoints", "log")}  # fmt: skip
    assert "fourteen papers" in rows["steps"][-1]["html"]
    assert rows["steps"][-1]["key"] == "collect/collect:1"
    assert "&lt;script&gt;" in rows["messages"][0]["html"]
    assert "<script>" not in rows["messages"][0]["html"]
    assert "found" in rows["checkpoints"][0]["html"]
    assert [row["key"] for row in rows["log"]] == [str(seq) for seq in listener.seqs]
    assert listener.frames[-1]["status"] == "completed"
    assert listener.frames[-1]["head"]["counts"]["steps_completed"] == 1


async def test_a_restore_says_that_the_page_starts_anew(
    feed: Feed, manager: StateManager, listener: Listening
) -> None:
    async with manager.session(SESSION) as session:
        branch = await session.open_branch("collect")
        async with branch.step("Collector"):
            pass
        checkpoint = await session.checkpoint("one step")
        async with branch.step("Collector"):
            pass
    async with watching(feed, listener):
        await manager.restore_checkpoint(checkpoint)
        await listener.until(lambda: listener.frames)
        watched = feed.watched[TOPIC]
        assert watched.outline is not None
        assert len(watched.outline.document["branches"]["collect"]["steps"]) == 1
    assert listener.frames[-1]["reset"] is True
    assert listener.frames[-1]["status"] == "paused"


async def test_a_checkpoint_that_goes_is_taken_off_the_page(
    feed: Feed, manager: StateManager, listener: Listening
) -> None:
    await manager.create_session(SESSION)
    checkpoint = await manager.create_checkpoint(SESSION, "first")
    async with watching(feed, listener):
        await manager.delete_checkpoint(checkpoint)
        await listener.until(lambda: listener.frames)
    assert listener.frames[-1]["rows"]["checkpoints"] == [{"key": checkpoint, "html": None}]


async def test_an_orchestrator_that_falls_silent_is_recorded_as_interrupted(
    listener: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_module, "TEND", 0.05)
    clock = [1_000.0]
    store = MemoryStorageBackend(clock=lambda: clock[0])
    manager = StateManager(store)
    feed = Feed(lambda _store: manager)
    await manager.create_session(SESSION)
    await store.acquire(SESSION, "worker", 15)
    await manager.log.append(SESSION, [Event(kind=EventKind.SESSION_STARTED, actor="worker")])
    async with watching(feed, listener):
        clock[0] += 20
        await listener.until(lambda: listener.frames and listener.frames[-1]["status"] == "interrupted")
    assert (await manager.get_head(SESSION)).status == "interrupted"


class Flaky(MemoryStorageBackend):
    """Cannot be reached while ``away``."""

    away = False

    async def last_seqs(self, session_ids):  # type: ignore[no-untyped-def]
        if self.away:
            raise StorageUnavailable("The store cannot be reached at present.")
        return await super().last_seqs(session_ids)


async def test_a_store_that_goes_away_is_said_and_nothing_is_missed(listener: Listening) -> None:
    store = Flaky()
    manager = StateManager(store)
    feed = Feed(lambda _store: manager)
    await manager.create_session(SESSION)
    async with watching(feed, listener):
        store.away = True
        await listener.until(lambda: listener.told_of("store"))
        assert listener.told_of("store")[-1]["reachable"] is False
        await manager.log.append(SESSION, [_context(number) for number in range(20)])
        store.away = False
        await listener.until(lambda: listener.seqs[-1:] == [21])
    assert listener.told_of("store")[-1]["reachable"] is True
    assert listener.seqs == list(range(2, 22))


class Gappy(MemoryStorageBackend):
    """Has lost the second event of the session "torn"."""

    async def read_events(self, session_id, **options):  # type: ignore[no-untyped-def]
        events = await super().read_events(session_id, **options)
        return [event for event in events if session_id != "torn" or event.seq != 2]


async def test_a_damaged_session_keeps_no_other_from_being_seen(listener: Listening) -> None:
    manager = StateManager(Gappy())
    feed = Feed(lambda _store: manager)
    other = Listening()
    await manager.create_session("torn")
    await manager.create_session(SESSION)
    async with watching(feed, other, ("default", "torn")), watching(feed, listener):
        for number in range(3):
            await manager.log.append("torn", [_context(number)])
            await manager.log.append(SESSION, [_context(number)])
            await listener.until(lambda last=number + 2: listener.seqs[-1:] == [last])
        await other.until(lambda: other.told_of("trouble"))
    assert "event 2 is damaged" in other.told_of("trouble")[0]["message"]
    assert len(other.told_of("trouble")) == 1
    assert other.frames == []


async def test_the_last_watcher_stops_the_feed(
    feed: Feed, manager: StateManager, listener: Listening
) -> None:
    await manager.create_session(SESSION)
    other = Listening()
    await feed.watch(TOPIC, listener)
    await feed.watch(TOPIC, other)
    feed.leave(TOPIC, listener)
    assert feed.running == ["default"]
    feed.leave(TOPIC, other)
    assert feed.running == []


async def test_nobody_watches_a_session_that_is_not_there(
    feed: Feed, manager: StateManager, listener: Listening
) -> None:
    with pytest.raises(SessionNotFound):
        await feed.watch(("default", "nowhere"), listener)
    assert not feed.hub


async def test_a_session_that_is_deleted_is_gone(
    feed: Feed, manager: StateManager, listener: Listening
) -> None:
    await manager.create_session(SESSION)
    async with watching(feed, listener):
        await manager.delete_session(SESSION)
        await listener.until(lambda: listener.told_of("gone"))


async def test_a_large_message_is_not_read_for_its_row(
    feed: Feed, manager: StateManager, listener: Listening
) -> None:
    await manager.create_session(SESSION)
    async with watching(feed, listener):
        async with manager.session(SESSION) as session:
            branch = await session.open_branch("collect")
            await branch.add_message("tool", "x" * 2_000_000)
        await listener.until(lambda: listener.events and listener.events[-1]["kind"] == "session.completed")
    rows = [row for frame in listener.frames for row in frame["rows"]["messages"]]
    assert "too large for a row" in rows[0]["html"]
    assert len(rows[0]["html"]) < 2_000


async def test_who_fell_behind_gets_the_same_events_in_pages(
    feed: Feed, manager: StateManager, listener: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watched_module, "PAGE", 200)
    await manager.create_session(SESSION)
    await manager.log.append(SESSION, [_context(number) for number in range(450)])
    watched = await feed.watch(TOPIC, listener)
    after, seqs = 1, []
    while after < watched.seq:
        frame = await watched.page(after)
        listener.offer(frame)
        after = frame.seq
    feed.leave(TOPIC, listener)
    seqs = listener.seqs
    assert seqs == list(range(2, 452))
    assert len(listener.frames) == 3


# The list


async def test_the_list_tells_rows_that_change(
    feed: Feed, manager: StateManager, storage: StorageBackend, listener: Listening
) -> None:
    await manager.create_session(SESSION)
    await feed.watch_list(listener, ["default"], lambda head, store: f"<tr>{store} {head.status}</tr>")
    await manager.pause_execution(SESSION)
    await manager.create_session("other")
    await listener.until(lambda: _statuses(listener) == {SESSION: "paused", "other": "pending"})
    await listener.until(lambda: {"paused": 1, "pending": 1} in _counts(listener))
    feed.leave(LIST, listener)
    told = [row["html"] for message in listener.told_of("list") for row in message["rows"]]
    assert "<tr>default pending</tr>" in told


async def test_the_list_tells_sessions_that_are_deleted(
    feed: Feed, manager: StateManager, listener: Listening
) -> None:
    for name in ("kept", "deleted"):
        await manager.create_session(name)
    await feed.watch_list(listener, ["default"], lambda head, store: "<tr></tr>")
    await manager.delete_session("deleted")
    await listener.until(lambda: {"pending": 1} in _counts(listener))
    feed.leave(LIST, listener)
    assert [told["gone"] for told in listener.told_of("list") if told["gone"]] == [
        [{"store": "default", "id": "deleted"}]
    ]


async def test_a_session_made_anew_is_told_of_after_it_was_deleted(
    feed: Feed, manager: StateManager, listener: Listening
) -> None:
    await manager.create_session(SESSION)
    await feed.watch_list(listener, ["default"], lambda head, store: "<tr></tr>")
    await manager.delete_session(SESSION)
    await listener.until(lambda: any(told["gone"] for told in listener.told_of("list")))
    await manager.create_session(SESSION)
    await listener.until(lambda: _statuses(listener) == {SESSION: "pending"})
    feed.leave(LIST, listener)


def _counts(listener: Listening) -> list[dict[str, int]]:
    return [told["counts"] for told in listener.told_of("list") if told["counts"]]


def _statuses(listener: Listening) -> dict[str, str]:
    return {row["id"]: row["status"] for told in listener.told_of("list") for row in told["rows"]}


async def test_who_comes_to_the_list_gets_the_rows_that_changed_since_its_page_was_made(
    feed: Feed, manager: StateManager, listener: Listening
) -> None:
    hours_ago = utc_now() - timedelta(hours=3)
    await manager.log.append("old", [Event(kind="session.created", at=hours_ago)])
    await manager.create_session(SESSION)
    await feed.watch_list(listener, ["default"], lambda head, store: "<tr></tr>")
    assert feed.listing
    first = json.loads(await feed.listing.since(utc_now()))
    feed.leave(LIST, listener)
    assert [row["id"] for row in first["rows"]] == [SESSION]
    assert first["counts"] == {"pending": 2}


async def test_more_changes_than_a_page_holds_are_all_told(
    feed: Feed, manager: StateManager, listener: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(list_watch, "NEWEST", 3)
    await manager.create_session("first")
    await feed.watch_list(listener, ["default"], lambda head, store: "<tr></tr>")
    names = {f"session-{number}" for number in range(10)}
    for name in names:
        await manager.create_session(name)
    await listener.until(lambda: names <= set(_statuses(listener)))
    feed.leave(LIST, listener)


async def test_a_change_that_the_store_named_costs_a_few_heads_whatever_else_changes(
    manager: StateManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where its writer's clock is far behind, so that it is not among those that changed last."""
    listing = list_watch.ListWatch(lambda _store: manager, ["default"], lambda head, store: "<tr></tr>")
    for number in range(60):
        await manager.create_session(f"other-{number}")
    await manager.log.append("late", [Event(kind="session.created", at=LONG_AGO)])
    await listing.begin()
    await manager.log.append("late", [replace(_context(1), at=LONG_AGO + HOUR)])
    asked = Asked(manager.storage, monkeypatch)
    told = json.loads(await listing.changed("default", {"late"}) or "{}")
    assert [row["id"] for row in told["rows"]] == ["late"]
    assert asked.times == {"heads": 1, "head": 1}
    assert await listing.changed("default", {"late", "gone"}) is None


async def test_a_row_that_is_shown_is_told_when_it_goes_however_old_it_is(
    feed: Feed, manager: StateManager, listener: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(list_watch, "MOST_KNOWN", 1)
    for name in ("old", "other", "new"):
        await manager.create_session(name)
    await feed.watch_list(listener, ["default"], lambda head, store: "<tr></tr>")
    feed.look_after(listener, {("default", "old")})
    await manager.delete_session("old")
    await listener.until(lambda: any(told["gone"] for told in listener.told_of("list")))
    feed.leave(LIST, listener)
    gone = [session["id"] for told in listener.told_of("list") for session in told["gone"]]
    assert gone == ["old"]


async def test_a_store_that_is_away_does_not_empty_the_list(listener: Listening) -> None:
    here, away = StateManager(MemoryStorageBackend()), StateManager(Unreachable())
    feed = Feed(lambda store: here if store == "here" else away)
    await here.create_session(SESSION)
    await feed.watch_list(listener, ["here", "away"], lambda head, store: "<tr></tr>")
    await listener.until(lambda: listener.told_of("store"))
    assert feed.listing
    first = await feed.listing.since(utc_now())
    feed.leave(LIST, listener)
    assert f'"id":"{SESSION}"' in first
    assert listener.told_of("store")[0]["reachable"] is False


class Unreachable(MemoryStorageBackend):
    async def heads(self, query):  # type: ignore[no-untyped-def]
        raise StorageUnavailable("The store cannot be reached at present.")


async def test_a_beat_in_which_nothing_changes_tells_nothing(
    feed: Feed, manager: StateManager, listener: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = asyncio.Event()
    await manager.create_session(SESSION)
    await feed.watch_list(listener, ["default"], lambda head, store: "<tr></tr>")
    heads = manager.storage.heads
    looks = 0

    async def counted(query):  # type: ignore[no-untyped-def]
        nonlocal looks
        looks += 1
        if looks == 3:
            looked.set()
        return await heads(query)

    monkeypatch.setattr(manager.storage, "heads", counted)
    await asyncio.wait_for(looked.wait(), 10)
    feed.leave(LIST, listener)
    assert listener.told_of("list") == []


# Outlines


async def test_only_so_many_outlines_are_kept(manager: StateManager) -> None:
    cache = OutlineCache(size=2, events=20)
    for name in ("one", "two", "three"):
        await manager.create_session(name)
        await cache.outline("default", manager, name)
    assert len(cache) == 2
    await manager.log.append("three", [_context(number) for number in range(30)])
    assert (await cache.outline("default", manager, "three")).seq == 31
    assert len(cache) == 1


async def test_an_outline_moves_on_without_being_folded_again(
    manager: StateManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = OutlineCache()
    await manager.create_session(SESSION)
    first = await cache.outline("default", manager, SESSION)
    monkeypatch.setattr(outlines, "fold_outline", None)
    await manager.log.append(SESSION, [Event(kind="branch.opened", branch_id="a", status="running")])
    second = await cache.outline("default", manager, SESSION)
    assert list(second.document["branches"]) == ["a"]
    assert first.document["branches"] == {}


async def test_who_asks_while_an_outline_is_folded_waits_for_that_one(
    manager: StateManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = OutlineCache()
    await manager.create_session(SESSION)
    folded = []

    async def counted(*asked: Any) -> outlines.Outline:
        folded.append(asked)
        await asyncio.sleep(0)
        return await fold_outline(*asked)

    fold_outline = outlines.fold_outline
    monkeypatch.setattr(outlines, "fold_outline", counted)
    found = await asyncio.gather(*(cache.outline("default", manager, SESSION) for _ in range(4)))
    assert len(folded) == 1
    assert {outline.seq for outline in found} == {1}


async def test_a_session_of_the_same_name_is_another(manager: StateManager) -> None:
    cache = OutlineCache()
    await manager.create_session(SESSION)
    await manager.log.append(SESSION, [Event(kind="branch.opened", branch_id="a", status="running")])
    await cache.outline("default", manager, SESSION)
    await manager.delete_session(SESSION)
    await manager.create_session(SESSION)
    await manager.log.append(SESSION, [_context(1), _context(2)])
    assert (await cache.outline("default", manager, SESSION)).document["branches"] == {}


async def test_all_who_fell_behind_at_one_place_are_handed_the_same_page(
    feed: Feed, manager: StateManager, listener: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    await manager.create_session(SESSION)
    await manager.log.append(SESSION, [_context(number) for number in range(20)])
    watched = await feed.watch(TOPIC, listener)
    asked = Asked(manager.storage, monkeypatch)
    pages = await asyncio.gather(*(watched.page(3) for _ in range(50)), watched.page(7))
    later = await watched.page(3)
    feed.leave(TOPIC, listener)
    assert all(page is later for page in pages[:-1])
    assert (later.after, pages[-1].after, later.seq) == (3, 7, 21)
    assert asked.times["read_events"] <= 3


# How large it may get


class Asked:
    """How often a store was asked, by what."""

    def __init__(self, storage: StorageBackend, monkeypatch: pytest.MonkeyPatch) -> None:
        self.times: Counter[str] = Counter()
        self.ids: set[str] = set()
        for name in ("read_events", "head", "heads", "last_seqs", "checkpoints"):
            monkeypatch.setattr(storage, name, self._counting(name, getattr(storage, name)))

    def _counting(self, name: str, method: Any) -> Any:
        async def counted(asked: Any, *args: Any, **kwargs: Any) -> Any:
            self.times[name] += 1
            self.ids |= {asked} if isinstance(asked, str) else set(asked) if name == "last_seqs" else set()
            return await method(asked, *args, **kwargs)

        return counted


async def test_the_feeds_cost_grows_with_what_is_watched_not_with_what_exists(
    feed: Feed,
    manager: StateManager,
    storage: StorageBackend,
    listener: Listening,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await manager.create_session(SESSION)
    for number in range(50):
        await manager.create_session(f"unwatched-{number}")
    async with watching(feed, listener):
        await manager.log.append(SESSION, [_context(0)])
        await listener.until(lambda: listener.seqs[-1:] == [2])
        asked = Asked(storage, monkeypatch)
        for number in range(50):
            await manager.log.append(f"unwatched-{number}", [_context(number)])
        await manager.log.append(SESSION, [_context(1)])
        await listener.until(lambda: listener.seqs[-1:] == [3])
    assert not {each for each in asked.ids if each.startswith("unwatched")}
    assert asked.times["read_events"] <= 2
    assert asked.times["head"] <= 2


async def test_what_a_look_costs_does_not_depend_on_how_many_sessions_there_are(
    feed: Feed,
    manager: StateManager,
    storage: StorageBackend,
    listener: Listening,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for number in range(120):
        await manager.log.append(
            f"old-{number:03}", [Event(kind="session.created", at=LONG_AGO + number * HOUR)]
        )
    await feed.watch_list(listener, ["default"], lambda head, store: "<tr></tr>")
    feed.look_after(listener, {("default", "old-007")})
    found: list[int] = []
    heads = storage.heads

    async def counted(query: Any) -> Any:
        answer = await heads(query)
        found.append(len(answer))
        return answer

    monkeypatch.setattr(storage, "heads", counted)
    await manager.create_session("new")
    await listener.until(lambda: "new" in _statuses(listener))
    feed.leave(LIST, listener)
    assert max(found) <= 2


LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
