"""The ten defects of MARSYS 0.2.1's own state management, none of which ours has."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from pathlib import Path

import pytest
from marsys.agents.exceptions import CheckpointError, SessionNotFoundError
from marsys.coordination.branches.types import (
    BranchResult,
    BranchState,
    BranchStatus,
    BranchTopology,
    BranchType,
    ConversationPattern,
    ExecutionBranch,
    StepResult,
)
from marsys.coordination.state import CheckpointManager, StateManager, StorageBackend

from state_core.adapters.marsys import MarsysCheckpointManager, MarsysStateManager, MarsysStorageBackend
from state_core.exceptions import DamagedError, InvalidValue
from state_core.storage import from_url

MEMORY = {"Writer": [{"role": "user", "content": "Write."}, {"role": "assistant", "content": "Done."}]}


def a_state(**metadata):
    branch = ExecutionBranch(
        id="main",
        name="Main: Writer",
        type=BranchType.CONVERSATION,
        topology=BranchTopology(
            agents=["Writer", "Editor"],
            entry_agent="Writer",
            current_agent="Editor",
            conversation_pattern=ConversationPattern.DEBATE,
        ),
        state=BranchState(
            status=BranchStatus.RUNNING,
            current_step=2,
            start_time=time.time(),
            memory=MEMORY,
            completed_agents={"Writer"},
        ),
        metadata={"initial_task": "Write."},
    )
    done = BranchResult(
        branch_id="side",
        success=True,
        final_response={"text": "Done."},
        total_steps=1,
        execution_trace=[StepResult(agent_name="Writer", success=True, response="Done.")],
        branch_memory=MEMORY,
    )
    side = ExecutionBranch(id="side", name="Side", parent_branch="main")
    return {
        "branches": {"main": branch, "side": side},
        "active_branches": {"main"},
        "completed_branches": {"side"},
        "waiting_branches": {"main": {"side"}},
        "branch_results": {"side": done},
        "parent_child_map": {"main": ["side"]},
        "child_parent_map": {"side": "main"},
        "metadata": {"total_steps": 3, **metadata},
    }


async def check_1_memory_and_conversation_pattern_come_back(marsys):
    state = a_state()
    await marsys.save_session("s", state)
    loaded = await marsys.load_session("s")
    branch = loaded["branches"]["main"]
    assert branch.state.memory == MEMORY
    assert branch.topology.conversation_pattern == ConversationPattern.DEBATE
    assert branch.state == state["branches"]["main"].state
    assert branch.topology == state["branches"]["main"].topology
    assert loaded["branch_results"] == state["branch_results"]
    for name in ("active_branches", "completed_branches", "waiting_branches", "child_parent_map"):
        assert loaded[name] == state[name]


async def check_2_two_checkpoints_of_one_name_in_one_second_are_two(marsys):
    await marsys.save_session("s", a_state(turn=1))
    first = await marsys.create_checkpoint("s", "here")
    await marsys.save_session("s", a_state(turn=2))
    second = await marsys.create_checkpoint("s", "here")
    assert first != second
    assert (await marsys.restore_checkpoint(first))["metadata"]["turn"] == 1
    assert (await marsys.restore_checkpoint(second))["metadata"]["turn"] == 2


@pytest.mark.parametrize("kind", [MarsysCheckpointManager, CheckpointManager])
async def check_3_the_checkpoint_manager_restores(marsys, kind):
    manager = kind(marsys)
    await marsys.save_session("s", a_state(turn=1))
    checkpoint = await manager.create_checkpoint("s", "here")
    await marsys.save_session("s", a_state(turn=2))
    await manager.restore_checkpoint(checkpoint.checkpoint_id)
    loaded = await marsys.load_session("s")
    assert loaded["metadata"]["turn"] == 1
    assert loaded["branches"]["main"].state.memory == MEMORY


async def check_3b_a_restore_can_be_undone_and_a_rollback_says_so(marsys, ours):
    manager = MarsysCheckpointManager(marsys)
    await marsys.save_session("s", a_state(turn=1))
    checkpoint = await manager.create_checkpoint("s", "here")
    await marsys.save_session("s", a_state(turn=2))
    await manager.rollback_to_checkpoint(checkpoint.checkpoint_id)
    assert (await marsys.load_session("s"))["metadata"]["rollback_from"] == checkpoint.checkpoint_id
    before = next(place for place in await ours.list_checkpoints("s") if place.kind == "pre_restore")
    await ours.restore_checkpoint(before.id)
    assert (await marsys.load_session("s"))["metadata"]["turn"] == 2


async def check_4_retention_deletes_automatic_checkpoints(marsys):
    manager = MarsysCheckpointManager(marsys, max_checkpoints_per_session=10)
    await marsys.save_session("s", a_state())
    await manager.create_checkpoint("s", "mine")
    for number in range(15):
        await manager.create_checkpoint("s", f"auto_{number}", auto=True)
    names = [one.name for one in await manager.list_checkpoints("s")]
    assert names == [f"auto_{number}" for number in range(14, 5, -1)] + ["mine"]


async def check_4b_a_critical_checkpoint_stays(marsys):
    manager = MarsysCheckpointManager(marsys)
    await manager.create_critical_checkpoint("s", "deploy", a_state())
    await manager.create_checkpoint("s", "other")
    assert await manager.cleanup_old_checkpoints(older_than_hours=0) == 1
    assert [one.name for one in await manager.list_checkpoints("s")] == ["critical_deploy"]


async def check_5_checkpoints_of_a_session_whose_id_begins_alike_are_not_listed(marsys):
    manager = MarsysCheckpointManager(marsys)
    for session_id in ("s", "s_t"):
        await marsys.save_session(session_id, a_state())
        await manager.create_checkpoint(session_id, f"of {session_id}")
    assert [one.name for one in await manager.list_checkpoints("s")] == ["of s"]
    assert [one.name for one in await manager.list_checkpoints("s_t")] == ["of s_t"]


async def check_6_a_torn_file_is_damage_and_not_a_session_that_never_was(tmp_path):
    marsys = MarsysStateManager(f"file:{tmp_path}/state")
    await marsys.save_session("s", a_state())
    log = max((tmp_path / "state").rglob("*.state*"), key=lambda path: path.stat().st_size * path.is_file())
    content = log.read_bytes()
    half = len(content) // 2
    log.write_bytes(content[:half] + b"#" * 40 + content[half + 40 :])
    with pytest.raises(DamagedError):
        await MarsysStateManager(f"file:{tmp_path}/state").load_session("s")
    assert await marsys.load_session("never") is None


async def check_7_no_part_can_be_changed_unseen(tmp_path):
    url = f"sqlite:///{tmp_path}/state.sqlite3"
    store = from_url(url)
    await MarsysStateManager(store).save_session("s", a_state(note="paid"))
    await store.close()
    with sqlite3.connect(tmp_path / "state.sqlite3") as database:
        rows = database.execute("SELECT id, body FROM marsys_state_event").fetchall()
        for row_id, body in rows:
            flipped = bytes(body[:-3]) + bytes([body[-3] ^ 1]) + bytes(body[-2:]) if body else body
            database.execute("UPDATE marsys_state_event SET body = ? WHERE id = ?", [flipped, row_id])
    database.close()
    again = from_url(url)
    with pytest.raises(DamagedError):
        await MarsysStateManager(again).load_session("s")
    await again.close()


async def check_8_a_resume_is_written_back_and_seen_by_others(marsys, store, ours):
    await marsys.pause_execution("s", a_state())
    assert (await ours.get_head("s")).status == "paused"
    state = await marsys.resume_execution("s")
    assert state["metadata"]["paused"] is False
    assert (await MarsysStateManager(store).load_session("s"))["metadata"]["paused"] is False
    assert (await ours.get_head("s")).status == "running"
    assert [one["paused"] for one in await marsys.list_sessions()] == [False]


async def check_9_a_key_never_leaves_its_store(marsys, tmp_path):
    backend = marsys.storage
    before = set(Path(tmp_path.parent).rglob("*escape*"))
    for key in ("../escape", "session_../../escape", "session_a b/ü", "checkpoint_../escape_x_1"):
        await backend.save(key, {"key": key})
        assert await backend.load(key) == {"key": key}
    assert set(Path(tmp_path.parent).rglob("*escape*")) == before
    assert "session_../../escape" in await backend.list_keys("session_")


async def check_10_what_cannot_be_stored_is_an_error_and_nothing_is_half_written(marsys):
    await marsys.save_session("s", a_state(turn=1))
    with pytest.raises(InvalidValue, match=r"metadata\['socket'\] is a object"):
        await marsys.save_session("s", a_state(turn=2, socket=object()))
    assert (await marsys.load_session("s"))["metadata"]["turn"] == 1
    with pytest.raises(InvalidValue):
        await marsys.storage.save("x", {"thing": object()})


async def check_its_own_managers_work_on_our_storage(store):
    backend = MarsysStorageBackend(store)
    assert isinstance(backend, StorageBackend)
    manager = StateManager(backend)
    await manager.save_session("s", a_state())
    checkpoint = await manager.create_checkpoint("s", "here")
    assert checkpoint in await backend.list_keys("checkpoint_s_")
    assert (await manager.restore_checkpoint(checkpoint))["metadata"]["checkpoint_name"] == "here"
    assert [one.name for one in await CheckpointManager(manager).list_checkpoints("s")] == ["here"]
    assert await backend.exists("session_s")
    await manager.delete_session("s")
    assert await backend.list_keys() == []


async def check_what_is_not_there_is_its_own_error(marsys):
    assert await marsys.load_session("nobody") is None
    with pytest.raises(SessionNotFoundError):
        await marsys.create_checkpoint("nobody", "x")
    with pytest.raises(SessionNotFoundError):
        await marsys.resume_execution("nobody")
    with pytest.raises(CheckpointError):
        await marsys.restore_checkpoint("checkpoint_nobody_x_1")
    await marsys.delete_session("nobody")


async def check_a_save_writes_only_what_changed(marsys, ours):
    state = a_state()
    state["metadata"]["blob"] = [f"{number:064d}" for number in range(4000)]
    await marsys.save_session("s", state)
    before = (await ours.get_head("s")).counts["stored_bytes"]
    state["metadata"]["total_steps"] = 4
    await marsys.save_session("s", state)
    assert (await ours.get_head("s")).counts["stored_bytes"] - before < 2000


async def check_two_at_once_both_stay(store):
    managers = [MarsysStateManager(store) for _ in range(4)]
    await managers[0].save_session("s", a_state())
    await asyncio.gather(*(one.save_session("s", a_state(by=n)) for n, one in enumerate(managers)))
    await asyncio.gather(*(one.save_session(f"s{n}", a_state(by=n)) for n, one in enumerate(managers)))
    assert (await managers[0].load_session("s"))["metadata"]["by"] in range(4)
    assert len(await managers[0].list_sessions()) == 5


async def check_the_outline_of_a_saved_state_is_in_the_dashboard(marsys, ours):
    await marsys.save_session("s", a_state())
    state = await ours.get_session_state("s")
    assert [(b.name, b.status) for b in state.branches] == [
        ("Main: Writer", "running"),
        ("Side", "completed"),
    ]
    assert [step.agent for step in state.branches[1].steps] == ["Writer"]
    assert state.branches[1].parent_id == "main"
    before = (await ours.get_head("s")).last_seq
    await marsys.save_session("s", a_state())
    assert (await ours.get_head("s")).last_seq <= before + 1
