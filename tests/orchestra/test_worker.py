from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from state_core import SessionStatus, StateManager, StorageBackend
from state_core.exceptions import StorageUnavailable
from state_core.orchestra import Again, Node, OrchestraInstance, OrchestraWorker, Topology
from state_core.storage.base import HeadQuery
from tests.orchestra.conftest import eventually, reaches

TOPOLOGY = Topology([Node("n", ["A"])], name="flow")
S = {"session_id": "s"}


@asynccontextmanager
async def at_work(worker: OrchestraWorker) -> AsyncIterator[None]:
    running = asyncio.create_task(worker.run())
    try:
        yield
    finally:
        worker.stop()
        await running


def worker_of(manager: StateManager, agents: dict[str, Any], **options: Any) -> OrchestraWorker:
    return OrchestraWorker(manager, agents, **{"poll": 0.02, **options})


async def test_a_submitted_session_is_taken_up(manager: StateManager, elsewhere: StateManager) -> None:
    session_id = await OrchestraInstance(TOPOLOGY, manager, {"A": str}).submit("task", S)
    async with at_work(worker_of(elsewhere, {"A": lambda request: f"did {request}"})):
        await reaches(manager, session_id, SessionStatus.COMPLETED)
    state = await manager.get_session_state("s")
    assert state.intermediate_results["final_response"] == "did task"


async def test_a_resume_from_the_dashboard_is_taken_up(
    manager: StateManager, elsewhere: StateManager
) -> None:
    async def pause_first(request: Any, context: Any) -> Any:
        if request == "task":
            await context.request_pause()
            return Again("again")
        return context["note"]

    await OrchestraInstance(TOPOLOGY, manager, {"A": pause_first}).execute("task", S)
    async with at_work(worker_of(elsewhere, {"A": pause_first})):
        await asyncio.sleep(0.1)
        assert (await manager.get_head("s")).status == SessionStatus.PAUSED
        await manager.resume_execution("s", {"note": "go on"}, actor="ann")
        await reaches(manager, "s", SessionStatus.COMPLETED)
    assert (await manager.get_session_state("s")).intermediate_results["final_response"] == "go on"


async def test_a_session_whose_agents_are_unknown_is_left_to_others(manager: StateManager) -> None:
    await OrchestraInstance(TOPOLOGY, manager, {"A": str}).submit("task", S)
    await manager.create_session("bare")
    async with at_work(worker_of(manager, {"B": str})):
        await asyncio.sleep(0.2)
    assert (await manager.get_head("s")).status == SessionStatus.PENDING
    assert (await manager.get_head("bare")).status == SessionStatus.PENDING


async def test_a_pending_session_without_a_topology_gets_that_of_its_workflow(manager: StateManager) -> None:
    await manager.create_session("s", workflow="flow")
    async with at_work(worker_of(manager, {"A": str}, topologies={"flow": TOPOLOGY})):
        await reaches(manager, "s", SessionStatus.COMPLETED)


