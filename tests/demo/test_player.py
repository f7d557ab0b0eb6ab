"""The demonstration's workflows, played at full speed; and the player's keeping of order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from state_core import (
    CheckpointKind,
    Head,
    MemoryStorageBackend,
    OrchestraInstance,
    SessionState,
    SessionStatus,
    StateManager,
)
from state_core.demo import inventory
from state_core.demo.player import TAG, Player
from state_core.demo.sources import standard_modules
from state_core.demo.workflows import WORKFLOWS

pytestmark = pytest.mark.filterwarnings("ignore::SyntaxWarning", "ignore::DeprecationWarning")


@pytest.fixture
def storage() -> MemoryStorageBackend:
    return MemoryStorageBackend()


@pytest.fixture
def manager(storage: MemoryStorageBackend) -> StateManager:
    return StateManager(storage)


@pytest.fixture
def few_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """The long workflow, made short."""
    modules = [path for path in standard_modules() if path.stat().st_size < 5_000][:8]
    monkeypatch.setattr(inventory, "standard_modules", lambda: modules)


async def play(storage: MemoryStorageBackend, name: str) -> Head:
    (head,) = await Player(storage, [WORKFLOWS[name]], pace=0).play_once()
    return head


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await condition():
            await asyncio.sleep(0.02)


def said(state: SessionState, branch_id: str) -> str:
    branch = state.branch(branch_id)
    assert branch
    return " ".join(str(message.content) for message in branch.memory)


async def test_the_survey_reads_packages_in_branches_and_reports(
    storage: MemoryStorageBackend, manager: StateManager
) -> None:
    head = await play(storage, "survey")
    assert (head.status, head.tags, head.workflow) == ("completed", [TAG], "package survey")
    state = await manager.get_session_state(head.session_id)
    nested = [branch for branch in state.branches if branch.branch_type == "nested"]
    assert len(nested) == 6
    assert all([step.agent for step in branch.steps] == ["Reader", "Counter", "Critic"] for branch in nested)
    report = state.intermediate_results["final_response"]
    assert report.startswith("6 packages, ")
    read = sum(branch.steps[-1].output["lines"] for branch in nested)
    assert f" {read} lines read." in report


async def test_the_closer_look_waits_for_a_person_and_examines_what_they_chose(
    storage: MemoryStorageBackend, manager: StateManager
) -> None:
    head = await play(storage, "closer-look")
    assert head.status == SessionStatus.WAITING or head.counts["questions"] == 1
    (question,) = (await manager.get_session_state(head.session_id)).questions
    assert question.choices and len(question.choices) == 3
    await manager.answer(head.session_id, question.question_id, question.choices[1], actor="a visitor")
    workflow = WORKFLOWS["closer-look"]
    result = await OrchestraInstance(workflow.topology, manager, workflow.agents).resume_session(
        head.session_id
    )
    assert result.status == SessionStatus.COMPLETED
    assert question.choices[1] in result.final_response


async def test_the_recovery_fails_on_real_conditions_and_ends_well(
    storage: MemoryStorageBackend, manager: StateManager
) -> None:
    head = await play(storage, "recovery")
    assert head.status == SessionStatus.COMPLETED
    state = await manager.get_session_state(head.session_id)
    templates, census, compiled = (state.branch(name) for name in ("templates", "census", "compiled"))
    assert templates and templates.steps[0].attempt == 2
    assert census and census.steps[0].attempt >= 2
    assert compiled and compiled.status == "failed"
    assert "null bytes" in (compiled.error or "")
    retried = await manager.log.read(head.session_id, kinds=["step.retried"])
    errors = " ".join(event.data.get("error", "") for event in retried)
    assert "SyntaxError" in errors
    assert "StepTimeout" in errors
    assert [c.kind for c in state.checkpoints] == [CheckpointKind.ERROR]
    assert "The compiled module could not be read" in state.intermediate_results["final_response"]


async def test_the_inventory_takes_a_step_for_each_module_and_checkpoints(
    storage: MemoryStorageBackend, manager: StateManager, few_modules: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inventory, "NAMED_EVERY", 1)
    head = await play(storage, "inventory")
    state = await manager.get_session_state(head.session_id)
    lanes = [branch for branch in state.branches if branch.branch_type == "nested"]
    assert [len(branch.steps) for branch in lanes] == [2, 2, 2, 2]
    assert state.intermediate_results["final_response"].startswith("8 modules, ")
    kinds = {place.kind for place in state.checkpoints}
    assert {CheckpointKind.MANUAL, CheckpointKind.COMPLETION} <= kinds


async def test_a_session_paused_from_outside_is_resumed_by_the_player(
    storage: MemoryStorageBackend, manager: StateManager, few_modules: None
) -> None:
    player = Player(storage, [WORKFLOWS["inventory"]], pace=0.2)
    playing = asyncio.create_task(player.play())

    async def steps() -> bool:
        return bool(player.session_ids) and (
            (await manager.get_head(player.session_ids[0])).counts["steps_completed"] > 2
        )

    async def has(status: SessionStatus) -> bool:
        return (await manager.get_head(player.session_ids[0])).status == status

    await until(steps)
    session_id = player.session_ids[0]
    await manager.pause_execution(session_id, reason="let me see")
    await until(lambda: has(SessionStatus.PAUSED))
    await manager.resume_execution(session_id, {"pace": 0})
    await until(lambda: has(SessionStatus.COMPLETED))
    player.stop()
    await playing


async def test_what_was_under_way_when_the_player_stopped_is_interrupted(
    storage: MemoryStorageBackend, manager: StateManager, few_modules: None
) -> None:
    player = Player(storage, [WORKFLOWS["inventory"]], pace=5)
    playing = asyncio.create_task(player.play())

    async def is_running() -> bool:
        return bool(player.session_ids) and (
            (await manager.get_head(player.session_ids[0])).status == SessionStatus.RUNNING
        )

    await until(is_running)
    player.stop()
    await playing
    assert (await manager.get_head(player.session_ids[0])).status == SessionStatus.INTERRUPTED


async def test_one_session_of_a_workflow_runs_at_a_time_and_paused_ones_are_left_alone(
    storage: MemoryStorageBackend, manager: StateManager, few_modules: None
) -> None:
    first, second = (Player(storage, [WORKFLOWS["inventory"]], pace=0) for _ in range(2))
    await manager.create_session("inventory-old", workflow="library inventory", tags=[TAG])
    await first._look()
    assert first.session_ids == []
    await manager.pause_execution("inventory-old")
    await second._look()
    assert len(second.session_ids) == 1


async def test_the_oldest_of_its_own_ended_sessions_go_and_nobody_elses(
    storage: MemoryStorageBackend, manager: StateManager
) -> None:
    for number in range(4):
        async with manager.session(f"demo-{number}", tags=[TAG]):
            pass
    async with manager.session("mine"):
        pass
    player = Player(storage, [], keep=2)
    await player._look()
    left = {head.session_id for head in await manager.list_sessions()}
    assert left == {"demo-2", "demo-3", "mine"}
