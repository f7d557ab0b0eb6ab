"""Going back to checkpoints, forking, and deleting."""

from __future__ import annotations

import pytest

from state_core import (
    CheckpointKind,
    SessionStatus,
    StateManager,
)
from state_core.exceptions import (
    LeaseHeld,
    SessionNotFound,
)
from tests.core.conftest import completed


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
    head = await manager.get_head(new)
    assert head.origin.startswith("s@")
    assert head.worked == ["A"]


async def test_a_fork_tells_of_no_agent_that_began_after_its_place(manager: StateManager) -> None:
    await completed(manager)
    place = await manager.create_checkpoint("s", "A has worked")
    await manager.restore_checkpoint(place)
    async with manager.session("s") as session:
        branch = await session.open_branch("c")
        async with branch.step("Later"):
            pass
    await manager.restore_checkpoint(place)
    assert (await manager.get_head("s")).worked == ["A", "Later"]
    assert (await manager.get_head(await manager.fork_session("s"))).worked == ["A"]


async def test_a_session_that_is_held_is_not_deleted(manager: StateManager) -> None:
    async with manager.session("s"):
        with pytest.raises(LeaseHeld):
            await manager.delete_session("s")
    await manager.delete_session("s")
    with pytest.raises(SessionNotFound):
        await manager.get_head("s")
