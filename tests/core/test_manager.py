"""What people and programs ask of a session that they do not hold."""

from __future__ import annotations

import pytest

from state_core import (
    HeadQuery,
    Message,
    SessionState,
    SessionStatus,
    StateManager,
    StateManagerConfig,
    StorageBackend,
    new_encryption_key,
)
from state_core.exceptions import (
    CheckpointNotFound,
    ConfigurationError,
    ConflictError,
    EncryptionKeyError,
    InvalidId,
    InvalidValue,
    LeaseHeld,
    QuestionNotFound,
    SessionExists,
    SessionNotFound,
)
from tests.core.conftest import completed

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
