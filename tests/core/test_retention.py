"""What goes when it is old or too much, what stays, and who is told."""

from __future__ import annotations

import asyncio
import io
import logging
from dataclasses import replace
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command

from state_core import CheckpointKind, MemoryStorageBackend, StateManager, StateManagerConfig
from state_core import housekeeping as housekeeping_module
from state_core.changes import set_value
from state_core.compose import checkpoint_event
from state_core.events import Event, EventKind
from state_core.exceptions import (
    CheckpointNotFound,
    ConfigurationError,
    LeaseHeld,
    QuotaExceeded,
    SessionExists,
    SessionNotFound,
    StorageUnavailable,
)
from state_core.management.commands import prune as prune_module
from state_core.records import COUNTS, utc_now
from state_core.retention import Limits

MONTH = Limits(session_age=timedelta(days=30))
WEEK_OF_CHECKPOINTS = Limits(checkpoint_age=timedelta(days=7))
ENDS = {
    "completed": EventKind.SESSION_COMPLETED,
    "failed": EventKind.SESSION_FAILED,
    "cancelled": EventKind.SESSION_CANCELLED,
    "paused": EventKind.SESSION_PAUSED,
    "running": EventKind.SESSION_STARTED,
    "interrupted": EventKind.SESSION_INTERRUPTED,
    "resuming": EventKind.RESUME_REQUESTED,
    "waiting": EventKind.INPUT_REQUESTED,
}


async def record(
    manager: StateManager, session_id: str, days: float, status: str = "completed", size: int = 0, kinds=()
) -> list[str]:
    """A session whose every event is so many days old; returns the ids of its checkpoints."""
    at = utc_now() - timedelta(days=days)
    counts = dict.fromkeys(COUNTS, 0)
    data = {"question": "q", "session": "waiting"} if status == "waiting" else {}
    text = "x" * size
    places = [checkpoint_event("place", counts, kind=kind) for kind in kinds]
    events = [
        Event(kind=EventKind.SESSION_CREATED, changes=[set_value(["context", "x"], text)]),
        *places,
        *([Event(kind=ENDS[status], data=data)] if status != "pending" else []),
    ]
    await manager.log.append(session_id, [replace(event, at=at) for event in events])
    return [place.data["id"] for place in places]


async def names(manager: StateManager) -> set[str]:
    return {head.session_id for head in await manager.list_sessions()}


def plain_manager(storage) -> StateManager:
    return StateManager(storage, config=StateManagerConfig(compression_enabled=False))


async def clean(manager: StateManager, limits: Limits):
    return await manager.retention.carry_out(await manager.retention.plan(limits))


# By age


async def test_sessions_that_ended_long_ago_go_and_no_others(storage):
    manager = plain_manager(storage)
    for status in (*ENDS, "pending"):
        await record(manager, f"old-{status}", 31, status)
        await record(manager, f"new-{status}", 29, status)
    report = await clean(manager, MONTH)
    gone = {"old-completed", "old-failed", "old-cancelled"}
    assert {removal.session_id for removal in report.sessions} == gone
    everything = {f"{age}-{status}" for age in ("old", "new") for status in (*ENDS, "pending")}
    assert await names(manager) == everything - gone
    with pytest.raises(SessionNotFound):
        await manager.get_session_state("old-failed")


async def test_a_dry_run_says_what_would_go_and_why_and_leaves_it(storage):
    manager = StateManager(storage, config=StateManagerConfig(max_checkpoint_age_days=None))
    await record(manager, "old", 40, "failed", 300)
    await record(manager, "older", 50, "completed", 200)
    used = sum(head.counts["stored_bytes"] for head in await manager.list_sessions())
    plan = await manager.cleanup(dry_run=True)
    assert plan.dry_run
    assert [(r.session_id, r.why, r.status) for r in plan.sessions] == [
        ("older", "age", "completed"),
        ("old", "age", "failed"),
    ]
    assert plan.bytes == used
    assert plan.bytes_before == (await manager.get_storage_metrics()).total_bytes
    assert await names(manager) == {"old", "older"}
    done = await manager.cleanup()
    assert (done.bytes, done.bytes_after) == (used, 0)
    assert (await manager.get_storage_metrics()).total_sessions == 0


