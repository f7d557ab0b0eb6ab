"""Spans that the OpenTelemetry SDK makes, as sessions."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest
from opentelemetry.trace import Status, StatusCode

from state_core import MemoryStorageBackend
from state_core.events import EventKind
from state_core.exceptions import TransitionError


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


async def until(condition: Any, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come true in time"
        await asyncio.sleep(0.02)
