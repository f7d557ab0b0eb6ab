"""What cannot be recorded of spans is a gap in the log, and disturbs neither the program nor the rest."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

from state_core import MemoryStorageBackend, StateManager, StateManagerConfig
from state_core.adapters.opentelemetry import SessionSpanProcessor
from state_core.events import EventKind
from state_core.exceptions import ConfigurationError, StorageUnavailable
from state_core.storage import from_url


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
