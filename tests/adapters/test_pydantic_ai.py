"""A framework as it comes, with its own instrumentation: Pydantic AI, with its test model."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.trace import TracerProvider

from state_core import MemoryStorageBackend, StateManager
from state_core.adapters.opentelemetry import SessionSpanProcessor


@pytest.fixture
def instrumented():
    """The store that every agent's runs are recorded in, and Pydantic AI's agents: imported late, since that
    takes long and each of pytest's workers imports this file."""
    from pydantic_ai import Agent
    from pydantic_ai.models.instrumented import InstrumentationSettings

    store = MemoryStorageBackend()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SessionSpanProcessor(store, linger=60))
    Agent.instrument_all(InstrumentationSettings(tracer_provider=provider))
    yield store, provider, Agent
    Agent.instrument_all(False)


async def test_its_runs_show_up_without_a_line_of_glue(instrumented):
    from pydantic_ai.models.test import TestModel

    store, provider, Agent = instrumented
    agent = Agent(TestModel(), name="planner", system_prompt="Be brief.")

    @agent.tool_plain
    def search(city: str) -> str:
        return f"hotels in {city}"

    await agent.run("Plan a week in Rome")
    provider.shutdown()
    manager = StateManager(store)
    (head,) = await manager.list_sessions()
    assert (head.status, head.title) == ("completed", "planner")
    (branch,) = (await manager.get_session_state(head.session_id)).branches
    assert [step.agent for step in branch.steps] == ["planner", "search", "planner"]
    assert branch.steps[1].output == "hotels in a"
    assert branch.steps[0].output["usage"]["output_tokens"] > 0
    said = [(message.role, message.content) for message in branch.memory]
    assert said[:2] == [("system", "Be brief."), ("user", "Plan a week in Rome")]
    assert said[-1] == ("assistant", '{"search":"hotels in a"}')