async def test_more_than_a_page_of_sessions_goes_and_it_is_told_how_far_it_is(memory_store, monkeypatch):
    monkeypatch.setattr("state_core.retention.PAGE", 7)
    manager, told = plain_manager(memory_store), []
    for number in range(50):
        await record(manager, f"s{number}", 31 + number)
    await record(manager, "new", 1)
    report = await manager.cleanup(progress=lambda done, total: told.append((done, total)))
    assert len(report.sessions) == 50
    assert told == [(20, 50), (40, 50), (50, 50)]
    assert await names(manager) == {"new"}


async def test_the_origin_of_a_fork_may_go_and_the_fork_stays_whole(storage):
    manager = plain_manager(storage)
    await record(manager, "origin", 40, size=30)
    fork = await manager.fork_session("origin", "fork")
    before = await manager.get_session_state(fork)
    await clean(manager, MONTH)
    assert await names(manager) == {"fork"}
    assert await StateManager(storage).get_session_state(fork) == before


async def test_what_was_taken_up_since_the_plan_stays(storage):
    manager = plain_manager(storage)
    for name in ("resumed", "held", "gone", "left"):
        await record(manager, name, 40, "failed")
    plan = await manager.retention.plan(MONTH)
    await manager.resume_execution("resumed")
    await storage.acquire("held", "somebody", 30)
    await storage.delete("gone")
    report = await manager.retention.carry_out(plan)
    assert [removal.session_id for removal in report.sessions] == ["left"]
    assert sorted(report.skipped) == ["gone", "held", "resumed"]
    assert await names(manager) == {"resumed", "held"}


async def test_a_store_that_is_away_stops_the_clean_up_and_is_told(memory_store, monkeypatch):
    manager = plain_manager(memory_store)
    await record(manager, "old", 40)

    async def away(session_id):
        raise StorageUnavailable("away")

    monkeypatch.setattr(memory_store, "delete", away)
    with pytest.raises(StorageUnavailable):
        await manager.cleanup()


# Checkpoints


async def test_old_checkpoints_made_by_themselves_go_and_named_and_pinned_ones_stay(storage):
    manager = plain_manager(storage)
    kinds = list(CheckpointKind)
    old = dict(zip(kinds, await record(manager, "old", 8, kinds=kinds), strict=True))
    [pinned] = await record(manager, "pinned", 8, kinds=[CheckpointKind.AUTO])
    await manager.pin_checkpoint(pinned)
    [new] = await record(manager, "new", 6, kinds=[CheckpointKind.AUTO])
    [paused] = await record(manager, "paused", 8, "paused", kinds=[CheckpointKind.AUTO])
    report = await clean(manager, WEEK_OF_CHECKPOINTS)
    assert report.checkpoint_count == 3
    kept = {c.kind for c in await manager.list_checkpoints("old")}
    assert kept == {CheckpointKind.MANUAL, CheckpointKind.PRE_RESTORE}
    for place in (pinned, new, paused):
        assert await manager.get_checkpoint(place)
    with pytest.raises(CheckpointNotFound):
        await manager.get_checkpoint(old[CheckpointKind.ERROR])
    assert (await manager.get_head("old")).counts["checkpoints"] == 2


async def test_losing_a_checkpoint_does_not_make_a_session_younger(storage):
    manager = plain_manager(storage)
    await record(manager, "old", 8, kinds=[CheckpointKind.AUTO])
    before = (await manager.get_head("old")).updated_at
    assert (await clean(manager, WEEK_OF_CHECKPOINTS)).checkpoint_count == 1
    assert (await manager.get_head("old")).updated_at == before
    assert (await clean(manager, WEEK_OF_CHECKPOINTS)).checkpoint_count == 0
    assert (await manager.get_session_state("old")).checkpoint_ids == []


