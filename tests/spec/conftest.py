"""What the specification's examples leave open: a store, a topology, agents, and a folder to work in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from state_core import PatternConfig, Topology, agent
from state_core.orchestra import agents


@pytest.fixture
def topology() -> Topology:
    stages = [{"name": "read", "agents": ["Reader", "Counter"]}, {"name": "write", "agents": ["Writer"]}]
    return PatternConfig.pipeline(stages=stages)


@pytest.fixture(autouse=True)
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Agents registered in a test are forgotten after it."""
    monkeypatch.setattr(agents, "_registered", {})


@pytest.fixture(autouse=True)
def working_agents(own_registry: None) -> Iterator[list[str]]:
    """The agents of the examples. Yields the journal of what they were asked."""
    journal: list[str] = []

    @agent("Reader")
    async def read(request: Any, context: Any) -> str:
        journal.append(f"Reader: {request}")
        await context.say("reading")
        return str(request).upper()

    @agent("Counter")
    def count(request: Any) -> int:
        journal.append(f"Counter: {request}")
        return len(str(request))

    @agent("Writer")
    async def write(request: Any, context: Any) -> str:
        journal.append("Writer")
        context.metadata["needs_review"] = "user_choice" not in context and "phase" not in context
        chosen = f" ({context['user_choice']})" if "user_choice" in context else ""
        return f"{request['read.Reader']}: {request['read.Counter']}{chosen}"

    yield journal


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path
