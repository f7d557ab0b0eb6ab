"""Pausing, resuming and cancelling sessions that others hold, or nobody."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from state_core import (
    MemoryStorageBackend,
    SessionStatus,
    StateManager,
    StateManagerConfig,
    new_encryption_key,
)
from state_core.compose import make_event
from state_core.events import EventKind
from state_core.exceptions import (
    ConflictError,
    DamagedError,
    InvalidValue,
    TransitionError,
)
from state_core.records import Head
from tests.core.conftest import Clock, completed


async def test_a_pending_session_is_paused_and_resumed_at_once(manager: StateManager) -> None:
    await manager.create_session("s")
    state = await manager.pause_execution("s", {"why": "holiday"}, reason="later", actor="ann")
    assert (state.status, state.reason, state.metadata) == ("paused", "later", {"why": "holiday"})
    state = await manager.resume_execution("s", {"n": 1}, actor="ann")
    assert (state.status, state.context) == ("resuming", {"n": 1})
    events = await manager.log.read("s")
    assert [e.actor for e in events[1:]] == ["ann", "ann"]
    with pytest.raises(TransitionError, match="asked for that already"):
        await manager.resume_execution("s")


async def test_pausing_twice_only_adds_metadata(manager: StateManager) -> None:
    await manager.create_session("s")
    await manager.pause_execution("s", reason="first")
    seq = (await manager.get_head("s")).last_seq
    await manager.pause_execution("s", reason="second")
    assert (await manager.get_head("s")).last_seq == seq
    state = await manager.pause_execution("s", {"a": 1})
    assert (state.status, state.reason, state.metadata) == ("paused", "first", {"a": 1})


async def test_resuming_takes_names_out_of_the_context(manager: StateManager) -> None:
    await manager.create_session("s", context={"keep": 1, "drop": {"a": [1]}})
    await manager.pause_execution("s")
    state = await manager.resume_execution("s", {"new": 2}, remove_context=["drop"])
    assert state.context == {"keep": 1, "new": 2}


async def test_resuming_by_what_stood_there_is_refused_when_the_session_moved_on(
    manager: StateManager,
) -> None:
    await manager.create_session("s")
    seq = (await manager.pause_execution("s")).seq
    await manager.create_checkpoint("s", "meanwhile")
    with pytest.raises(ConflictError, match="has moved on"):
        await manager.resume_execution("s", expected_seq=seq)
    assert (await manager.get_head("s")).status == SessionStatus.PAUSED


async def test_a_name_that_the_context_has_not_cannot_be_taken_out(manager: StateManager) -> None:
    await manager.create_session("s")
    await manager.pause_execution("s")
    with pytest.raises(InvalidValue, match="'nothing'"):
        await manager.resume_execution("s", remove_context=["nothing"])


async def test_what_has_ended_is_neither_paused_resumed_nor_cancelled(
    manager: StateManager, elsewhere: StateManager
) -> None:
    await completed(manager)
    for act in (elsewhere.pause_execution, elsewhere.resume_execution, elsewhere.cancel_execution):
        with pytest.raises(TransitionError, match="it is completed"):
            await act("s")


async def test_who_completed_a_session_may_pause_it_to_hand_it_on(
    manager: StateManager, elsewhere: StateManager
) -> None:
    await completed(manager)
    await manager.create_checkpoint("s", "a checkpoint changes nothing of that")
    assert (await manager.pause_execution("s")).status == SessionStatus.PAUSED
    async with elsewhere.session("s"):
        pass
    with pytest.raises(TransitionError):
        await manager.pause_execution("s")


async def test_who_runs_a_session_is_asked_and_the_request_is_in_the_log(
    manager: StateManager, elsewhere: StateManager
) -> None:
    async with manager.session("s"):
        with pytest.raises(TransitionError, match="pause it first"):
            await elsewhere.resume_execution("s")
        state = await elsewhere.pause_execution("s", reason="look", actor="ann")
        assert state.status == SessionStatus.PAUSING
        state = await elsewhere.cancel_execution("s", actor="bob")
        assert state.status == SessionStatus.CANCELLING
        with pytest.raises(TransitionError, match="being cancelled"):
            await elsewhere.pause_execution("s")
        seq = (await elsewhere.get_head("s")).last_seq
        await elsewhere.cancel_execution("s")
        assert (await elsewhere.get_head("s")).last_seq == seq
    commands = await manager.log.read("s", kinds=["pause.requested", "cancel.requested"])
    assert [(e.actor, e.data.get("reason")) for e in commands] == [("ann", "look"), ("bob", None)]


async def test_a_command_that_comes_too_late_is_decided_anew(
    manager: StateManager, elsewhere: StateManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between reading the head and writing the request the session was completed."""
    session = await manager.session("s").__aenter__()
    head, calls = elsewhere.storage.head, []

    async def completes_meanwhile(session_id: str) -> Any:
        found = await head(session_id)
        calls.append(found.status)
        if len(calls) == 1:
            await session.__aexit__(None, None, None)
        return found

    monkeypatch.setattr(elsewhere.storage, "head", completes_meanwhile)
    with pytest.raises(TransitionError, match="it is completed"):
        await elsewhere.pause_execution("s")
    assert calls[:2] == ["running", "completed"]