async def test_checkpoints_of_a_session_that_moved_on_stay(storage):
    manager = plain_manager(storage)
    [place] = await record(manager, "s", 8, kinds=[CheckpointKind.AUTO])
    plan = await manager.retention.plan(WEEK_OF_CHECKPOINTS)
    await manager.create_checkpoint("s", "by hand")
    report = await manager.retention.carry_out(plan)
    assert (report.checkpoint_count, report.skipped) == (0, ["s"])
    assert await manager.get_checkpoint(place)


# Quota


def with_quota(storage, size: float, **options) -> StateManager:
    config = StateManagerConfig(
        max_storage_size_mb=size / 1e6,
        max_session_age_days=None,
        max_checkpoint_age_days=None,
        compression_enabled=False,
        **options,
    )
    return StateManager(storage, config=config)


async def test_beyond_the_quota_the_sessions_that_ended_longest_ago_go_first_and_no_more_than_needed(storage):
    manager = with_quota(storage, 26_000)
    for number in range(4):
        await record(manager, f"s{number}", 10 - number, size=8_000)
    await record(manager, "running", 20, "paused", size=8_000)
    report = await manager.cleanup()
    assert [(r.session_id, r.why) for r in report.sessions] == [("s0", "quota"), ("s1", "quota")]
    assert await names(manager) == {"s2", "s3", "running"}
    assert (await manager.get_storage_metrics()).total_bytes <= 26_000
    assert report.bytes_over == 0


async def test_room_that_somebody_else_made_meanwhile_is_counted(storage):
    manager = with_quota(storage, 26_000)
    for number in range(4):
        await record(manager, f"s{number}", 10 - number, size=8_000)
    plan = await manager.retention.plan(Limits.of(manager.config))
    assert [removal.session_id for removal in plan.sessions] == ["s0"]
    await storage.delete("s3")
    report = await manager.retention.carry_out(plan)
    assert (report.sessions, await names(manager)) == ([], {"s0", "s1", "s2"})


async def test_over_the_quota_new_work_is_refused_in_words_and_nothing_is_lost(storage):
    manager = with_quota(storage, 5_000, auto_cleanup_enabled=True)
    await record(manager, "paused", 90, "paused", size=9_000)
    before = await manager.get_head("paused")
    state = await manager.get_session_state("paused")
    for attempt in (
        lambda: manager.create_session("new"),
        lambda: manager.save_session_state("new", state),
        lambda: manager.fork_session("paused", "new"),
        lambda: manager.create_checkpoint("paused"),
        lambda: enter(manager, "new"),
    ):
        with pytest.raises(QuotaExceeded, match=r"its quota of 0\.0 MB.*prune.*max_storage_size_mb"):
            await attempt()
    assert await names(manager) == {"paused"}
    assert await manager.get_head("paused") == before


async def enter(manager: StateManager, session_id: str) -> None:
    async with manager.session(session_id):
        pass


async def test_over_the_quota_sessions_under_way_go_on(storage, monkeypatch):
    monkeypatch.setattr(housekeeping_module, "MEASURED_FOR", 0)
    manager = with_quota(storage, 3_000)
    async with manager.session("s") as session:
        branch = await session.open_branch("b")
        for number in range(3):
            async with branch.step("A", number) as step:
                step.output = "x" * 2_000
        await session.checkpoint("in the run")
    assert (await manager.get_head("s")).status == "completed"
    assert len(await manager.list_checkpoints("s")) == 1
    with pytest.raises(QuotaExceeded):
        await manager.create_session("new")


async def test_with_clean_up_room_is_made_for_new_work_sparing_what_it_is_about(storage):
    manager = with_quota(storage, 12_000, auto_cleanup_enabled=True)
    await record(manager, "origin", 9, size=9_000)
    await record(manager, "other", 5, size=9_000)
    await manager.fork_session("origin", "fork")
    assert await names(manager) == {"origin", "fork"}


