"""Folding a log: places, restores, snapshots, holes."""

from dataclasses import replace

import pytest

from state_core import MemoryStorageBackend, StateManager, snapshots
from state_core.events import Event
from state_core.exceptions import DamagedError, InvalidValue, SessionNotFound


@pytest.fixture
def manager():
    return StateManager(MemoryStorageBackend())


async def record(manager, session_id, steps, size=10):
    async with manager.session(session_id) as session:
        branch = await session.open_branch("b")
        for number in range(steps):
            async with branch.step("A", {"n": number}) as step:
                step.output = "x" * size
        await session.checkpoint("mark")
    return await manager.list_checkpoints(session_id)


async def test_the_state_at_a_place_is_the_state_that_was_there(manager):
    states = {}
    async with manager.session("s") as session:
        branch = await session.open_branch("b")
        for number in range(5):
            await session.set_context(n=number)
            async with branch.step("A", number) as step:
                step.output = number
            states[session.seq] = session.state
    for seq, state in states.items():
        assert await manager.get_session_state("s", seq) == state


async def test_a_place_that_is_not_there_is_an_error_that_names_those_that_are(manager):
    await record(manager, "s", 1)
    with pytest.raises(InvalidValue, match="events 1 to"):
        await manager.get_session_state("s", 99)
    with pytest.raises(SessionNotFound):
        await manager.get_session_state("nobody")


async def test_restores_of_restores_lead_to_the_right_state(manager):
    places = []
    async with manager.session("s") as session:
        for number in range(4):
            await session.set_context(n=number)
            places.append(await session.checkpoint(f"n{number}"))
    for number in (1, 3, 0, 2):
        restored = await manager.restore_checkpoint(places[number])
        assert restored.context == {"n": number}
    before = [c for c in await manager.list_checkpoints("s") if c.kind == "pre_restore"]
    assert [(await manager.get_checkpoint_state(c.id)).context["n"] for c in before] == [3, 1, 3, 0]


async def test_a_restore_can_be_undone(manager):
    [mark] = await record(manager, "s", 2)
    async with manager.session("fresh") as session:
        await session.set_context(a=1)
        first = await session.checkpoint("first")
        await session.set_context(a=2)
    await manager.restore_checkpoint(first)
    undo = (await manager.list_checkpoints("fresh"))[-1]
    state = await manager.restore_checkpoint(undo.id)
    assert state.context == {"a": 2}


async def test_heads_and_states_agree_after_a_restore(manager):
    [mark] = await record(manager, "s", 3)
    state = await manager.restore_checkpoint(mark.id)
    counts = (await manager.get_head("s")).counts
    assert (counts["steps"], counts["branches"]) == (state.total_steps, len(state.branches))
    assert counts["state_bytes"] == mark.size_bytes


async def test_a_snapshot_shortens_reading_and_changes_nothing(manager, monkeypatch):
    monkeypatch.setattr(snapshots, "FROM_BYTES", 5_000)
    await record(manager, "s", 60, size=400)
    state = await manager.get_session_state("s")
    await manager.log.flush()
    kept = await manager.storage.snapshot("s", at_or_before=state.seq)
    assert kept is not None
    manager.storage._sessions["s"].snapshots.clear()
    assert await manager.get_session_state("s") == state


async def test_a_damaged_snapshot_is_passed_over_with_a_warning(manager, caplog):
    await record(manager, "s", 5)
    state = await manager.get_session_state("s")
    manager.log.keep_snapshot(await manager.log.document("s"))
    await manager.log.flush()
    snapshots = manager.storage._sessions["s"].snapshots
    snapshots[state.seq] = replace(snapshots[state.seq], body=b"spoiled")
    assert await StateManager(manager.storage).get_session_state("s") == state
    assert "The log is read instead" in caplog.text


async def test_a_snapshot_of_a_line_that_was_left_is_not_used(manager, monkeypatch):
    monkeypatch.setattr(snapshots, "FROM_BYTES", 1)
    async with manager.session("s") as session:
        await session.set_context(kept=True)
        early = await session.checkpoint("early")
        for number in range(50):
            await session.set_context(left=number)
    await manager.get_session_state("s")
    await manager.log.flush()
    state = await manager.restore_checkpoint(early)
    assert state.context == {"kept": True}


async def test_an_outline_is_the_state_without_its_content(manager):
    await record(manager, "s", 3)
    outline, document = await manager.log.outline("s"), await manager.log.document("s")
    for step in document["branches"]["b"]["steps"].values():
        step["input"] = step["output"] = None
    assert outline == document


async def test_the_outline_of_a_fork_shows_what_was_forked(manager):
    [mark] = await record(manager, "s", 3)
    fork = await manager.fork_session("s", "f", checkpoint_id=mark.id)
    assert list((await manager.log.outline(fork))["branches"]["b"]["steps"]) == ["b:1", "b:2", "b:3"]
    assert (await manager.get_head(fork)).origin == f"s@{mark.seq}"


async def test_a_hole_in_the_log_is_damage_not_an_older_state(manager):
    await record(manager, "s", 3)
    del manager.storage._sessions["s"].events[4]
    with pytest.raises(DamagedError):
        await manager.get_session_state("s")


async def test_a_log_that_ends_early_is_damage(manager):
    await record(manager, "s", 3)
    del manager.storage._sessions["s"].events[-1]
    with pytest.raises(DamagedError, match="ends before"):
        await manager.get_session_state("s")


async def test_a_changed_event_is_damage(manager):
    await record(manager, "s", 3)
    events = manager.storage._sessions["s"].events
    events[3] = replace(events[3], body=events[3].body[:-1] + b"?")
    with pytest.raises(DamagedError, match="event 4"):
        await manager.get_session_state("s")


async def test_an_event_about_a_branch_that_is_not_there_is_damage(manager):
    await record(manager, "s", 1)
    await manager.log.append("s", [Event(kind="branch.completed", branch_id="ghost", status="completed")])
    with pytest.raises(DamagedError, match="not there"):
        await manager.get_session_state("s")
