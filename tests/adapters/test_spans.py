"""Sessions of ours as OpenTelemetry spans."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from state_core import StateManager
from state_core.adapters.opentelemetry import SessionSpanProcessor
from state_core.adapters.spans import SpanFollower


@pytest.fixture
def exporter():
    return InMemorySpanExporter()


def named(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name: span for span in exporter.get_finished_spans()}


async def a_run(manager: StateManager, session_id: str = "s") -> None:
    async with manager.session(session_id, workflow="research") as session:
        branch = await session.open_branch("collect")
        async with branch.step("Collector", input="tides") as step:
            step.output = ["moon"]
        await session.checkpoint("half-way")
        part = await session.open_branch("part", parent=branch)
        with pytest.raises(ValueError):
            async with part.step("Writer"):
                raise ValueError("no ink")
        await part.fail("no ink")


async def test_a_session_is_a_trace_of_branches_and_steps(storage, exporter):
    follower = SpanFollower(storage, exporter)
    await a_run(StateManager(storage))
    assert await follower.catch_up() == 6
    spans = named(exporter)
    session, collect = spans["invoke_workflow research"], spans["invoke_agent collect"]
    collector, writer = spans["invoke_agent Collector"], spans["invoke_agent Writer"]
    checkpoint = spans["checkpoint half-way"]
    assert session.parent is None
    assert {span.context.trace_id for span in spans.values()} == {session.context.trace_id}
    assert collect.parent == checkpoint.parent == session.context
    assert collector.parent == collect.context
    assert writer.parent == spans["invoke_agent part"].context
    assert spans["invoke_agent part"].parent == collect.context
    assert collector.status.is_ok
    assert not writer.status.is_ok
    assert session.start_time <= collector.start_time <= collector.end_time <= session.end_time
    assert dict(collector.attributes) | {"gen_ai.operation.name": "invoke_agent"} == dict(
        collector.attributes
    )
    assert session.attributes["gen_ai.conversation.id"] == "s"
    assert session.attributes["state_core.bytes_written"] > 0
    assert checkpoint.attributes["state_core.checkpoint.name"] == "half-way"
    assert "gen_ai.input.messages" not in collector.attributes


async def test_each_is_exported_once_as_it_ends_and_again_under_the_same_ids(storage, exporter):
    manager, follower = StateManager(storage), SpanFollower(storage, exporter)
    async with manager.session("s") as session:
        branch = await session.open_branch("b")
        async with branch.step("A"):
            assert await follower.catch_up() == 0
        assert await follower.catch_up() == 1
    assert await follower.catch_up() == 2
    assert await follower.catch_up() == 0
    first = {span.context.span_id for span in exporter.get_finished_spans()}
    head = await manager.get_head("s")
    again = SpanFollower(storage, exporter, since=head.created_at)
    assert await again.catch_up() == 3
    assert {span.context.span_id for span in exporter.get_finished_spans()} == first


async def test_what_ended_before_is_left_out(storage, exporter):
    await a_run(StateManager(storage))
    assert await SpanFollower(storage, exporter).catch_up() == 0


async def test_content_is_exported_where_it_is_asked_for(storage, exporter):
    follower = SpanFollower(storage, exporter, content=True)
    await a_run(StateManager(storage))
    await follower.catch_up()
    attributes = named(exporter)["invoke_agent Collector"].attributes
    (message,) = json.loads(attributes["gen_ai.input.messages"])
    assert message == {"role": "user", "parts": [{"type": "text", "content": "tides"}]}


async def test_a_restored_and_forked_session_is_followed(storage, exporter):
    manager, follower = StateManager(storage), SpanFollower(storage, exporter)
    await a_run(manager)
    await follower.catch_up()
    (checkpoint,) = await manager.list_checkpoints("s")
    fork = await manager.fork_session("s", checkpoint_id=checkpoint.id)
    await manager.restore_checkpoint(checkpoint.id)
    for session_id in ("s", fork):
        async with manager.session(session_id) as session:
            async with session.branch("collect").step("Second", step_id="second"):
                pass
    await follower.catch_up()
    found = [span for span in exporter.get_finished_spans() if span.name == "invoke_agent Second"]
    assert {span.attributes["gen_ai.conversation.id"] for span in found} == {"s", fork}


class Away(InMemorySpanExporter):
    answers: Any = ()

    def export(self, spans: Any) -> SpanExportResult:
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        return answer or super().export(spans)


async def test_what_the_exporter_does_not_take_is_tried_again(storage):
    exporter = Away()
    exporter.answers = [SpanExportResult.FAILURE, OSError("away")]
    follower = SpanFollower(storage, exporter)
    await a_run(StateManager(storage))
    assert [await follower.catch_up() for _ in range(3)] == [0, 0, 6]
    assert len(exporter.get_finished_spans()) == 6


async def test_it_follows_until_it_is_cancelled(storage, exporter):
    follower = SpanFollower(storage, exporter, interval=0.01)
    following = asyncio.create_task(follower.follow())
    await a_run(StateManager(storage))
    for _ in range(500):
        if len(exporter.get_finished_spans()) == 6:
            break
        await asyncio.sleep(0.02)
    following.cancel()
    with pytest.raises(asyncio.CancelledError):
        await following
    assert len(named(exporter)) == 6


async def test_spans_that_came_in_go_out_as_what_they_were(storage, exporter):
    follower = SpanFollower(storage, exporter)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SessionSpanProcessor(storage))
    tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "search"}
    agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "A", "gen_ai.conversation.id": "c"}
    tracer = provider.get_tracer("x")
    with (
        tracer.start_as_current_span("a", attributes=agent),
        tracer.start_as_current_span("t", attributes=tool),
    ):
        pass
    provider.shutdown()
    await follower.catch_up()
    spans = named(exporter)
    assert spans["execute_tool search"].parent == spans["invoke_agent A"].context
    assert spans["execute_tool search"].attributes["gen_ai.tool.name"] == "search"
