"""Sessions from one store to another, on a ring of every kind of store."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from state_core import HeadQuery, MemoryStorageBackend, SessionStatus, StateManager, walk
from state_core import copying as copying_module
from state_core.codec import Codec
from state_core.copying import CopyOutcome, copy_session, copy_sessions
from state_core.exceptions import (
    DamagedError,
    Diverged,
    LeaseHeld,
    LeaseLost,
    SessionNotFound,
    StorageUnavailable,
)
from state_core.storage.file import FileStorageBackend
from state_core.testing import until
from tests.stored.sessions import COMPRESSED, KEY, ROTATED, answer, write_sessions, write_whole

RING = ["memory", "file", "sqlite", "postgres", "redis", "memory"]
ALL = ["compressed", "encrypted", "failed", "forked", "mixed", "pending", "plain"]
COPIED, THERE = CopyOutcome.COPIED, CopyOutcome.THERE
BOOKKEEPING = {"agents": [], "owner": "", "fence": 0, "lease_expires_at": None}


@pytest.fixture(params=list(zip(RING, RING[1:], strict=False)), ids="-".join)
def pair(request):
    """A store and one of the next kind, both empty."""
    return [request.getfixturevalue(f"{kind}_store") for kind in request.param]


@pytest.fixture
def source():
    return MemoryStorageBackend()


@pytest.fixture
def target():
    return MemoryStorageBackend()


@pytest.fixture
async def long_session(source):
    """1 + 2 + 40 + 1 events."""
    async with StateManager(source, config=COMPRESSED).session("long") as session:
        branch = await session.open_branch("a")
        for number in range(40):
            await branch.add_message("user", str(number))
    return (await source.head("long")).last_seq


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(walk, "MOST_EVENTS", 5)


async def content(store, session_id):
    """All that a copy must not change."""
    head = replace(await store.head(session_id), **BOOKKEEPING)
    return await store.read_events(session_id), head, await store.checkpoints(session_id)


def stop_at(events, error=KeyboardInterrupt):
    def tell(progress):
        if progress.events >= events:
            raise error

    return tell


def flip(store, session_id, seq):
    events = store._sessions[session_id].events
    body = bytearray(events[seq - 1].body)
    body[len(body) // 2] ^= 1
    events[seq - 1] = replace(events[seq - 1], body=bytes(body))


# From each kind to the next


async def test_every_session_arrives_as_it_is_with_no_key(pair):
    source, target = pair
    await write_sessions(source)
    results = await copy_sessions(source, target)
    assert [(r.session_id, r.outcome, r.why) for r in results] == [(i, COPIED, "") for i in ALL]
    assert all(r.written == r.events > 0 for r in results)
    reading = [StateManager(store, config=ROTATED) for store in pair]
    for session_id in ALL:
        assert await content(target, session_id) == await content(source, session_id)
        states = [await manager.get_session_state(session_id) for manager in reading]
        assert states[0] == states[1]
    assert (await target.usage()).events == (await source.usage()).events
    assert [r.outcome for r in await copy_sessions(source, target)] == [THERE] * len(ALL)


async def test_a_copy_that_was_stopped_half_way_goes_on(pair, small_parts):
    source, target = pair
    await write_whole(StateManager(source, config=COMPRESSED), "s")
    with pytest.raises(KeyboardInterrupt):
        await copy_sessions(source, target, on_progress=stop_at(12))
    half = (await target.head("s")).last_seq
    assert 12 <= half < (await source.head("s")).last_seq
    with pytest.raises(LeaseHeld, match="copy_sessions"):
        await target.acquire("s", "a worker", 10)
    (result,) = await copy_sessions(source, target)
    assert (result.outcome, result.written) == (COPIED, result.events - half)
    assert await content(target, "s") == await content(source, "s")
    assert (await target.acquire("s", "a worker", 10)).owner == "a worker"


async def test_a_copied_session_goes_on_in_the_target(pair):
    source, target = pair
    manager = StateManager(source, config=COMPRESSED)
    async with manager.session("s") as session:
        branch = await session.open_branch("a")
        async with branch.step("First") as step:
            step.output = 1
    await manager.pause_execution("s")
    await copy_session(source, target, "s")
    async with StateManager(target).session("s") as session:
        branch = await session.open_branch("a")
        async with branch.step("First") as step:
            assert (step.done, step.output) == (True, 1)
    (again,) = await copy_sessions(source, target)
    assert again.outcome == THERE and "gone on there by" in again.why


# Which sessions


async def test_only_the_sessions_that_were_named_are_copied(source, target):
    await write_sessions(source)
    results = await copy_sessions(source, target, ["plain", "failed", "plain"])
    assert [r.session_id for r in results] == ["plain", "failed"]
    assert {head.session_id for head in await target.heads(HeadQuery())} == {"plain", "failed"}


async def test_a_session_that_is_not_there_is_reported_and_holds_up_no_other(source, target):
    await write_sessions(source)
    first, second = await copy_sessions(source, target, ["nobody", "plain"])
    assert (first.outcome, second.outcome) == (CopyOutcome.FAILED, COPIED)
    assert "no session 'nobody'" in first.why
    with pytest.raises(SessionNotFound):
        await copy_session(source, target, "nobody")


async def test_a_session_that_is_deleted_meanwhile_is_no_failure(source, target, monkeypatch):
    head = source.head

    async def gone(session_id):
        if session_id == "s1":
            await source.delete("s1")
        return await head(session_id)

    for number in range(3):
        await StateManager(source).create_session(f"s{number}")
    monkeypatch.setattr(source, "head", gone)
    results = await copy_sessions(source, target)
    assert [(r.session_id, r.outcome) for r in results] == [("s0", "copied"), ("s2", "copied")]


async def test_more_sessions_than_fit_on_a_page_are_copied(source, target, monkeypatch):
    monkeypatch.setattr(walk, "HEADS_AT_ONCE", 3)
    for number in range(8):
        await StateManager(source).create_session(f"s{number}")
    assert [r.session_id for r in await copy_sessions(source, target)] == [f"s{n}" for n in range(8)]


async def test_a_dry_run_writes_nothing_and_finds_what_is_wrong(source, target):
    await write_sessions(source)
    await copy_session(source, target, "failed")
    flip(source, "plain", 3)
    results = {r.session_id: r for r in await copy_sessions(source, target, dry_run=True)}
    counted = Counter(r.outcome for r in results.values())
    assert counted == {CopyOutcome.TO_COPY: 5, THERE: 1, CopyOutcome.FAILED: 1}
    assert "event 3" in results["plain"].why
    assert [head.session_id for head in await target.heads(HeadQuery())] == ["failed"]


async def test_progress_tells_sessions_and_events(source, target, small_parts, long_session):
    await StateManager(source).create_session("another")
    seen = []
    await copy_sessions(source, target, on_progress=seen.append)
    assert {p.of_sessions for p in seen} == {2}
    assert (seen[0].session_id, seen[0].sessions, seen[0].events) == ("another", 0, 1)
    assert [p.events for p in seen[1:]] == [*range(5, long_session, 5), long_session]
    assert {(p.session_id, p.sessions, p.of_events) for p in seen[1:]} == {("long", 1, long_session)}


# Sessions at work


async def test_a_running_session_is_skipped_unless_it_is_asked_for(source, target):
    async with StateManager(source).session("s") as session:
        await session.set_context(found=1)
        (skipped,) = await copy_sessions(source, target)
        assert skipped.outcome == CopyOutcome.SKIPPED and session.owner in skipped.why
        with pytest.raises(LeaseHeld, match=session.owner):
            await copy_session(source, target, "s")
        assert await target.last_seqs(["s"]) == {}
        first = await copy_session(source, target, "s", include_running=True)
        assert (first.outcome, first.written) == (COPIED, session.seq)
        assert await target.heads(HeadQuery(lease_expired=True)) == []
    second = await copy_session(source, target, "s")
    assert second.written == second.events - first.events > 0
    assert await content(target, "s") == await content(source, "s")


async def test_a_session_whose_orchestrator_fell_silent_is_found_interrupted_in_the_target(pair):
    source, target = pair
    session = StateManager(source).session("s")
    await session.__aenter__()
    await session._stop_watching()
    await source.renew("s", (await source.head("s")).fence, 0.05)

    async def ran_out():
        return await source.heads(HeadQuery(lease_expired=True))

    await until(ran_out)
    result = await copy_session(source, target, "s")
    assert result.outcome == COPIED
    manager = StateManager(target)
    assert await until(manager.interrupt_expired) == ["s"]
    interrupted = (await target.read_events("s"))[-1]
    assert interrupted.data["owner"] == session.owner
    assert (await target.head("s")).status == SessionStatus.INTERRUPTED


async def test_of_two_copies_at_once_one_is_told_that_it_lost(source, target, small_parts, long_session):
    copies = []

    async def another_copy():
        copies.append(await copy_session(source, target, "long"))

    append = target.append

    async def overtaken(session_id, events, **guard):
        if guard.get("expected_seq") == 10:
            target.append = append
            await another_copy()
        return await append(session_id, events, **guard)

    target.append = overtaken
    with pytest.raises(LeaseLost):
        await copy_session(source, target, "long")
    assert [copy.outcome for copy in copies] == [COPIED]
    assert await content(target, "long") == await content(source, "long")


async def test_what_comes_to_the_source_meanwhile_is_left_for_the_next_copy(
    source, target, small_parts, long_session
):
    manager = StateManager(source)
    read = source.read_events

    async def read_and_append(*args, **kwargs):
        source.read_events = read
        await manager.create_checkpoint("long")
        return await read(*args, **kwargs)

    source.read_events = read_and_append
    assert (await copy_session(source, target, "long")).events == long_session
    assert (await target.head("long")).last_seq == long_session
    assert (await copy_session(source, target, "long")).written == 1
    assert await content(target, "long") == await content(source, "long")


# What is not well


@pytest.mark.parametrize("session_id", ["plain", "compressed"])
async def test_a_damaged_event_is_reported_before_anything_is_written(source, target, session_id):
    await write_sessions(source)
    flip(source, session_id, 8)
    results = {r.session_id: r for r in await copy_sessions(source, target)}
    assert {i for i, r in results.items() if r.outcome != COPIED} == {session_id}
    assert results[session_id].outcome == CopyOutcome.FAILED
    assert f"Session {session_id!r}: event 8 " in results[session_id].why
    assert await target.last_seqs([session_id]) == {}


async def test_a_damaged_line_of_a_log_file_is_reported_and_the_others_are_copied(file_store, target):
    await write_sessions(file_store)
    await file_store.close()
    log = file_store.base_path / "sessions" / "encrypted" / "log.state"
    data = bytearray(log.read_bytes())
    data[data.index(b'"kind"', len(data) // 2)] ^= 1
    log.write_bytes(data)
    opened_again = FileStorageBackend(file_store.base_path)
    results = await copy_sessions(opened_again, target)
    await opened_again.close()
    assert {r.session_id for r in results if r.outcome == CopyOutcome.FAILED} == {"encrypted"}
    assert {r.session_id for r in results if r.outcome == COPIED} == set(ALL) - {"encrypted"}


async def test_with_the_key_a_damaged_encrypted_event_is_found_too(source, target):
    await write_sessions(source)
    flip(source, "encrypted", 8)
    with pytest.raises(DamagedError, match="event 8"):
        await copy_session(source, target, "encrypted", codec=Codec(keys=[KEY]))
    assert await target.last_seqs(["encrypted"]) == {}


async def test_an_event_that_is_missing_is_reported(source, target, long_session):
    del source._sessions["long"].events[6]
    with pytest.raises(DamagedError, match="event 7"):
        await copy_session(source, target, "long")


async def test_a_head_that_does_not_follow_from_its_events_is_reported(source, target, long_session):
    source._sessions["long"].head.counts["messages"] += 1
    with pytest.raises(DamagedError, match="its head"):
        await copy_session(source, target, "long")


async def test_a_target_that_went_another_way_is_left_alone(pair):
    source, target = pair
    manager = StateManager(source)
    await manager.create_session("s")
    await copy_session(source, target, "s")
    await StateManager(source).create_checkpoint("s", "here")
    await StateManager(target).create_checkpoint("s", "there")
    before = await content(target, "s")
    with pytest.raises(Diverged, match="event 2 differs"):
        await copy_session(source, target, "s")
    (result,) = await copy_sessions(source, target)
    assert result.outcome == CopyOutcome.FAILED
    assert await content(target, "s") == before


@pytest.mark.parametrize("part", ["data", "body", "at", "encoding"])
async def test_a_target_that_changes_what_it_is_given_is_found_out(source, long_session, part):
    class Careless(MemoryStorageBackend):
        async def _append(self, session_id, events, *others):
            last = events[-1]
            worse = {"data": {"x": 1}, "body": last.body + b"x", "at": last.at.replace(year=1999)}
            changed = replace(last, **{part: worse.get(part, "j1+z")})
            return await super()._append(session_id, [*events[:-1], changed], *others)

    with pytest.raises(Diverged, match=f"event {long_session} differs"):
        await copy_session(source, Careless(), "long")


async def test_a_target_whose_head_or_checkpoints_differ_is_found_out(source, target):
    await write_whole(StateManager(source), "s")
    await copy_session(source, target, "s")
    kept = target._sessions["s"]
    (kept.checkpoints[next(iter(kept.checkpoints))]).name = "another"
    with pytest.raises(Diverged, match="list of checkpoints"):
        await copy_session(source, target, "s")
    kept.head.counts["steps"] += 1
    with pytest.raises(Diverged, match="its head"):
        await copy_session(source, target, "s")


async def test_a_store_that_is_gone_ends_the_copy(source, target):
    await write_sessions(source)

    async def gone(*args, **kwargs):
        raise StorageUnavailable("The store cannot be reached.")

    target.append = gone
    with pytest.raises(StorageUnavailable):
        await copy_sessions(source, target)


async def test_large_events_are_copied_in_parts_that_a_store_takes(source, target, monkeypatch):
    monkeypatch.setattr(copying_module, "BYTES_AT_ONCE", 20_000)
    async with StateManager(source, compression=False).session("s") as session:
        branch = await session.open_branch("a")
        for size in [10, 10, 30_000, 10, 9_000, 9_000, 9_000, 10]:
            await branch.add_message("user", "x" * size)
    sizes = []
    append = target.append

    async def measured(session_id, events, **guard):
        sizes.append(sum(len(event.body) for event in events))
        return await append(session_id, events, **guard)

    target.append = measured
    await copy_session(source, target, "s")
    assert max(sizes) < 31_000 and len(sizes) > 3
    assert await content(target, "s") == await content(source, "s")


async def test_a_question_that_is_open_is_answered_in_the_target(source, target):
    manager = StateManager(source, config=COMPRESSED)
    async with manager.session("s", on_pause="raise") as session:
        branch = await session.open_branch("a")
        async with branch.step("Asker") as step:
            await manager.pause_execution("s")
            await step.ask("Which way?", choices=["yes", "no"])
    assert session.status == SessionStatus.PAUSED
    await copy_session(source, target, "s")
    there = StateManager(target, config=COMPRESSED)
    await answer(there, "s")
    async with there.session("s") as session:
        branch = await session.open_branch("a")
        async with branch.step("Asker") as step:
            assert await step.ask("Which way?", choices=["yes", "no"]) == "yes"
