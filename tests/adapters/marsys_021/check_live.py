"""Real runs of the real Orchestra, as sessions."""

from __future__ import annotations

import logging
import time

import pytest
from marsys.coordination import Orchestra
from marsys.coordination.config import ExecutionConfig
from marsys.coordination.event_bus import EventBus
from marsys.coordination.status import events as told
from scripted import TEAM, a_team, final, until

from state_core import MemoryStorageBackend, StateManager
from state_core.adapters.marsys import MarsysLive, MarsysStateManager, watched
from state_core.events import EventKind


@pytest.fixture(autouse=True)
def quiet():
    logging.getLogger("marsys").setLevel(logging.CRITICAL)


@pytest.fixture
def watch():
    made = []

    def make(target, **options):
        made.append(watched(Orchestra, target, **options))
        return made[-1]

    yield make
    for orchestra in made:
        orchestra.recorder.close()


NOBODY = {"agents": ["Nobody"], "flows": [], "rules": []}


async def run(orchestra, session_id="s", agents=None, topology=TEAM, **options):
    agents = agents or a_team()  # held here: the registry does not
    config = ExecutionConfig(user_interaction="none")
    result = await orchestra.run(
        "Explain tides", topology, context={"session_id": session_id}, execution_config=config, **options
    )
    assert orchestra.recorder.flush()
    assert agents
    return result


async def check_a_run_is_a_session_with_branches_agents_tools_and_messages(store, watch):
    orchestra = watch(store)
    result = await run(orchestra)
    assert result.success
    ours = StateManager(store)
    state, head = await ours.get_session_state("s"), await ours.get_head("s")
    assert (state.status, head.title, head.workflow) == ("completed", "Explain tides", "MARSYS")
    main, writer, editor = state.branches
    assert [step.agent for step in main.steps] == ["Planner"] * 3
    assert (writer.parent_id, writer.branch_type, writer.status) == ("main", "parallel", "completed")
    assert {writer.name, editor.name} == {"Writer", "Editor"}
    assert all(step.status == "completed" and step.duration >= 0 for step in main.steps)
    tool = main.memory[0]
    assert (tool.role, tool.content["tool_name"]) == ("tool", "search")
    assert tool.content["arguments"] == {"query": "tides", "api_key": "[redacted]"}
    said = [(message.role, message.content) for message in main.memory]
    assert ("user", "Explain tides") in said
    assert ("tool", "found tides") in said
    assert said.count(("assistant", final("all done"))) == 1
    assert state.intermediate_results == {"final_response": "all done"}
    kinds = [event.kind for event in await ours.log.read("s")]
    assert EventKind.BRANCH_WAITING in kinds


async def check_state_and_live_are_one_session_and_agree(store, watch):
    state_manager = MarsysStateManager(store)
    orchestra = watch(state_manager)
    result = await run(orchestra, state_manager=state_manager)
    assert result.success, result.error
    ours = StateManager(store)
    state = await ours.get_session_state("s")
    assert state.status == "completed"
    kinds = [event.kind for event in await ours.log.read("s")]
    assert kinds.count(EventKind.SESSION_STARTED) == 1
    assert EventKind.SESSION_INTERRUPTED not in kinds
    loaded = await state_manager.load_session("s")
    assert loaded["completed_branches"] >= {"main"}
    memory = loaded["branch_results"]["main"].branch_memory
    assert any("found tides" in str(message) for message in memory["Planner"])


async def check_a_run_that_fails_is_a_failed_session(store, watch):
    orchestra = watch(store)
    result = await run(orchestra, topology=NOBODY)
    assert not result.success
    state = await StateManager(store).get_session_state("s")
    assert state.status == "failed"
    assert "Nobody" in (state.error or "")


async def check_a_program_that_stops_a_run_leaves_it_interrupted(watch):
    import asyncio

    store = MemoryStorageBackend()
    orchestra, began = watch(store), asyncio.Event()

    async def hang():
        began.set()
        await asyncio.sleep(60)

    working = asyncio.create_task(run(orchestra, agents=a_team(hang)))
    await began.wait()
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert orchestra.recorder.flush()
    assert (await StateManager(store).get_head("s")).status == "interrupted"


class Slow(MemoryStorageBackend):
    free = True

    async def _append(self, *args):
        while not self.free:
            time.sleep(0.005)
        return await super()._append(*args)


