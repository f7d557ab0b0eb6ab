"""Killed in the middle, continued by another process: what was completed is not executed again (P8)."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from state_core import (
    DatabaseStorageBackend,
    OrchestraInstance,
    OrchestraWorker,
    SessionStatus,
    StateManager,
    StepStatus,
)
from state_core.exceptions import LeaseHeld
from tests.orchestra.conftest import eventually, reaches
from tests.orchestra.crashing import CONFIG, TOPOLOGY, Work

ROOT = Path(__file__).parents[2]


@pytest.fixture
async def manager(store_url: str) -> AsyncIterator[StateManager]:
    manager = StateManager(DatabaseStorageBackend(store_url), config=CONFIG)
    yield manager
    await manager.close()


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work(tmp_path / "journal")


def executions(work: Work) -> Counter[str]:
    return Counter(line.split()[0] for line in work.journal.read_text().splitlines())


@pytest.fixture
async def killed(store_url: str, manager: StateManager, work: Work) -> set[str]:
    """A process ran the session and was killed in the middle; the steps that it had completed."""
    environment = {k: v for k, v in os.environ.items() if k != "DJANGO_SETTINGS_MODULE"}
    program = (sys.executable, "-m", "tests.orchestra.crashing", store_url, str(work.journal))
    process = await asyncio.create_subprocess_exec(*program, cwd=ROOT, env=environment)

    async def is_in_the_middle() -> bool:
        assert process.returncode is None, "it ended by itself"
        return (await manager.get_head("s")).counts["steps_completed"] == 4

    try:
        await eventually(is_in_the_middle, within=60)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
        await process.wait()
    work.gate.touch()
    steps = [step for branch in (await manager.get_session_state("s")).branches for step in branch.steps]
    return {step.step_id for step in steps if step.status == StepStatus.COMPLETED}


async def assert_nothing_was_repeated(manager: StateManager, work: Work, completed: set[str]) -> None:
    state = await manager.get_session_state("s")
    assert state.status == SessionStatus.COMPLETED
    assert state.intermediate_results["final_response"] == {"analyse.Splitter": 60, "analyse.Counter": 3}
    counted = executions(work)
    assert len(completed) == 4
    assert {step: counted[step] for step in completed} == dict.fromkeys(completed, 1)
    assert counted["analyse.Splitter:1"] == 2
    assert state.branch("analyse.Splitter").steps[0].attempt == 2
    assert len(counted) == 9
    assert len(state.branches) == 7


async def test_another_process_goes_on_where_a_killed_one_was(
    killed: set[str], manager: StateManager, work: Work
) -> None:
    orchestra = OrchestraInstance(TOPOLOGY, manager, work.agents)
    with pytest.raises(LeaseHeld):
        await orchestra.resume_session("s")

    async def is_interrupted() -> bool:
        return "s" in await manager.interrupt_expired()

    await eventually(is_interrupted)
    assert (await manager.get_head("s")).status == SessionStatus.INTERRUPTED
    await orchestra.resume_session("s")
    await assert_nothing_was_repeated(manager, work, killed)


async def test_a_worker_finds_what_a_killed_process_left(
    killed: set[str], manager: StateManager, work: Work
) -> None:
    worker = OrchestraWorker(manager, work.agents, poll=0.1)
    running = asyncio.create_task(worker.run())
    await reaches(manager, "s", SessionStatus.COMPLETED)
    worker.stop()
    await running
    await assert_nothing_was_repeated(manager, work, killed)
