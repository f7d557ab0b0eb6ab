"""What people and programs ask of a session that they do not hold."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from state_core import (
    CheckpointKind,
    HeadQuery,
    MemoryStorageBackend,
    Message,
    SessionState,
    SessionStatus,
    StateManager,
    StateManagerConfig,
    StorageBackend,
    new_encryption_key,
)
from state_core.events import EventKind
from state_core.exceptions import (
    CheckpointNotFound,
    ConfigurationError,
    ConflictError,
    DamagedError,
    EncryptionKeyError,
    InvalidId,
    InvalidValue,
    LeaseHeld,
    QuestionNotFound,
    SessionExists,
    SessionNotFound,
    TransitionError,
)

QUICK = StateManagerConfig(control_interval=0.02)


class Clock:
    """Seconds since 1970 that pass only when told to, for leases."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store() -> StorageBackend:
    return MemoryStorageBackend()


@pytest.fixture
def manager(store: StorageBackend) -> StateManager:
    return StateManager(store, config=QUICK)


@pytest.fixture
def elsewhere(store: StorageBackend) -> StateManager:
    return StateManager(store, config=QUICK, actor="somebody")


async def completed(manager: StateManager, session_id: str = "s") -> None:
    async with manager.session(session_id, context={"a": 1}) as session:
        branch = await session.open_branch("b")
        async with branch.step("A", "in") as step:
            step.output = "out"


# What is not there


@pytest.mark.parametrize(
    "act",
    [
        "get_session_state",
        "get_head",
        "pause_execution",
        "resume_execution",
        "cancel_execution",
        "create_checkpoint",
        "get_session_metrics",
        "delete_session",
        "fork_session",
    ],
)
async def test_an_unknown_session_is_told(manager: StateManager, act: str) -> None:
    with pytest.raises(SessionNotFound, match="nowhere"):
        await getattr(manager, act)("nowhere")
    with pytest.raises(InvalidId):
        await getattr(manager, act)("../../x")


async def test_an_unknown_checkpoint_is_told(manager: StateManager) -> None:
    await completed(manager)
    for act in (manager.get_checkpoint, manager.restore_checkpoint, manager.delete_checkpoint):
        with pytest.raises(CheckpointNotFound):
            await act("cp-nowhere")


async def test_a_checkpoint_of_another_session_is_refused(manager: StateManager) -> None:
    await completed(manager)
    await completed(manager, "other")
    place = await manager.create_checkpoint("other", "there")
    with pytest.raises(CheckpointNotFound, match="session 's'"):
        await manager.restore_checkpoint(place, session_id="s")
    with pytest.raises(CheckpointNotFound):
        await manager.fork_session("s", checkpoint_id=place)


async def test_a_session_is_created_once(manager: StateManager) -> None:
    await manager.create_session("s", context={"a": 1}, title="T", tags=["x"])
    with pytest.raises(SessionExists):
        await manager.create_session("s")
    head = await manager.get_head("s")
    assert (head.status, head.title, head.tags) == (SessionStatus.PENDING, "T", ["x"])


# Pausing, resuming, cancelling


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
    config = StateManagerConfig(control_interval=60, lease_ttl=0.05)
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
    read = manager.log.read

    async def damaged(session_id: str, **options: Any) -> Any:
        if session_id == "s1":
            raise DamagedError("s1", "event 2", "its header cannot be read")
        return await read(session_id, **options)

    monkeypatch.setattr(manager.log, "read", damaged)
    clock.now += 60
    assert sorted(await manager.interrupt_expired()) == ["s0", "s2"]
    for session in sessions:
        await session._stop_watching()


# Restoring, forking


async def test_a_restore_can_be_undone(manager: StateManager) -> None:
    async with manager.session("s", context={"n": 0}) as session:
        place = await session.checkpoint("start")
        branch = await session.open_branch("b")
        async with branch.step("A") as step:
            step.output = 1
        await session.set_context(n=1)
    before = await manager.get_session_state("s")
    state = await manager.restore_checkpoint(place, reason="try again", actor="ann")
    assert (state.status, state.context, state.branches) == ("paused", {"n": 0}, [])
    [undo] = [c for c in state.checkpoints if c.kind == CheckpointKind.PRE_RESTORE]
    assert (undo.actor, undo.reason) == ("ann", "try again")
    state = await manager.restore_checkpoint(undo.id)
    assert (state.context, state.branches) == (before.context, before.branches)
    head = await manager.get_head("s")
    assert (head.counts["restores"], head.counts["steps_completed"]) == (2, 1)


async def test_who_runs_a_session_is_asked_to_restore_it(
    manager: StateManager, elsewhere: StateManager
) -> None:
    async with manager.session("s", context={"n": 0}) as session:
        place = await elsewhere.create_checkpoint("s", "start")
        await session.set_context(n=1)
        assert (await elsewhere.restore_checkpoint(place)).status == SessionStatus.PAUSING
        await session.wait_until_asked()
        await session.pause_point()
    state = await elsewhere.get_session_state("s")
    assert (state.status, state.context) == ("paused", {"n": 0})


async def test_a_fork_begins_with_the_state_and_goes_its_own_way(manager: StateManager) -> None:
    await completed(manager)
    new = await manager.fork_session("s", "t", reason="what if")
    state = await manager.get_session_state(new)
    assert (state.status, state.context) == ("paused", {"a": 1})
    assert state.branches == (await manager.get_session_state("s")).branches
    async with manager.session(new) as session:
        await session.set_context(a=2)
    assert (await manager.get_session_state("s")).context == {"a": 1}
    assert (await manager.get_head(new)).origin.startswith("s@")


