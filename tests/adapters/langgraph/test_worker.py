"""A worker for graphs, in this process and as `manage.py run_worker` starts one."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph

from state_core import MemoryStorageBackend, SessionStatus, StateManager, StateManagerConfig, StorageBackend
from state_core.adapters.langgraph import GraphWorker, StateCoreSaver, run_session
from state_core.adapters.langgraph.ids import session_id_of
from state_core.adapters.langgraph.worker import graph_workers, graphs_in
from state_core.exceptions import ConfigurationError
from state_core.management.commands.run_worker import load
from state_core.storage import from_url
from tests.adapters.langgraph.graphs import APPROVAL, GRAPHS, Approval
from tests.orchestra.conftest import eventually, reaches

ROOT = Path(__file__).parents[3]
CONFIG = StateManagerConfig(control_interval=0.02)


def approval(manager: StateManager, **options: Any) -> Any:
    return APPROVAL.compile(checkpointer=StateCoreSaver(manager), name="approval", **options)


async def waiting(manager: StateManager, session_id: str = "t") -> Any:
    """A session that stopped before it publishes, and that somebody resumed."""
    graph = approval(manager, interrupt_before=["publish"])
    await run_session(graph, {"draft": ""}, thread_id=session_id)
    await manager.resume_execution(session_id_of(session_id))
    return graph


def test_graphs_are_found_by_their_workflow() -> None:
    compiled = GRAPHS["compiled"]
    assert graphs_in("name", compiled) == {compiled.get_name(): compiled}
    assert graphs_in("name", APPROVAL) == {"name": APPROVAL}
    assert graphs_in("name", GRAPHS) == GRAPHS
    assert graphs_in("name", {"Upper": str.upper}) == {}
    assert load(["tests.adapters.langgraph.graphs:GRAPHS"]).graphs == GRAPHS


async def test_graphs_without_a_saver_are_worked_on_in_every_store_and_others_in_their_own() -> None:
    one, two = (StateManager(MemoryStorageBackend()) for _ in range(2))
    graphs = {"approval": APPROVAL, "bound": approval(one)}
    workers = graph_workers(graphs, [one, two])
    assert [(set(worker.graphs), worker.state_manager.storage) for worker in workers] == [
        ({"approval", "bound"}, one.storage),
        ({"approval"}, two.storage),
    ]


async def test_a_graph_with_another_checkpointer_is_told_what_it_lacks() -> None:
    foreign = APPROVAL.compile(checkpointer=InMemorySaver())
    with pytest.raises(ConfigurationError, match="'other' was not. Compile it with"):
        graph_workers({"other": foreign}, [StateManager(MemoryStorageBackend())])


async def test_a_thread_goes_on_under_the_name_that_the_framework_gave_it(storage: StorageBackend) -> None:
    manager = StateManager(storage, config=CONFIG)
    graph = await waiting(manager, "tides / 2024")
    seen: list[str] = []

    def publish(state: Approval, config: RunnableConfig) -> dict[str, str]:
        seen.append(config["configurable"]["thread_id"])
        return {"published": "yes"}

    builder = StateGraph(Approval)
    builder.add_node("write", lambda state: {"draft": "tides"})
    builder.add_node("publish", publish)
    builder.add_edge(START, "write")
    builder.add_edge("write", "publish")
    worker = GraphWorker({"approval": builder.compile(checkpointer=graph.checkpointer)}, poll=0.02)
    running = asyncio.create_task(worker.run())
    await reaches(manager, session_id_of("tides / 2024"), SessionStatus.COMPLETED, within=60)
    worker.stop()
    await running
    assert seen == ["tides / 2024"]


async def test_a_session_that_kills_its_worker_is_not_taken_up_for_ever(
    storage: StorageBackend, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    manager = StateManager(storage, config=CONFIG)
    graph = await waiting(manager)
    began = asyncio.Event()

    async def hang(*args: Any, **options: Any) -> None:
        began.set()
        await asyncio.sleep(3600)

    graph.nodes["publish"].bound.afunc = hang
    for _ in range(3):
        began.clear()
        worker = GraphWorker({"approval": graph}, poll=0.02, max_recoveries=2)
        running = asyncio.create_task(worker.run())
        await began.wait()
        worker.stop()
        await running
    worker = GraphWorker({"approval": graph}, poll=0.02, max_recoveries=2)
    running = asyncio.create_task(worker.run())
    await eventually(lambda: _is_in(caplog, "it waits for a person"))
    worker.stop()
    await running
    assert (await manager.get_head("t")).status == SessionStatus.INTERRUPTED


async def _is_in(caplog: pytest.LogCaptureFixture, text: str) -> bool:
    return text in caplog.text


@contextmanager
def run_worker(*arguments: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "manage.py", "run_worker", *arguments, "--poll", "0.05"],
        cwd=ROOT,
        env={**os.environ, **environment},
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def test_a_process_started_by_the_command_goes_on_with_graphs(tmp_path: Path) -> None:
    url = f"file:{tmp_path / 'state'}"
    manager = StateManager(from_url(url), config=CONFIG)
    await waiting(manager, "t")
    environment = {"STATE_STORES": f"files={url}", "STATE_VAR": str(tmp_path)}
    with run_worker("tests.adapters.langgraph.graphs:GRAPHS", "--store", "files", **environment) as process:
        await reaches(manager, "t", SessionStatus.COMPLETED, within=60)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, 60) == 0
    thread = {"configurable": {"thread_id": "t"}}
    assert (await approval(manager).aget_state(thread)).values["published"] == "TIDES"
    await manager.close()
