"""Compaction: history goes, and every state that somebody can still ask for stays what it was."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from state_core import HeadQuery, Message, StateManager, StateManagerConfig, new_encryption_key
from state_core.changes import keep_aside
from state_core.copying import CopyOutcome, copy_session
from state_core.events import Event, EventKind
from state_core.exceptions import (
    Diverged,
    HistoryCompacted,
    LeaseHeld,
    SessionNotFound,
    TransitionError,
)
from state_core.records import Checkpoint, Head, SessionState
from state_core.storage.base import StorageBackend
from state_core.storage.memory import MemoryStorageBackend


@pytest.fixture
def manager(storage: StorageBackend) -> StateManager:
    return StateManager(storage, actor="tests")


async def work(manager: StateManager, session_id: str = "s", steps: int = 30) -> None:
    """Paused, with a memory that was rewritten again and again."""
    async with manager.session(session_id, context={"topic": "tides"}, on_pause="raise") as session:
        branch = await session.open_branch("a")
        there = len(session.document["branches"]["a"]["steps"])
        for number in range(there, there + steps):
            async with branch.step("Agent", f"question {number}", step_id=f"a:{number}") as step:
                step.output = "an answer " * 20
            await branch.rewrite_memory([Message("user", f"summary {number}")])
            await session.set_context({"number": number})
        await session.request_pause()
        await session.pause_point()


async def all_of(manager: StateManager, session_id: str = "s") -> tuple[list[SessionState], list[Checkpoint]]:
    places = await manager.list_checkpoints(session_id)
    states = [await manager.get_checkpoint_state(place.id) for place in places]
    return [*states, await manager.get_session_state(session_id)], places


def told_by(head: Head) -> Head:
    """Without what compaction is to change, and without the trace of its lease."""
    counts = {**head.counts, "stored_bytes": 0}
    return replace(head, first_seq=1, counts=counts, fence=0, owner="", lease_expires_at=None)


async def test_a_session_without_checkpoints_keeps_its_last_state_alone(manager: StateManager) -> None:
    await work(manager)
    before, head = await all_of(manager), await manager.get_head("s")
    found = await manager.compact_session("s")
    assert (found.first_seq, found.events) == (head.last_seq, head.last_seq - 1)
    assert await all_of(manager) == before
    assert [event.kind for event in await manager.log.read("s")] == ["session.compacted"]
    after = await manager.get_head("s")
    assert told_by(after) == told_by(head)
    assert (after.first_seq, after.counts["stored_bytes"]) == (head.last_seq, found.bytes_after)
    assert found.bytes_after < head.counts["stored_bytes"] / 2
    assert [found.worked for found in await manager.storage.heads(HeadQuery(agent="Agent"))] == [["Agent"]]


async def test_every_kept_checkpoint_stays_what_it_was(manager: StateManager) -> None:
    await work(manager, steps=10)
    first = await manager.create_checkpoint("s", "first", actor="ann", reason="to be sure")
    await manager.rename_checkpoint(first, "renamed")
    await work(manager, steps=5)
    await manager.create_checkpoint("s", "second")
    before, head = await all_of(manager), await manager.get_head("s")
    assert (await manager.compact_session("s")).first_seq == before[1][0].seq
    assert await all_of(manager) == before
    assert told_by(await manager.get_head("s")) == told_by(head)
    restored = await manager.restore_checkpoint(first)
    assert restored.context == before[0][0].context
    undo = (await manager.list_checkpoints("s"))[-1]
    assert (await manager.restore_checkpoint(undo.id)).branches == before[0][-1].branches
    await work(manager, steps=1)
    assert (await manager.get_session_state("s")).total_steps == before[0][-1].total_steps + 1


async def test_a_state_before_it_is_refused_with_what_to_ask_for(manager: StateManager) -> None:
    await work(manager, steps=10)
    found = await manager.compact_session("s")
    for seq in (1, found.first_seq - 1):
        with pytest.raises(HistoryCompacted, match=rf"compacted on 20..-.*begins at event {found.first_seq}"):
            await manager.get_session_state("s", seq)
    assert (await manager.get_session_state("s", found.first_seq)).seq == found.first_seq


async def test_it_does_not_cut_off_what_a_restore_went_back_to(manager: StateManager) -> None:
    await work(manager, steps=4)
    first = await manager.create_checkpoint("s", "first")
    place = (await manager.get_checkpoint(first)).seq
    await work(manager, steps=4)
    await manager.create_checkpoint("s", "before the restore")
    await manager.restore_checkpoint(first)
    await work(manager, steps=1)
    _, kept, undo = await manager.list_checkpoints("s")
    await manager.delete_checkpoint(first)
    await manager.delete_checkpoint(undo.id)
    before = await all_of(manager)
    assert place < kept.seq
    assert (await manager.compact_session("s")).first_seq == place
    assert await all_of(manager) == before


async def test_it_does_not_cut_off_a_chain_of_restores(manager: StateManager) -> None:
    ids = []
    for _ in range(4):
        await work(manager, steps=2)
        ids.append(await manager.create_checkpoint("s", "kept"))
    for checkpoint in (ids[3], ids[2], ids[1]):
        await manager.restore_checkpoint(checkpoint)
    for place in (await manager.list_checkpoints("s"))[:-1]:
        await manager.delete_checkpoint(place.id)
    before, place = await all_of(manager), 0
    for event in await manager.log.read("s", kinds=["session.restored"]):
        place = min(place or event.data["to"], event.data["to"])
    assert (await manager.compact_session("s")).first_seq == place
    assert await all_of(manager) == before


async def test_what_an_adapter_keeps_beside_the_state_stays(manager: StateManager) -> None:
    await work(manager, steps=5)
    record = Event(kind=EventKind.RECORD_KEPT, changes=[keep_aside({"precious": True})])
    place = await manager.log.append("s", [record])
    await work(manager, steps=5)
    before = await all_of(manager)
    assert (await manager.compact_session("s")).first_seq == place - 1
    assert (await manager.log.read("s", after=place - 1, limit=1))[0].changes == record.changes
    assert await all_of(manager) == before


async def test_a_dry_run_says_what_it_would_do_and_does_not(manager: StateManager) -> None:
    await work(manager)
    events = await manager.storage.read_events("s")
    planned = await manager.compact_session("s", dry_run=True)
    assert await manager.storage.read_events("s") == events
    done = await manager.compact_session("s")
    assert replace(done, bytes_after=0) == replace(planned, bytes_after=0)
    assert abs(done.bytes_after - planned.bytes_after) < 10  # it is dated
    assert (await manager.compact_session("s")).events == 0


async def test_a_session_that_would_not_become_smaller_stays_as_it_is(manager: StateManager) -> None:
    await manager.create_session("s")
    await manager.pause_execution("s")
    events = await manager.storage.read_events("s")
    assert (await manager.compact_session("s")).events == 0
    assert await manager.storage.read_events("s") == events


async def test_a_session_that_somebody_runs_is_left_alone(manager: StateManager) -> None:
    async with manager.session("s"):
        with pytest.raises(TransitionError, match="it is running. Pause it"):
            await manager.compact_session("s")
    await work(manager, "t")
    await manager.storage.acquire("t", "somebody", 60)
    with pytest.raises(LeaseHeld):
        await manager.compact_session("t")
    with pytest.raises(SessionNotFound):
        await manager.compact_session("u")


async def test_appends_and_checkpoints_meanwhile_are_kept(manager: StateManager) -> None:
    await work(manager)
    head = await manager.get_head("s")

    async def meanwhile() -> list[str]:
        return [await manager.create_checkpoint("s", f"c{number}") for number in range(8)]

    ids, found = await asyncio.gather(meanwhile(), manager.compact_session("s"))
    assert found.events
    assert [place.id for place in await manager.list_checkpoints("s")] == ids
    numbers = [event.seq for event in await manager.log.read("s")]
    assert numbers == list(range(found.first_seq, head.last_seq + 9))
    assert len({(await manager.get_checkpoint_state(i)).context["number"] for i in ids}) == 1


async def test_readers_meanwhile_see_the_state_as_it_is(manager: StateManager) -> None:
    reader = StateManager(manager.storage, config=StateManagerConfig(cache_enabled=False))
    await work(manager, steps=60)
    before, seen = await manager.get_session_state("s"), []

    async def read() -> None:
        while len(seen) < 12:
            seen.append(await reader.get_session_state("s"))

    await asyncio.gather(read(), read(), manager.compact_session("s"))
    assert all(state == before for state in seen)


async def test_it_can_be_forked_and_copied_as_it_is(manager: StateManager) -> None:
    await work(manager, steps=8)
    checkpoint = await manager.create_checkpoint("s", "kept")
    await work(manager, steps=2)
    before = await all_of(manager)
    uncompacted = MemoryStorageBackend()
    await copy_session(manager.storage, uncompacted, "s")
    await manager.compact_session("s")
    fork = await manager.fork_session("s", checkpoint_id=checkpoint)
    assert (await manager.get_session_state(fork)).branches == before[0][0].branches
    target = StateManager(MemoryStorageBackend())
    copied = await copy_session(manager.storage, target.storage, "s")
    assert (copied.outcome, copied.events) == (CopyOutcome.COPIED, (await manager.get_head("s")).event_count)
    assert await all_of(target) == before
    assert (await copy_session(manager.storage, target.storage, "s")).outcome == CopyOutcome.THERE
    with pytest.raises(Diverged, match="one of them was compacted"):
        await copy_session(uncompacted, target.storage, "s")
    planned = await copy_session(manager.storage, uncompacted, "s", dry_run=True)
    assert planned.outcome == CopyOutcome.TO_COPY
    followed = await copy_session(manager.storage, uncompacted, "s")
    assert (followed.outcome, followed.written) == (CopyOutcome.COPIED, 0)
    assert await all_of(StateManager(uncompacted)) == before
    assert (await copy_session(manager.storage, uncompacted, "s")).outcome == CopyOutcome.THERE


async def test_an_earlier_copy_that_went_another_way_is_not_compacted_with_its_source(
    manager: StateManager,
) -> None:
    await work(manager, steps=4)
    checkpoint = await manager.create_checkpoint("s", "kept")
    other = StateManager(MemoryStorageBackend())
    await copy_session(manager.storage, other.storage, "s")
    for store in (manager, other):
        await store.create_checkpoint("s", "of its own")
    await manager.compact_session("s")
    events = await other.storage.read_events("s")
    with pytest.raises(Diverged):
        await copy_session(manager.storage, other.storage, "s")
    assert await other.storage.read_events("s") == events
    assert (await other.get_checkpoint(checkpoint)).session_id == "s"


async def test_an_encrypted_session_stays_encrypted(storage: StorageBackend) -> None:
    manager = StateManager(storage, encryption_key=new_encryption_key())
    await work(manager)
    before = await manager.get_session_state("s")
    await manager.compact_session("s")
    (record,) = await storage.read_events("s")
    assert "+e:" in record.encoding
    assert b"tides" not in record.body
    assert "tides" not in str(record.data)
    assert await manager.get_session_state("s") == before


async def test_the_outline_is_what_it_was(manager: StateManager) -> None:
    await work(manager, steps=3)
    await manager.create_checkpoint("s", "kept")
    await work(manager, steps=3)

    def shape(document: dict) -> list:
        return [
            (s["step_id"], s["status"]) for b in document["branches"].values() for s in b["steps"].values()
        ]

    before = await manager.log.outline("s")
    await manager.compact_session("s")
    after = await manager.log.outline("s")
    assert (shape(after), after["status"], after["seq"]) == (shape(before), before["status"], before["seq"])
    with pytest.raises(HistoryCompacted):
        await manager.log.outline("s", 2)
