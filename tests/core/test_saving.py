"""Saving whole states: only what differs is written, and what is read back is what was saved."""

from copy import deepcopy

import pytest

from state_core import (
    BranchState,
    BranchStatus,
    MemoryStorageBackend,
    Message,
    SessionState,
    SessionStatus,
    StateManager,
    StepState,
    StepStatus,
)
from state_core.exceptions import ConflictError, InvalidId, InvalidValue, LeaseHeld

LOG_FIELDS = ("seq", "created_at", "updated_at", "checkpoint_ids", "checkpoints")


def content(state: SessionState) -> dict:
    return {name: value for name, value in vars(state).items() if name not in LOG_FIELDS}


def a_state(session_id: str = "s") -> SessionState:
    steps = [
        StepState("b:1", agent="A", status=StepStatus.COMPLETED, input=1, output=2, duration=0.5),
        StepState("b:2", agent="A", status=StepStatus.FAILED, error="Traceback …", attempt=3),
        StepState("b:3", agent="B"),
    ]
    return SessionState(
        session_id,
        status=SessionStatus.RUNNING,
        branches=[
            BranchState("b", name="b", steps=steps, current_step_index=2, child_ids=["c"]),
            BranchState("c", name="c", parent_id="b", parent_ids=["b"], status=BranchStatus.COMPLETED),
        ],
        context={"topic": "quantum"},
        metadata={"owner": "ana"},
        agent_memories={"A": [Message("user", "hello")]},
        intermediate_results={"first": [1, 2]},
        total_steps=3,
        completed_steps=1,
        failed_steps=1,
    )


@pytest.fixture
def manager():
    return StateManager(MemoryStorageBackend())


async def test_a_state_of_a_new_session_is_saved_whole(manager):
    state = a_state()
    await manager.save_session_state("s", state)
    assert content(await manager.get_session_state("s")) == content(state)


async def test_what_was_saved_shows_in_the_head_and_the_outline(manager):
    await manager.save_session_state("s", a_state())
    head = await manager.get_head("s")
    assert head.status == "running"
    assert (head.counts["branches"], head.counts["steps"], head.counts["steps_failed"]) == (2, 3, 1)
    assert list((await manager.log.outline("s"))["branches"]) == ["b", "c"]


async def test_saving_the_same_state_again_writes_nothing(manager):
    await manager.save_session_state("s", a_state())
    state = await manager.get_session_state("s")
    assert await manager.save_session_state("s", state) == state.seq
    assert (await manager.get_head("s")).last_seq == state.seq


async def test_one_new_message_in_a_state_of_10_mb_costs_little(manager):
    state = a_state()
    state.branches[0].memory = [Message("user", f"{n} " + "x" * 10_000) for n in range(1_000)]
    await manager.save_session_state("s", state)
    before = (await manager.get_head("s")).counts["stored_bytes"]
    state = await manager.get_session_state("s")
    state.branches[0].memory.append(Message("assistant", "the newest"))
    await manager.save_session_state("s", state)
    assert (await manager.get_head("s")).counts["stored_bytes"] - before < 4096


@pytest.mark.parametrize(
    "edit",
    [
        lambda s: s.context.clear(),
        lambda s: s.metadata.update(deep={"a": [1, {"b": 2}]}),
        lambda s: s.branches.pop(),
        lambda s: s.branches[0].steps.pop(1),
        lambda s: setattr(s.branches[0].steps[2], "status", StepStatus.COMPLETED),
        lambda s: setattr(s.branches[0], "status", BranchStatus.PENDING),
        lambda s: setattr(s.branches[0], "metadata", {"k": "v"}),
        lambda s: s.agent_memories["A"].insert(0, Message("system", "first")),
        lambda s: s.agent_memories.clear(),
        lambda s: setattr(s, "status", SessionStatus.PAUSED),
        lambda s: setattr(s, "status", SessionStatus.FAILED),
        lambda s: setattr(s, "error", "it broke"),
        lambda s: s.intermediate_results["first"].append(3),
    ],
)
async def test_any_edit_comes_back_as_it_was_saved(manager, edit):
    await manager.save_session_state("s", a_state())
    state = await manager.get_session_state("s")
    edit(state)
    wanted = deepcopy(content(state))
    await manager.save_session_state("s", state)
    got = content(await manager.get_session_state("s"))
    for derived in ("total_steps", "completed_steps", "failed_steps"):
        wanted.pop(derived), got.pop(derived)
    for branch in (*wanted["branches"], *got["branches"]):
        branch.current_step_index = 0
    assert got == wanted


async def test_a_state_that_was_read_before_somebody_else_wrote_is_refused(manager):
    await manager.save_session_state("s", a_state())
    mine, theirs = await manager.get_session_state("s"), await manager.get_session_state("s")
    theirs.context["theirs"] = 1
    await manager.save_session_state("s", theirs)
    mine.context["mine"] = 1
    with pytest.raises(ConflictError, match="moved on"):
        await manager.save_session_state("s", mine)
    assert (await manager.get_session_state("s")).context == {"topic": "quantum", "theirs": 1}


async def test_a_session_that_somebody_runs_cannot_be_saved_by_hand(manager):
    async with manager.session("s") as session:
        state = session.state
        state.context["x"] = 1
        with pytest.raises(LeaseHeld, match="Pause it there first"):
            await manager.save_session_state("s", state)


async def test_bad_ids_and_values_are_refused_and_nothing_is_written(manager):
    with pytest.raises(InvalidId):
        await manager.save_session_state("../../x", a_state())
    state = a_state()
    state.context["bad"] = object()
    with pytest.raises(InvalidValue, match=r"\['context'\]\['bad'\]"):
        await manager.save_session_state("s", state)
    assert await manager.list_sessions() == []