@pytest.mark.parametrize("moved_on", [SessionStatus.PAUSED, SessionStatus.FAILED])
async def test_a_session_that_was_taken_and_left_meanwhile_is_not_taken_again(
    moved_on: SessionStatus, manager: StateManager, elsewhere: StateManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker looked while it was pending. Nobody asked since that it be resumed."""
    runs = []

    async def stop(request: Any, context: Any) -> Any:
        runs.append(context.step_id)
        if moved_on == SessionStatus.FAILED:
            raise ValueError("no good")
        await context.request_pause()
        return Again()

    orchestra = OrchestraInstance(TOPOLOGY, elsewhere, {"A": stop})
    await orchestra.submit("t", S)
    seen = [await manager.storage.heads(HeadQuery())]
    looked_again = asyncio.Event()

    async def heads(query: HeadQuery) -> Any:
        if SessionStatus.PENDING not in query.statuses or query.after:
            return []
        if seen:
            return seen.pop()
        looked_again.set()
        return []

    with suppress(ValueError):
        await orchestra.resume_session("s")
    monkeypatch.setattr(manager.storage, "heads", heads)
    worker = worker_of(manager, {"A": stop})

    async def is_done() -> bool:
        return looked_again.is_set() and not worker.session_ids

    async with at_work(worker):
        await eventually(is_done)
    assert (await manager.get_head("s")).status == moved_on
    assert runs == ["n:1"]


async def test_two_workers_share_sessions_and_run_each_once(
    manager: StateManager, elsewhere: StateManager
) -> None:
    runs: Counter[str] = Counter()

    async def work(request: Any, context: Any) -> None:
        runs[context.session_id] += 1
        await asyncio.sleep(0.01)

    orchestra = OrchestraInstance(TOPOLOGY, manager, {"A": work})
    ids = [await orchestra.submit("t", {"session_id": f"s{number}"}) for number in range(20)]
    async with at_work(worker_of(manager, {"A": work})), at_work(worker_of(elsewhere, {"A": work})):
        for session_id in ids:
            await reaches(manager, session_id, SessionStatus.COMPLETED)
    assert runs == Counter(ids)


async def test_no_more_sessions_at_once_than_allowed(manager: StateManager) -> None:
    at_once, most = 0, 0

    async def work(request: Any) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.02)
        at_once -= 1

    orchestra = OrchestraInstance(TOPOLOGY, manager, {"A": work})
    ids = [await orchestra.submit("t", {"session_id": f"s{number}"}) for number in range(6)]
    async with at_work(worker_of(manager, {"A": work}, concurrency=2)):
        for session_id in ids:
            await reaches(manager, session_id, SessionStatus.COMPLETED)
    assert most == 2


async def test_a_failing_session_fails_once_and_the_worker_lives(
    manager: StateManager, caplog: pytest.LogCaptureFixture
) -> None:
    runs = []

    async def fail(request: Any) -> None:
        runs.append(1)
        raise ValueError("no good")

    await OrchestraInstance(TOPOLOGY, manager, {"A": fail}).submit("t", S)
    async with at_work(worker_of(manager, {"A": fail})):
        await reaches(manager, "s", SessionStatus.FAILED)
        await asyncio.sleep(0.1)
    assert runs == [1]
    assert "Session s failed" in caplog.text


def hanging(began: asyncio.Event) -> Callable[..., Any]:
    async def hang(request: Any) -> None:
        began.set()
        await asyncio.sleep(3600)

    return hang


async def test_a_stopped_worker_leaves_its_sessions_interrupted(manager: StateManager) -> None:
    began = asyncio.Event()
    await OrchestraInstance(TOPOLOGY, manager, {"A": str}).submit("t", S)
    async with at_work(worker_of(manager, {"A": hanging(began)})):
        await began.wait()
    assert (await manager.get_head("s")).status == SessionStatus.INTERRUPTED
    async with at_work(worker_of(manager, {"A": str})):
        await reaches(manager, "s", SessionStatus.COMPLETED)


async def test_a_signal_stops_a_worker_cleanly(manager: StateManager) -> None:
    began = asyncio.Event()
    await OrchestraInstance(TOPOLOGY, manager, {"A": str}).submit("t", S)
    running = asyncio.create_task(worker_of(manager, {"A": hanging(began)}).run_until_signal())
    await began.wait()
    os.kill(os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(30):
        await running
    assert (await manager.get_head("s")).status == SessionStatus.INTERRUPTED


async def test_a_session_that_kills_its_worker_is_not_taken_up_for_ever(
    manager: StateManager, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    await OrchestraInstance(TOPOLOGY, manager, {"A": str}).submit("t", S)
    for _ in range(3):
        began = asyncio.Event()
        async with at_work(worker_of(manager, {"A": hanging(began)}, max_recoveries=2)):
            await began.wait()
    async with at_work(worker_of(manager, {"A": str}, max_recoveries=2)):
        await asyncio.sleep(0.2)
        assert (await manager.get_head("s")).status == SessionStatus.INTERRUPTED
        assert caplog.text.count("it waits for a person") == 1
        await manager.resume_execution("s", actor="ann")
        await reaches(manager, "s", SessionStatus.COMPLETED)


async def test_a_session_that_gets_on_is_taken_up_as_often_as_needed(manager: StateManager) -> None:
    async def step_and_hang(request: Any, context: Any) -> Any:
        number = request if isinstance(request, int) else 0
        if context.attempt == 1 and number:
            reached.set()
            await asyncio.sleep(3600)
        return Again(number + 1) if number < 4 else "done"

    await OrchestraInstance(TOPOLOGY, manager, {"A": str}).submit("t", S)
    for _ in range(4):
        reached = asyncio.Event()
        async with at_work(worker_of(manager, {"A": step_and_hang}, max_recoveries=1)):
            await reached.wait()
    async with at_work(worker_of(manager, {"A": step_and_hang}, max_recoveries=1)):
        await reaches(manager, "s", SessionStatus.COMPLETED)


async def test_foreign_sessions_do_not_starve_ours(manager: StateManager) -> None:
    for number in range(130):
        await manager.create_session(f"foreign-{number}")
    await OrchestraInstance(TOPOLOGY, manager, {"A": str}).submit("t", S)
    async with at_work(worker_of(manager, {"A": str})):
        await reaches(manager, "s", SessionStatus.COMPLETED)


async def test_an_execution_that_is_about_to_start_is_not_taken_from_it(
    manager: StateManager, store: StorageBackend
) -> None:
    async with at_work(worker_of(manager, {"A": str}, poll=0.001, topologies={"flow": TOPOLOGY})):
        for number in range(20):
            result = await OrchestraInstance(TOPOLOGY, manager, {"A": str}).execute(
                "t", {"session_id": f"s{number}"}
            )
            assert result.success


async def test_a_worker_outlives_an_outage(
    manager: StateManager, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await OrchestraInstance(TOPOLOGY, manager, {"A": str}).submit("t", S)
    heads, outages = manager.storage.heads, []

    async def unreachable(query: Any) -> Any:
        if len(outages) < 3:
            outages.append(query)
            raise StorageUnavailable("The store cannot be reached.")
        return await heads(query)

    monkeypatch.setattr(manager.storage, "heads", unreachable)
    async with at_work(worker_of(manager, {"A": str})):
        await eventually(lambda: _is_completed(manager))
    assert caplog.text.count("Trying again") == 3


async def _is_completed(manager: StateManager) -> bool:
    return (await manager.get_head("s")).status == SessionStatus.COMPLETED