async def test_a_session_that_is_held_is_not_deleted(manager: StateManager) -> None:
    async with manager.session("s"):
        with pytest.raises(LeaseHeld):
            await manager.delete_session("s")
    await manager.delete_session("s")
    with pytest.raises(SessionNotFound):
        await manager.get_head("s")


# Saving a whole state


async def test_saving_appends_only_what_differs(manager: StateManager) -> None:
    await completed(manager)
    await manager.pause_execution("s")
    state = await manager.get_session_state("s")
    assert await manager.save_session_state("s", state) == state.seq
    state.context["more"] = True
    state.branches[0].memory.append(Message("user", "by hand"))
    before = state.seq
    seq = await manager.save_session_state("s", state)
    assert seq == before + 2
    again = await manager.get_session_state("s")
    assert again.context == {"a": 1, "more": True}
    assert again.branches[0].memory[-1].content == "by hand"


async def test_saving_an_old_state_is_a_conflict(manager: StateManager) -> None:
    await manager.create_session("s")
    old = await manager.get_session_state("s")
    await manager.pause_execution("s")
    old.context["late"] = True
    with pytest.raises(ConflictError):
        await manager.save_session_state("s", old)


async def test_a_session_that_runs_is_not_saved_over(manager: StateManager, elsewhere: StateManager) -> None:
    async with manager.session("s"):
        state = await elsewhere.get_session_state("s")
        with pytest.raises(LeaseHeld):
            await elsewhere.save_session_state("s", state)


async def test_saving_creates_a_session_that_is_not_there(manager: StateManager) -> None:
    await manager.save_session_state("s", SessionState("s", context={"a": 1}))
    assert (await manager.get_session_state("s")).context == {"a": 1}


# Answers


async def test_an_answer_must_be_asked_for_and_storable(manager: StateManager) -> None:
    await completed(manager)
    with pytest.raises(QuestionNotFound):
        await manager.answer("s", "b:1.q1", "yes")
    with pytest.raises(InvalidValue, match="answer cannot be stored"):
        await manager.answer("s", "b:1.q1", object())


# Checkpoints


async def test_checkpoints_are_listed_renamed_pinned_and_cleaned_up(manager: StateManager) -> None:
    await completed(manager)
    ids = [await manager.create_checkpoint("s", f"number {n}", actor="ann") for n in range(5)]
    await manager.rename_checkpoint(ids[1], "renamed")
    await manager.pin_checkpoint(ids[0])
    assert await manager.cleanup_checkpoints("s", keep_latest=2) == 2
    kept = await manager.list_checkpoints("s")
    assert [(c.id, c.pinned, c.actor) for c in kept] == [
        (ids[0], True, "ann"),
        (ids[3], False, "ann"),
        (ids[4], False, "ann"),
    ]
    await manager.delete_checkpoint(ids[4])
    assert (await manager.get_head("s")).counts["checkpoints"] == 2
    with pytest.raises(InvalidValue):
        await manager.cleanup_checkpoints("s", keep_latest=-1)
    assert await manager.list_checkpoints("nowhere") == []


async def test_a_checkpoint_tells_its_state(manager: StateManager) -> None:
    await manager.create_session("s", context={"n": 0})
    place = await manager.create_checkpoint("s", "zero")
    await manager.pause_execution("s")
    assert (await manager.get_checkpoint_state(place)).status == SessionStatus.PENDING


# Looking


async def test_metrics_come_from_the_head(manager: StateManager) -> None:
    await completed(manager)
    metrics = await manager.get_session_metrics("s")
    assert (metrics.status, metrics.steps_completed, metrics.branches) == ("completed", 1, 1)
    assert metrics.events == (await manager.get_head("s")).last_seq
    await manager.create_session("t")
    total = await manager.get_storage_metrics()
    assert (total.total_sessions, total.active_sessions) == (2, 1)
    assert total.by_status == {"completed": 1, "pending": 1}


async def test_sessions_are_listed_by_conditions(manager: StateManager) -> None:
    await manager.create_session("a", tags=["x"])
    await manager.create_session("b")
    assert [h.session_id for h in await manager.list_sessions(tag="x")] == ["a"]
    assert [h.session_id for h in await manager.list_sessions(HeadQuery(sort="session_id"))] == ["a", "b"]
    with pytest.raises(InvalidValue, match="Cannot sort"):
        await manager.list_sessions(sort="colour")


async def test_the_state_at_an_earlier_event(manager: StateManager) -> None:
    await completed(manager)
    assert (await manager.get_session_state("s", 1)).status == SessionStatus.PENDING
    with pytest.raises(InvalidValue, match="events 1 to"):
        await manager.get_session_state("s", 99)


# Configuration


async def test_short_options_win_over_the_configuration(store: StorageBackend) -> None:
    manager = StateManager(store, auto_save_interval=7, compression=False, config=StateManagerConfig())
    assert manager.config.auto_save_interval == 7
    assert manager.config.compression_enabled is False
    with pytest.raises(ConfigurationError):
        StateManager(store, auto_save_interval=-1)


async def test_an_encrypted_session_cannot_be_read_without_its_key(store: StorageBackend) -> None:
    key = new_encryption_key()
    await completed(StateManager(store, encryption_key=key))
    assert (await StateManager(store, encryption_key=key).get_session_state("s")).context == {"a": 1}
    with pytest.raises(EncryptionKeyError):
        await StateManager(store).get_session_state("s")
    assert (await StateManager(store).get_head("s")).status == SessionStatus.COMPLETED


async def test_a_manager_can_be_closed_and_used_again(manager: StateManager) -> None:
    await completed(manager)
    await manager.close()
    assert (await manager.get_head("s")).status == SessionStatus.COMPLETED


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