async def test_without_clean_up_nothing_goes_for_new_work(storage):
    manager = with_quota(storage, 5_000)
    await record(manager, "ended", 9, size=9_000)
    with pytest.raises(QuotaExceeded):
        await manager.create_session("new")
    assert await names(manager) == {"ended"}


async def test_room_that_was_made_is_noticed_at_once(memory_store):
    manager = with_quota(memory_store, 5_000)
    await record(manager, "ended", 9, size=9_000)
    with pytest.raises(QuotaExceeded):
        await manager.create_session("new")
    await manager.delete_session("ended")
    await manager.create_session("new")
    with pytest.raises(SessionExists):
        await manager.create_session("new")


# By itself


def by_itself(storage, **options) -> StateManager:
    return StateManager(storage, config=StateManagerConfig(auto_cleanup_enabled=True, **options))


async def test_nothing_goes_by_itself_unless_asked_for(memory_store):
    manager = StateManager(memory_store)
    await record(manager, "old", 400)
    await enter(manager, "s")
    await manager.close()
    assert await names(manager) == {"old", "s"}


async def test_where_asked_for_opening_a_session_cleans_up(storage):
    manager = by_itself(storage)
    await record(manager, "old", 40)
    async with manager.session("s"):
        assert await cleaned(manager) == {"s"}
    await manager.close()


async def cleaned(manager: StateManager) -> set[str]:
    task = manager._housekeeping._task
    assert task is not None
    await asyncio.wait_for(task, 20)
    return await names(manager)


async def test_a_session_that_is_taken_up_is_not_taken_away_for_its_age(storage):
    manager = by_itself(storage)
    await record(manager, "old", 40, "failed", size=20)
    async with manager.session("old") as session:
        assert await cleaned(manager) == {"old"}
        assert session.context["x"]
    await manager.close()


async def test_it_happens_once_an_hour(memory_store, monkeypatch):
    manager = by_itself(memory_store)
    await enter(manager, "s1")
    await cleaned(manager)
    await record(manager, "old", 40)
    await enter(manager, "s2")
    assert "old" in await cleaned(manager)
    hour_later = housekeeping_module.time.monotonic() + housekeeping_module.EVERY
    monkeypatch.setattr(manager._housekeeping, "_next_at", hour_later - housekeeping_module.EVERY)
    manager.start_cleanup_if_due()
    assert "old" not in await cleaned(manager)


async def test_a_clean_up_that_fails_is_logged_and_hurts_nobody(memory_store, monkeypatch, caplog):
    async def away():
        raise StorageUnavailable("The store is away.")

    monkeypatch.setattr(memory_store, "usage", away)
    manager = by_itself(memory_store)
    with caplog.at_level(logging.ERROR):
        async with manager.session("s"):
            await asyncio.wait_for(manager._housekeeping._task, 20)
    assert "The store is away." in caplog.text
    assert (await manager.get_head("s")).status == "completed"


async def test_closing_waits_for_the_batch_under_way_and_no_longer(memory_store, monkeypatch):
    monkeypatch.setattr("state_core.retention.BATCH", 3)
    manager = by_itself(memory_store)
    for number in range(9):
        await record(manager, f"s{number}", 40 + number)
    deleting, go_on = asyncio.Event(), asyncio.Event()
    delete = memory_store.delete

    async def slow(session_id):
        deleting.set()
        await go_on.wait()
        await delete(session_id)

    monkeypatch.setattr(memory_store, "delete", slow)
    manager.start_cleanup_if_due()
    await deleting.wait()
    closing = asyncio.create_task(manager.close())
    await asyncio.sleep(0)
    go_on.set()
    await closing
    assert await names(manager) == {f"s{number}" for number in range(6)}


# Configuration


def test_the_values_of_the_specification_are_taken_as_written():
    config = StateManagerConfig(
        auto_cleanup_enabled=True,
        max_session_age_days=30,
        max_checkpoint_age_days=7,
        max_storage_size_mb=10240,
        cache_enabled=True,
        cache_size_mb=100,
    )
    assert Limits.of(config) == Limits(timedelta(days=30), timedelta(days=7), 10_240_000_000)
    assert StateManager(MemoryStorageBackend(), config=config).log.cache.max_bytes == 100_000_000


