"""Spans that the OpenTelemetry SDK makes, as sessions."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Status, StatusCode

from state_core import MemoryStorageBackend, StateManager, StateManagerConfig
from state_core.adapters.opentelemetry import SessionSpanProcessor
from state_core.events import EventKind
from state_core.exceptions import ConfigurationError, StorageUnavailable, TransitionError
from state_core.storage import from_url


class Traced:
    """A tracer whose spans are recorded in a store."""

    def __init__(self, storage: Any, **options: Any) -> None:
        self.manager = StateManager(storage)
        self.processor = SessionSpanProcessor(self.manager, **{"linger": 60, **options})
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(self.processor)
        self.tracer = self.provider.get_tracer("tests")

    def span(self, operation: str, name: str = "", **attributes: Any) -> Any:
        named = {"invoke_agent": "agent", "invoke_workflow": "workflow", "execute_tool": "tool"}
        given = {"gen_ai.operation.name": operation}
        if operation in named and name:
            given[f"gen_ai.{named[operation]}.name"] = name
        given.update({f"gen_ai.{key.replace('__', '.')}": value for key, value in attributes.items()})
        return self.tracer.start_as_current_span(f"{operation} {name}".strip(), attributes=given)

    def chat(self, *messages: tuple[str, str], answer: str = "", **attributes: Any) -> Any:
        return self.span(
            "chat",
            request__model="gpt-9",
            input__messages=json.dumps([said(*message) for message in messages]),
            output__messages=json.dumps([said("assistant", answer)]),
            **attributes,
        )

    async def state(self, session_id: str) -> Any:
        assert self.processor.force_flush()
        return await self.manager.get_session_state(session_id)

    async def kinds(self, session_id: str) -> list[str]:
        assert self.processor.force_flush()
        return [str(event.kind) for event in await self.manager.log.read(session_id)]


def said(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"type": "text", "content": text}]}


@pytest.fixture
def traced() -> Iterator[Traced]:
    found = Traced(MemoryStorageBackend())
    yield found
    found.provider.shutdown()


@pytest.fixture
def make_traced() -> Iterator[Any]:
    made: list[Traced] = []

    def make(*args: Any, **options: Any) -> Traced:
        made.append(Traced(*args, **options))
        return made[-1]

    yield make
    for found in made:
        found.provider.shutdown()


async def test_a_conversation_is_a_session_with_agents_calls_and_messages(storage, make_traced):
    traced = make_traced(storage)
    with traced.span("invoke_workflow", "trip", conversation__id="conv-1"):
        with traced.span("invoke_agent", "Planner"):
            with traced.chat(("user", "Plan it"), answer="Rome", usage__input_tokens=7):
                pass
            with traced.span("execute_tool", "search", tool__call__arguments='{"q": "rome"}') as span:
                span.set_attribute("gen_ai.tool.call.result", '["hotel"]')
            with traced.chat(("user", "Plan it"), ("assistant", "Rome"), ("tool", "hotel"), answer="Done"):
                pass
    state = await traced.state("conv-1")
    workflow, planner = state.branches
    assert (workflow.name, planner.name, planner.parent_id) == ("trip", "Planner", workflow.branch_id)
    assert [branch.status for branch in state.branches] == ["completed", "completed"]
    assert [step.agent for step in planner.steps] == ["Planner", "search", "Planner"]
    assert planner.steps[0].output == {"usage": {"input_tokens": 7}}
    assert (planner.steps[1].input, planner.steps[1].output) == ({"q": "rome"}, ["hotel"])
    assert [(m.role, m.content) for m in planner.memory] == [
        ("user", "Plan it"),
        ("assistant", "Rome"),
        ("tool", "hotel"),
        ("assistant", "Done"),
    ]
    assert all(step.duration is not None for step in planner.steps)
    traced.provider.shutdown()
    head = await traced.manager.get_head("conv-1")
    assert (head.status, head.title, head.agents) == ("completed", "trip", [])


async def test_a_span_shows_while_it_lasts(traced):
    with traced.span("invoke_agent", "Planner", conversation__id="live"), traced.chat():
        state = await traced.state("live")
        assert state.status == "running"
        assert state.branches[0].steps[0].status == "running"
        assert (await traced.manager.get_head("live")).agents == ["Planner"]


async def test_a_trace_without_a_conversation_is_a_session_of_its_own(traced):
    with traced.span("invoke_agent", "Planner") as span:
        trace = f"trace-{span.get_span_context().trace_id:032x}"
        with traced.tracer.start_as_current_span("GET /", attributes={"http.method": "GET"}):
            with traced.span("execute_tool", "search"):
                pass
    with traced.span("invoke_agent", "Planner"):
        pass
    state = await traced.state(trace)
    assert [step.agent for step in state.branches[0].steps] == ["search"]
    assert len(await traced.manager.list_sessions()) == 2


async def test_an_agent_that_tells_nothing_of_its_inside_is_one_step(traced):
    with traced.span("invoke_agent", "Planner", conversation__id="c"):
        pass
    (branch,) = (await traced.state("c")).branches
    assert [(step.agent, step.status) for step in branch.steps] == [("Planner", "completed")]


async def test_calls_without_an_agent_share_a_branch_of_their_trace(traced):
    with traced.tracer.start_as_current_span("request"):
        for _ in range(2):
            with traced.span("chat", conversation__id="c", request__model="gpt-9"):
                pass
    (branch,) = (await traced.state("c")).branches
    assert [step.agent for step in branch.steps] == ["gpt-9", "gpt-9"]


async def test_attributes_that_come_late_are_recorded_in_the_end(traced):
    with traced.tracer.start_as_current_span("agent run") as span:
        span.set_attribute("gen_ai.operation.name", "invoke_agent")
        span.set_attribute("gen_ai.agent.name", "Late")
        span.set_attribute("gen_ai.conversation.id", "c")
    assert [branch.name for branch in (await traced.state("c")).branches] == ["Late"]


async def test_errors_of_spans_are_errors_of_steps_and_of_the_session(traced):
    with pytest.raises(ValueError), traced.span("invoke_agent", "Planner", conversation__id="c"):
        with traced.span("execute_tool", "search"):
            raise ValueError("no such city")
    traced.provider.shutdown()
    state = await traced.manager.get_session_state("c")
    step = state.branches[0].steps[0]
    assert step.status == state.branches[0].status == state.status == "failed"
    assert "ValueError: no such city" in step.error
    assert "Traceback" in step.error
    assert "no such city" in (await traced.manager.get_head("c")).error


async def test_a_failed_call_that_its_agent_survived_does_not_fail_the_session(traced):
    with traced.span("invoke_agent", "Planner", conversation__id="c"):
        with traced.span("execute_tool", "search") as span:
            span.set_status(Status(StatusCode.ERROR))
    traced.provider.shutdown()
    state = await traced.manager.get_session_state("c")
    assert (state.branches[0].steps[0].status, state.status) == ("failed", "completed")


async def test_a_further_turn_goes_on_with_the_session(make_traced):
    traced = make_traced(MemoryStorageBackend(), linger=0.0)
    for turn in ("first", "second"):
        with traced.span("invoke_agent", turn, conversation__id="c"):
            pass
        traced.processor.force_flush()
        await until(lambda: traced.manager.storage._sessions["c"].head.status == "completed")
    kinds = await traced.kinds("c")
    assert kinds.count("session.completed") == 2
    assert kinds.count("session.resumed") == 1
    assert [b.name for b in (await traced.state("c")).branches] == ["first", "second"]


async def test_a_memory_that_was_compacted_is_rewritten(traced):
    with traced.span("invoke_agent", "Planner", conversation__id="c"):
        with traced.chat(("user", "long story"), answer="I see"):
            pass
        with traced.chat(("user", "summary"), answer="Yes"):
            pass
    state = await traced.state("c")
    assert [m.content for m in state.branches[0].memory] == ["summary", "Yes"]
    assert (await traced.manager.get_head("c")).counts["messages"] == 2
    assert EventKind.MEMORY_REWRITTEN in await traced.kinds("c")


async def test_secrets_are_taken_out(traced):
    arguments = json.dumps({"api_key": "k-123", "url": "https://u:pw@host/", "max_tokens": 5})
    with traced.span("invoke_agent", "Planner", conversation__id="c"):
        with traced.span("execute_tool", "fetch", tool__call__arguments=arguments):
            pass
        with traced.chat(("user", "my key is sk-abcdefghijklmnopqrst")):
            pass
    branch = (await traced.state("c")).branches[0]
    assert branch.steps[0].input == {
        "api_key": "[redacted]",
        "url": "https://[redacted]@host/",
        "max_tokens": 5,
    }
    assert branch.memory[0].content == "my key is [redacted]"


async def test_a_session_of_spans_takes_no_commands(traced):
    with traced.span("invoke_agent", "Planner", conversation__id="c"):
        traced.processor.force_flush()
        with pytest.raises(TransitionError, match="recorded from outside"):
            await traced.manager.pause_execution("c")


async def test_spans_that_are_open_when_the_program_ends_leave_the_session_interrupted(traced):
    span = traced.span("invoke_agent", "Planner", conversation__id="c")
    span.__enter__()
    traced.provider.shutdown()
    assert (await traced.manager.get_head("c")).status == "interrupted"
    span.__exit__(None, None, None)


class Slow(MemoryStorageBackend):
    """Takes its time once ``held`` is clear."""

    def __init__(self) -> None:
        super().__init__()
        self.free = threading.Event()
        self.free.set()

    async def _append(self, *args: Any) -> int:
        while not self.free.is_set():
            time.sleep(0.01)
        return await super()._append(*args)


async def test_a_slow_store_slows_nobody_and_what_does_not_fit_is_a_gap(make_traced):
    store = Slow()
    traced = make_traced(store, capacity=20)
    with traced.span("invoke_agent", "Planner", conversation__id="c"):
        traced.processor.force_flush()
        store.free.clear()
        began = time.perf_counter()
        for _ in range(500):
            with traced.span("execute_tool", "search"):
                pass
        per_span = (time.perf_counter() - began) / 500
        store.free.set()
    assert per_span < 0.005, "a span waits for the store"
    state = await traced.state("c")
    steps = len(state.branches[0].steps)
    events = await traced.manager.log.read("c")
    missed = sum(event.data["missed"] for event in events if event.kind == EventKind.EVENTS_MISSED)
    assert missed
    assert 2 * steps + missed >= 1000
    assert state.status == "running"


class Away(MemoryStorageBackend):
    fails = False

    async def _append(self, *args: Any) -> int:
        if self.fails:
            raise StorageUnavailable("It is away.")
        return await super()._append(*args)


async def test_what_a_store_that_stays_away_did_not_take_is_a_gap(make_traced):
    store = Away()
    manager = StateManager(store, config=StateManagerConfig(outage_patience=0.05))
    traced = make_traced(store)
    traced.processor._recorder._manager.config = manager.config
    with traced.span("invoke_agent", "Planner", conversation__id="c"):
        traced.processor.force_flush()
        store.fails = True
        with traced.span("execute_tool", "search"):
            traced.processor.force_flush()
        store.fails = False
        with traced.span("execute_tool", "fetch"):
            pass
    assert EventKind.EVENTS_MISSED in await traced.kinds("c")
    steps = (await traced.state("c")).branches[0].steps
    assert [step.agent for step in steps][-1] == "fetch"


async def test_a_run_whose_ends_were_missed_still_comes_to_its_end(make_traced):
    store = Slow()
    traced = make_traced(store, capacity=3)
    with traced.span("invoke_agent", "Planner", conversation__id="c"):
        traced.processor.force_flush()
        with traced.span("execute_tool", "search"):
            traced.processor.force_flush()
            store.free.clear()
            for _ in range(20):
                with traced.span("execute_tool", "more"):
                    pass
        store.free.set()
        traced.processor.force_flush()
    traced.provider.shutdown()
    state = await traced.manager.get_session_state("c")
    assert state.status == "completed"
    assert "running" not in {step.status for step in state.branches[0].steps}


async def test_a_store_that_is_away_at_the_start_is_waited_for(make_traced):
    store = Away()
    store.fails = True
    traced = make_traced(store)
    with traced.span("invoke_agent", "Planner", conversation__id="c"):
        await asyncio.sleep(0.3)
        store.fails = False
    assert EventKind.EVENTS_MISSED not in await traced.kinds("c")
    assert [branch.name for branch in (await traced.state("c")).branches] == ["Planner"]


async def test_what_cannot_be_recorded_is_a_gap_and_stops_nothing(traced, monkeypatch, caplog):
    with traced.span("invoke_agent", "Planner", conversation__id="c"):
        traced.processor.force_flush()
        monkeypatch.setattr("state_core.adapters.genai.worker", lambda *_: 1 / 0)
        with traced.span("execute_tool", "search"):
            pass
        traced.processor.force_flush()
        monkeypatch.undo()
        with traced.span("execute_tool", "fetch"):
            pass
    state = await traced.state("c")
    assert [step.agent for step in state.branches[0].steps] == ["fetch"]
    assert EventKind.EVENTS_MISSED in await traced.kinds("c")
    assert "ZeroDivisionError" in caplog.text


async def test_two_processes_in_one_conversation_do_not_mix_up_each_others_part(make_traced):
    store = MemoryStorageBackend()
    here, there = make_traced(store), make_traced(store)
    with here.span("invoke_agent", "A", conversation__id="c"):
        here.processor.force_flush()
        with there.span("invoke_agent", "B", conversation__id="c"):
            there.processor.force_flush()
    heads = {head.session_id: head for head in await here.manager.list_sessions()}
    other = next(head for name, head in heads.items() if name != "c")
    assert other.tags == ["part of c"]
    assert [b.name for b in (await here.state("c")).branches] == ["A"]


def test_a_target_that_is_none_says_what_to_give():
    with pytest.raises(ConfigurationError, match="URL"):
        SessionSpanProcessor(7)  # type: ignore[arg-type]


SCRIPT = """
import os, sys
from opentelemetry.sdk.trace import TracerProvider
from state_core.adapters.opentelemetry import SessionSpanProcessor

provider = TracerProvider()
provider.add_span_processor(SessionSpanProcessor(sys.argv[1]))
tracer = provider.get_tracer("x")
names = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "A"}
with tracer.start_as_current_span("a", attributes={**names, "gen_ai.conversation.id": "parent"}):
    if os.fork() == 0:
        with tracer.start_as_current_span("b", attributes={**names, "gen_ai.conversation.id": "child"}):
            pass
        provider.shutdown()
        os._exit(0)
os.wait()
"""


async def test_a_program_that_just_ends_has_recorded_everything_and_so_has_its_fork(tmp_path, sqlite_url):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, sqlite_url],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONWARNINGS": "ignore::DeprecationWarning"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    store = from_url(sqlite_url)
    manager = StateManager(store)
    assert {h.session_id: h.status for h in await manager.list_sessions()} == {
        "parent": "completed",
        "child": "completed",
    }
    await store.close()


async def until(condition: Any, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come true in time"
        await asyncio.sleep(0.02)