async def test_a_session_that_ended_meanwhile_is_not_paused_over_its_end(
    manager: StateManager, elsewhere: StateManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    await manager.create_session("s")
    head, calls = elsewhere.storage.head, []

    async def completes_meanwhile(session_id: str) -> Any:
        found = await head(session_id)
        calls.append(found.status)
        if len(calls) == 1:
            await completed(manager)
        return found

    monkeypatch.setattr(elsewhere.storage, "head", completes_meanwhile)
    with pytest.raises(TransitionError, match="it is completed"):
        await elsewhere.pause_execution("s")


async def test_two_people_at_once_are_both_heard(manager: StateManager, elsewhere: StateManager) -> None:
    await manager.create_session("s")
    found = await asyncio.gather(
        *(m.cancel_execution("s") for m in (manager, elsewhere)), return_exceptions=True
    )
    statuses = [getattr(one, "status", None) for one in found]
    assert "cancelled" in statuses
    assert (await manager.get_head("s")).status == SessionStatus.CANCELLED
    cancelled = await manager.log.read("s", kinds=[EventKind.SESSION_CANCELLED])
    assert len(cancelled) == 1


@pytest.mark.parametrize(
    ("act", "status"),
    [("pause_execution", "paused"), ("cancel_execution", "cancelled"), ("resume_execution", "resuming")],
)
async def test_a_session_whose_orchestrator_fell_silent_is_acted_on_at_once(act: str, status: str) -> None:
    config = StateManagerConfig(control_interval=60, lease_ttl=0.05, stall_patience=0.01)
    manager = StateManager(MemoryStorageBackend(), config=config)
    session = await manager.session("s").__aenter__()
    await asyncio.sleep(0.1)  # twice as long as its lease, which is not renewed
    state = await getattr(manager, act)("s")
    assert state.status == status
    assert "session.interrupted" in [e.kind for e in await manager.log.read("s")]
    await session._stop_watching()


async def test_sessions_of_silent_orchestrators_are_recorded_as_interrupted(clock: Clock) -> None:
    manager = StateManager(MemoryStorageBackend(clock=clock), config=StateManagerConfig(control_interval=60))
    sessions = [await manager.session(f"s{n}").__aenter__() for n in range(3)]
    await completed(manager)
    assert await manager.interrupt_expired() == []
    clock.now += 60
    assert sorted(await manager.interrupt_expired()) == ["s0", "s1", "s2"]
    assert await manager.interrupt("s") is False
    heads = await manager.list_sessions(statuses=["interrupted"])
    assert len(heads) == 3
    for session in sessions:
        await session._stop_watching()


async def test_a_silent_session_is_recorded_as_interrupted_though_its_content_cannot_be_read(
    clock: Clock,
) -> None:
    storage = MemoryStorageBackend(clock=clock)
    config = StateManagerConfig(control_interval=60, encryption_key=new_encryption_key())
    session = await StateManager(storage, config=config).session("s", context={"n": 1}).__aenter__()
    branch = await session.open_branch("b")
    step = await branch.step("A", input="x").__aenter__()
    clock.now += 60
    elsewhere = StateManager(storage)
    assert await elsewhere.interrupt_expired() == ["s"]
    assert await elsewhere.interrupt_expired() == []
    kinds = [event.kind for event in await elsewhere.log.read("s", bodies=False, newest_first=True, limit=2)]
    assert kinds == ["session.interrupted", "step.failed"]
    assert step.step_id
    await session._stop_watching()


async def test_a_session_that_cannot_be_read_does_not_hold_up_the_others(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = StateManager(MemoryStorageBackend(clock=clock), config=StateManagerConfig(control_interval=60))
    sessions = [await manager.session(f"s{n}").__aenter__() for n in range(3)]
    read = manager.storage.read_events

    async def damaged(session_id: str, **options: Any) -> Any:
        if session_id == "s1":
            raise DamagedError("s1", "event 2", "its header cannot be read")
        return await read(session_id, **options)

    monkeypatch.setattr(manager.storage, "read_events", damaged)
    clock.now += 60
    assert sorted(await manager.interrupt_expired()) == ["s0", "s2"]
    for session in sessions:
        await session._stop_watching()


# Recorded from outside


async def test_a_session_that_is_recorded_from_outside_refuses_what_its_driver_does_not_do(storage):
    manager = StateManager(storage)
    async with manager.session("s", refuses=["pause", "resume", "cancel", "fork"]):
        head = await storage.head("s")
        assert head.refuses == ["pause", "resume", "cancel", "fork"]
        for act in (manager.pause_execution, manager.cancel_execution, manager.fork_session):
            with pytest.raises(TransitionError, match="recorded from outside"):
                await act("s")
        await manager.create_checkpoint("s", "a place in the log")
        assert (await storage.head("s")).status == "running"


async def test_who_takes_a_session_up_says_anew_what_it_refuses(storage):
    manager = StateManager(storage)
    with pytest.raises(KeyboardInterrupt):
        async with manager.session("s", refuses=["pause", "resume", "cancel"]):
            raise KeyboardInterrupt
    with pytest.raises(TransitionError, match="recorded from outside"):
        await manager.resume_execution("s")
    async with manager.session("s"):
        assert (await storage.head("s")).refuses == []
        await manager.pause_execution("s")


async def test_an_outside_session_that_nobody_runs_any_more_can_be_cancelled(storage):
    manager = StateManager(storage)
    with pytest.raises(KeyboardInterrupt):
        async with manager.session("s", refuses=["resume", "cancel"]):
            raise KeyboardInterrupt
    assert (await manager.cancel_execution("s")).status == "cancelled"


# By who decided by what stood there

ACTS: dict[str, dict[str, Any]] = {
    "pause_execution": {"metadata": {"n": 1}},
    "resume_execution": {},
    "cancel_execution": {},
    "create_checkpoint": {"name": "here"},
    "undo_restore": {},
    "answer": {"question_id": "q", "answer": 1},
}


async def restored(manager: StateManager) -> int:
    """A paused session "s" that was restored and has an open question; returns its last event."""
    await manager.create_session("s")
    asked = make_event(EventKind.INPUT_REQUESTED, data={"question": "q"}, branch_id="b", step_id="t")
    await manager.log.append("s", [make_event(EventKind.BRANCH_OPENED, branch_id="b"), asked])
    await manager.restore_checkpoint(await manager.create_checkpoint("s", "place"))
    return (await manager.get_head("s")).last_seq


async def test_an_act_after_another_event_than_the_last_writes_nothing(storage):
    manager = StateManager(storage)
    seq = await restored(manager)
    for act, given in {**ACTS, "fork_session": {}, "delete_session": {}}.items():
        for expected in (seq - 1, seq + 1):
            with pytest.raises(ConflictError, match=f"event {seq} is its last"):
                await getattr(manager, act)("s", **given, expected_seq=expected)
    assert [head.last_seq for head in await manager.list_sessions()] == [seq]
    await manager.delete_session("s", expected_seq=seq)


@pytest.mark.parametrize("act", [act for act in ACTS if act != "answer"])
async def test_an_act_is_refused_by_what_happened_after_the_look_at_its_session(
    manager: StateManager, act: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seq = await restored(manager)
    overtake(manager, monkeypatch)
    with pytest.raises(ConflictError, match="has moved on"):
        await getattr(manager, act)("s", **ACTS[act], expected_seq=seq)
    assert (await manager.get_head("s")).last_seq == seq + 1


@pytest.mark.parametrize("act", ["pause_execution", "cancel_execution", "undo_restore"])
async def test_what_is_asked_of_a_holder_is_refused_by_what_it_wrote_meanwhile(
    manager: StateManager, act: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await restored(manager)
    async with manager.session("s"):
        seq = (await manager.get_head("s")).last_seq
        overtake(manager, monkeypatch)
        with pytest.raises(ConflictError, match="has moved on"):
            await getattr(manager, act)("s", expected_seq=seq)
        assert (await manager.get_head("s")).last_seq == seq + 1
        assert (await getattr(manager, act)("s", expected_seq=seq + 1)).seq == seq + 2
        await manager.cancel_execution("s")


def overtake(manager: StateManager, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody writes just after the session was looked at."""
    look = manager.storage.head

    async def overtaken(session_id: str) -> Head:
        head = await look(session_id)
        monkeypatch.undo()
        await manager.create_checkpoint(session_id, "meanwhile")
        return head

    monkeypatch.setattr(manager.storage, "head", overtaken)


async def test_a_silent_session_is_resumed_after_the_event_that_was_its_last(clock: Clock) -> None:
    manager = StateManager(MemoryStorageBackend(clock=clock), config=StateManagerConfig(control_interval=60))
    session = await manager.session("s").__aenter__()
    seq = (await manager.get_head("s")).last_seq
    clock.now += 60
    state = await manager.resume_execution("s", actor="ann", expected_seq=seq)
    assert (state.status, state.seq) == ("resuming", seq + 2)
    assert {event.actor for event in await manager.log.read("s", after=seq)} == {"ann"}
    await session._stop_watching()