@pytest.mark.parametrize(
    "name",
    [
        *("max_session_age_days", "max_checkpoint_age_days", "max_history_age_days"),
        *("max_storage_size_mb", "cache_size_mb"),
    ],
)
def test_a_limit_that_cannot_work_is_refused(name):
    with pytest.raises(ConfigurationError, match=name):
        StateManagerConfig(**{name: 0})


# History


HISTORY = Limits(history_age=timedelta(days=20))


async def record_a_long_one(
    manager: StateManager, session_id: str, days: float, status: str = "completed", kinds=()
) -> list[str]:
    """A value that is set again and again, and then checkpoints."""
    ids = await record(manager, session_id, days, status, 400, kinds)
    at = utc_now() - timedelta(days=days)
    events = [
        Event(kind=EventKind.CONTEXT_CHANGED, at=at, changes=[set_value(["context", "x"], f"{n}" * 200)])
        for n in range(10, 40)
    ]
    end = Event(kind=ENDS[status], at=at)
    await manager.log.append(session_id, [*events, end])
    return ids


async def test_old_history_of_sessions_that_ended_is_compacted(storage):
    manager = plain_manager(storage)
    for name, days, status in (("old", 30, "completed"), ("new", 10, "failed"), ("going", 30, "paused")):
        await record_a_long_one(manager, name, days, status)
    states = {name: await manager.get_session_state(name) for name in ("old", "new", "going")}
    before = await manager.retention.used()
    plan = await manager.retention.plan(HISTORY)
    assert [(c.session_id, c.events) for c in plan.compactions] == [("old", 32)]
    assert before == plan.bytes_before > plan.bytes_after
    done = await manager.retention.carry_out(plan)
    assert [c.session_id for c in done.compactions] == ["old"]
    assert done.bytes_after == await manager.retention.used() < before
    assert {name: await manager.get_session_state(name) for name in states} == states
    head = await manager.get_head("old")
    assert (head.first_seq, head.updated_at) == (33, states["old"].updated_at)
    assert not (await clean(manager, HISTORY)).compactions


async def test_what_is_compacted_goes_by_the_checkpoints_that_stay(storage):
    manager = plain_manager(storage)
    kinds = (CheckpointKind.AUTO, CheckpointKind.MANUAL)
    _, kept = await record_a_long_one(manager, "s", 30, kinds=kinds)
    await record_a_long_one(manager, "t", 30, kinds=(CheckpointKind.AUTO,))
    limits = Limits(history_age=timedelta(days=20), checkpoint_age=timedelta(days=7))
    context = (await manager.get_checkpoint_state(kept)).context
    plan = await manager.retention.plan(limits)
    assert [c.session_id for c in plan.compactions] == ["t"]  # of the other, all but two events stay
    await manager.retention.carry_out(plan)
    assert (await manager.get_checkpoint_state(kept)).context == context
    assert (await manager.get_head("s")).first_seq == 1
    assert (await manager.get_head("t")).event_count == 1


async def test_a_session_taken_up_since_is_not_compacted(storage):
    manager = plain_manager(storage)
    await record_a_long_one(manager, "s", 30, "failed")
    plan = await manager.retention.plan(HISTORY)
    await manager.resume_execution("s")
    done = await manager.retention.carry_out(plan)
    assert (done.compactions, done.skipped) == ([], ["s"])


# manage.py prune


@pytest.fixture
def pruned(memory_store, monkeypatch):
    """A manager of the store that the command prunes."""
    made = plain_manager(memory_store)
    monkeypatch.setattr(
        prune_module, "manager", lambda alias, **options: StateManager(memory_store, **options)
    )
    for name, days, status, kinds in (
        ("ancient", 90, "completed", ()),
        ("old", 40, "failed", ()),
        ("recent", 10, "completed", (CheckpointKind.AUTO, CheckpointKind.MANUAL)),
        ("going", 90, "paused", ()),
    ):
        asyncio.run(record(made, name, days, status, 400, kinds))
    return made