async def check_a_slow_store_slows_no_run_and_a_full_queue_is_a_gap(watch):
    store = Slow()
    orchestra = watch(store, capacity=3)
    agents = a_team()
    store.free = False
    began = time.perf_counter()
    result = await orchestra.run("Explain tides", TEAM, context={"session_id": "s"}, max_steps=30)
    took = time.perf_counter() - began
    store.free = True
    assert result.success
    assert agents
    assert took < 5, "the run waited for the store"
    ours = StateManager(store)

    async def missed():
        events = await ours.log.read("s") if await ours.list_sessions() else []
        return sum(event.data["missed"] for event in events if event.kind == EventKind.EVENTS_MISSED)

    assert await until(missed) > 3


class Attached:
    """What `MarsysLive.attach` needs of an Orchestra."""

    def __init__(self):
        self.event_bus = EventBus()


@pytest.fixture
def live(store):
    found = MarsysLive(store, linger=60)
    yield found
    found.close()


async def check_every_kind_of_event_of_the_bus_is_told(store, live):
    orchestra = Attached()
    live.attach(orchestra)
    about = {"session_id": "s", "branch_id": "main"}
    for event in (
        told.AgentStartEvent(agent_name="A", request_summary="go", **about),
        told.AgentThinkingEvent(agent_name="A", thought="hm", **about),
        told.PlanCreatedEvent(agent_name="A", goal="win", item_count=2, item_titles=["one", "two"], **about),
        told.PlanUpdatedEvent(agent_name="A", item_id="1", item_title="one", new_status="completed", **about),
        told.PlanItemAddedEvent(agent_name="A", item_id="3", item_title="three", position=3, **about),
        told.PlanItemRemovedEvent(agent_name="A", item_id="2", item_title="two", **about),
        told.UserInteractionEvent(agent_name="A", interaction_type="starting", prompt="Go on?", **about),
        told.UserInteractionEvent(agent_name="A", interaction_type="completed", prompt="Go on?", **about),
        told.CompactionEvent(agent_name="A", status="completed", pre_messages=9, post_messages=2, **about),
        told.CriticalErrorEvent(agent_name="A", error_type="quota", message="pay", **about),
        told.ResourceLimitEvent(resource_type="agent_pool", pool_name="P", **about),
        told.BranchEvent(branch_name="m", branch_type="simple", status="waiting", **about),
        told.AgentCompleteEvent(agent_name="A", success=False, duration=1.5, error="lost", **about),
        told.FinalResponseEvent(
            session_id="s", final_response="end", total_duration=2.0, total_steps=1, success=True
        ),
    ):
        await orchestra.event_bus.emit(event)
    assert live.flush()
    ours = StateManager(store)
    state = await ours.get_session_state("s")
    (branch,) = state.branches
    assert [(step.agent, step.status, step.duration) for step in branch.steps] == [("A", "failed", 1.5)]
    assert [message.role for message in branch.memory] == ["thought", "compaction", "error", "warning"]
    assert state.metadata["plans"] == {
        "A": {"goal": "win", "items": {"one": "completed", "three": "pending"}}
    }
    assert [(question.prompt, question.status) for question in state.questions] == [("Go on?", "answered")]
    assert state.intermediate_results["final_response"] == "end"


async def check_a_bus_that_is_made_anew_on_resume_is_listened_to(store, live):
    class Resuming(Attached):
        def _wire_event_bus(self):
            pass

    orchestra = Resuming()
    live.attach(orchestra)
    live.attach(orchestra)
    for agent in ("A", "B"):
        await orchestra.event_bus.emit(
            told.AgentStartEvent(session_id="s", branch_id="main", agent_name=agent)
        )
        orchestra.event_bus = EventBus()
        orchestra._wire_event_bus()
    assert live.flush()
    state = await StateManager(store).get_session_state("s")
    assert [step.agent for step in state.branches[0].steps] == ["A", "B"]


async def check_a_listener_never_raises(live):
    orchestra = Attached()
    live.attach(orchestra)
    live.close()
    for _ in range(9):
        await orchestra.event_bus.emit(told.AgentStartEvent(session_id="s", branch_id="main", agent_name="A"))
    assert not orchestra.event_bus._listener_errors
