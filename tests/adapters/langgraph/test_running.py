"""A graph that `run_session` or a worker drives takes every command, on the framework's own mechanisms."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.graph import START, StateGraph
from langgraph.types import interrupt

from state_core import StateManager, StorageBackend
from state_core.adapters.langgraph import GraphWorker, StateCoreSaver, run_session
from state_core.exceptions import ConfigurationError, SessionNotFound
from state_core.records import SessionState
from tests.adapters.langgraph.graphs import survey

FAST: dict[str, Any] = {"control_interval": 0.02}


@pytest.fixture
def manager(storage: StorageBackend) -> StateManager:
    from state_core import StateManagerConfig

    return StateManager(storage, config=StateManagerConfig(**FAST))


class Count(TypedDict, total=False):
    number: int
    ran: Annotated[list[str], lambda old, new: old + new]


def steps_of(state: SessionState) -> list[tuple[str | None, str]]:
    return [(step.agent, str(step.status)) for step in state.branches[0].steps]


async def until(condition: Callable[[], Any], seconds: float = 20.0) -> Any:
    async with asyncio.timeout(seconds):
        while not (found := await condition()):
            await asyncio.sleep(0.02)
    return found


async def status(manager: StateManager, session_id: str, *wanted: str) -> None:
    async def is_so() -> bool:
        with suppress(SessionNotFound):
            return (await manager.get_head(session_id)).status in wanted
        return False

    await until(is_so)


def gated(saver: StateCoreSaver) -> tuple[Any, dict[str, asyncio.Event]]:
    """Three nodes; each says that it began and waits until it may end."""
    gates = {name: asyncio.Event() for name in ("a", "b", "c")}
    builder = StateGraph(Count)

    def node(name: str) -> Any:
        async def run(state: Count) -> Count:
            await gates[name].wait()
            return {"number": state["number"] + 1, "ran": [name]}

        return run

    for name in gates:
        builder.add_node(name, node(name))
    builder.add_edge(START, "a")
    builder.add_edge("a", "b")
    builder.add_edge("b", "c")
    return builder.compile(checkpointer=saver, name="gated"), gates


async def let_it_stop(running: asyncio.Future[Any], gates: dict[str, asyncio.Event]) -> Any:
    """The run learns soon of what was asked, and stops at the superstep that comes next then."""
    for gate in gates.values():
        gate.set()
        await asyncio.wait([running], timeout=0.5)
        if running.done():
            break
    return await running


@asynccontextmanager
async def working(graph: Any) -> AsyncIterator[None]:
    worker = asyncio.create_task(GraphWorker({graph.get_name(): graph}, poll=0.05).run())
    try:
        yield
    finally:
        worker.cancel()
        with suppress(asyncio.CancelledError):
            await worker


async def test_it_runs_to_its_end_and_shows_each_step_from_its_beginning_on(manager: StateManager) -> None:
    graph, gates = gated(StateCoreSaver(manager))
    running = asyncio.create_task(run_session(graph, {"number": 0}, thread_id="t"))

    async def begun() -> bool:
        with suppress(SessionNotFound, IndexError):
            return steps_of(await manager.get_session_state("t")) == [("a", "running")]
        return False

    await until(begun)
    assert (await manager.get_head("t")).status == "running"
    for gate in gates.values():
        gate.set()
    assert await running == {"number": 3, "ran": ["a", "b", "c"]}
    state = await manager.get_session_state("t")
    assert state.status == "completed"
    assert steps_of(state) == [("a", "completed"), ("b", "completed"), ("c", "completed")]
    assert state.branches[0].steps[0].input is not None
    assert state.branches[0].status == "completed"
    head = await manager.get_head("t")
    assert head.counts["branches_ended"] == 1
    assert head.workflow == "gated"
    assert head.refuses == []


async def test_paused_it_stops_at_the_next_superstep_and_a_worker_goes_on(manager: StateManager) -> None:
    graph, gates = gated(StateCoreSaver(manager))
    running = asyncio.create_task(run_session(graph, {"number": 0}, thread_id="t"))
    await status_of_step(manager, "a", "running")
    await manager.pause_execution("t", reason="look")
    await status(manager, "t", "pausing")
    ran = (await let_it_stop(running, gates))["ran"]
    assert ran in (["a"], ["a", "b"])
    state = await manager.get_session_state("t")
    assert (state.status, state.reason) == ("paused", "look")
    assert steps_of(state) == [(name, "completed") for name in ran]
    for gate in gates.values():
        gate.set()
    async with working(graph):
        await manager.resume_execution("t")
        await status(manager, "t", "completed")
    assert graph.get_state({"configurable": {"thread_id": "t"}}).values["ran"] == ["a", "b", "c"]


async def status_of_step(manager: StateManager, agent: str, wanted: str) -> None:
    async def is_so() -> bool:
        with suppress(SessionNotFound, IndexError):
            return (agent, wanted) in steps_of(await manager.get_session_state("t"))
        return False

    await until(is_so)


async def test_restored_and_forked_it_goes_on_from_there(manager: StateManager) -> None:
    graph, gates = gated(StateCoreSaver(manager))
    for gate in gates.values():
        gate.set()
    gates["b"].clear()
    running = asyncio.create_task(run_session(graph, {"number": 0}, thread_id="t"))
    await status_of_step(manager, "b", "running")
    checkpoint_id = await manager.create_checkpoint("t", "before b")
    gates["b"].set()
    await running
    async with working(graph):
        await manager.restore_checkpoint(checkpoint_id)
        fork = await manager.fork_session("t", checkpoint_id=checkpoint_id)
        for session_id in ("t", fork):
            await manager.resume_execution(session_id)
            await status(manager, session_id, "completed")
            state = await manager.get_session_state(session_id)
            assert [a for a, _ in steps_of(state)] == ["a", "b", "c"]
            values = graph.get_state({"configurable": {"thread_id": session_id}}).values
            assert values == {"number": 3, "ran": ["a", "b", "c"]}


async def test_an_interrupt_waits_for_a_person_and_their_answer_is_what_it_returns(
    manager: StateManager,
) -> None:
    graph = survey(StateCoreSaver(manager))
    running = asyncio.create_task(run_session(graph, {"topic": "tides"}, thread_id="t"))
    await status(manager, "t", "waiting")
    (question,) = [q for q in (await manager.get_session_state("t")).questions if q.status == "open"]
    assert question.prompt == "Publish?"
    await manager.answer("t", question.question_id, "by all means", actor="Ada")
    output = await running
    assert output["notes"]["said"] == "by all means"
    state = await manager.get_session_state("t")
    assert state.status == "completed"
    assert [(q.answer, q.answered_by) for q in state.questions] == [("by all means", "Ada")]
    head = await manager.get_head("t")
    assert head.counts["questions"] == 0
    assert head.counts["branches"] == head.counts["branches_ended"] == 3


async def test_paused_while_it_waits_it_may_be_answered_before_it_is_resumed(manager: StateManager) -> None:
    graph = survey(StateCoreSaver(manager))
    running = asyncio.create_task(run_session(graph, {"topic": "tides"}, thread_id="t"))
    await status(manager, "t", "waiting")
    await manager.pause_execution("t")
    await running
    await status(manager, "t", "paused")
    (question,) = (await manager.get_session_state("t")).questions
    await manager.answer("t", question.question_id, "later")
    output = await run_session(graph, thread_id="t")
    assert output["notes"]["said"] == "later"


async def test_two_questions_at_once_are_each_answered(manager: StateManager) -> None:
    builder = StateGraph(Count)
    for name in ("left", "right"):
        builder.add_node(name, lambda state, name=name: {"ran": [f"{name} {interrupt(name)}"]})
        builder.add_edge(START, name)
    graph = builder.compile(checkpointer=StateCoreSaver(manager))
    running = asyncio.create_task(run_session(graph, {"number": 0}, thread_id="t"))

    async def both() -> Any:
        with suppress(SessionNotFound, IndexError):
            found = (await manager.get_session_state("t")).questions
            return found if len(found) == 2 else None

    for question in await until(both):
        await manager.answer("t", question.question_id, str(question.prompt).upper())
    assert sorted((await running)["ran"]) == ["left LEFT", "right RIGHT"]


async def test_cancelled_it_stops_for_good(manager: StateManager) -> None:
    graph, gates = gated(StateCoreSaver(manager))
    running = asyncio.create_task(run_session(graph, {"number": 0}, thread_id="t"))
    await status_of_step(manager, "a", "running")
    await manager.cancel_execution("t", reason="enough")
    await let_it_stop(running, gates)
    state = await manager.get_session_state("t")
    assert (state.status, state.branches[0].status) == ("cancelled", "cancelled")
    assert ("c", "completed") not in steps_of(state)


async def test_at_a_breakpoint_of_the_graph_it_is_paused_and_resumed_it_goes_past_it(
    manager: StateManager,
) -> None:
    builder = StateGraph(Count)
    builder.add_node("one", lambda state: {"number": 1})
    builder.add_node("two", lambda state: {"number": 2})
    builder.add_edge(START, "one")
    builder.add_edge("one", "two")
    graph = builder.compile(checkpointer=StateCoreSaver(manager), interrupt_before=["two"])
    assert (await run_session(graph, {"number": 0}, thread_id="t"))["number"] == 1
    assert (await manager.get_head("t")).status == "paused"
    output = await run_session(graph, thread_id="t")
    assert output["number"] == 2
    assert (await manager.get_head("t")).status == "completed"


async def test_a_node_that_fails_fails_the_session_and_a_resume_tries_it_again(manager: StateManager) -> None:
    fails = [True]

    def shaky(state: Count) -> Count:
        if fails:
            raise ValueError(f"the tide is {fails.pop()}")
        return {"number": 7}

    builder = StateGraph(Count)
    builder.add_node("shaky", shaky)
    builder.add_edge(START, "shaky")
    graph = builder.compile(checkpointer=StateCoreSaver(manager))
    with pytest.raises(ValueError, match="tide"):
        await run_session(graph, {"number": 0}, thread_id="t")
    state = await manager.get_session_state("t")
    assert (state.status, state.branches[0].status) == ("failed", "failed")
    async with working(graph):
        await manager.resume_execution("t")
        await status(manager, "t", "completed")
    state = await manager.get_session_state("t")
    assert [(step.attempt, str(step.status)) for step in state.branches[0].steps] == [(2, "completed")]


async def test_a_graph_without_our_saver_is_told_what_it_lacks() -> None:
    graph = StateGraph(Count).add_node("one", lambda state: {}).add_edge(START, "one").compile()
    with pytest.raises(ConfigurationError, match="StateCoreSaver"):
        await run_session(graph, {}, thread_id="t")
    with pytest.raises(ConfigurationError, match="StateCoreSaver"):
        GraphWorker({"g": graph})