def prune(*arguments, out=None):
    out = out or io.StringIO()
    call_command("prune", *arguments, stdout=out, stderr=out, no_color=True)
    return out.getvalue()


def left(manager: StateManager) -> set[str]:
    return asyncio.run(names(manager))


def test_prune_shows_the_plan_and_a_dry_run_ends_there(pruned):
    out = prune("--dry-run")
    assert "ancient  completed" in out
    assert "2 sessions" in out
    assert "1 checkpoint of others" in out
    assert "by age: 2, by quota: 0" in out
    assert left(pruned) == {"ancient", "old", "recent", "going"}


def test_prune_with_yes_deletes_without_asking(pruned):
    assert "Deleted: 2 sessions" in prune("--yes")
    assert left(pruned) == {"recent", "going"}
    assert "To delete: 0 sessions" in prune("--yes")


@pytest.mark.parametrize(("answer", "stays"), [("y", False), ("", True), ("no", True)])
def test_prune_asks_first(pruned, monkeypatch, answer, stays):
    monkeypatch.setattr("builtins.input", lambda prompt: answer)
    out = prune()
    assert ("Nothing was changed." in out) is stays
    assert ("old" in left(pruned)) is stays


def test_prune_deletes_nothing_where_nobody_can_be_asked(pruned, monkeypatch):
    def nobody(prompt):
        raise EOFError

    monkeypatch.setattr("builtins.input", nobody)
    with pytest.raises(CommandError, match="--yes"):
        prune()
    assert "old" in left(pruned)


def test_who_is_asked_can_end_prune_at_once(pruned, ctrl_c_at_the_question):
    with pytest.raises(CommandError, match="Nothing was changed") as ended:
        prune()
    assert ended.value.returncode == 130
    assert "old" in left(pruned)


def test_prune_goes_by_the_limits_that_are_given_alone(pruned):
    out = prune("--yes", "--session-age-days", "60")
    assert "1 session " in out
    assert "0 checkpoints" in out
    assert left(pruned) == {"old", "recent", "going"}


def test_prune_brings_a_store_below_a_size_or_says_why_not(pruned):
    out = prune("--yes", "--max-mb", "0.0001")
    assert "by quota: 3" in out
    assert "the rest has not ended" in out
    assert left(pruned) == {"going"}


def test_prune_compacts_history_where_that_is_asked_for(pruned):
    asyncio.run(record_a_long_one(pruned, "long", 60))
    asyncio.run(record_a_long_one(pruned, "long-too", 60))
    out = prune("--dry-run", "--history-age-days", "50")
    assert "To compact: 2 sessions, by 64 events and about 0.0" in out
    assert asyncio.run(pruned.get_head("long")).first_seq == 1
    out = prune("--yes", "--history-age-days", "50")
    assert "Deleted: 0 sessions" in out
    assert "Compacted: 2 sessions, by 64 events and 0.0" in out
    assert asyncio.run(pruned.get_head("long")).event_count == 1
    assert "compact" not in prune("--yes", "--session-age-days", "1000")


@pytest.mark.parametrize("number", ["0", "-1", "many", "nan", "inf"])
def test_prune_refuses_limits_that_make_no_sense(pruned, number):
    with pytest.raises(CommandError, match="greater than 0"):
        prune(f"--session-age-days={number}")


def test_prune_draws_its_progress_on_a_terminal(pruned):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    out = prune("--yes", out=Terminal())
    assert "[##############################] 100%  3 of 3" in out


def test_prune_names_what_somebody_took_meanwhile(pruned, monkeypatch):
    async def held(session_id):
        raise LeaseHeld(session_id, "somebody")

    monkeypatch.setattr(pruned.storage, "delete", held)
    out = prune("--yes")
    assert "Deleted: 0 sessions" in out
    assert "somebody has changed or taken them: ancient, old." in out
