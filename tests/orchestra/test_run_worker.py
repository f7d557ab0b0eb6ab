"""`manage.py run_worker`, as a person runs it."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from state_core import SessionStatus, StateManager
from state_core.management.commands.run_worker import load
from state_core.orchestra import Node, OrchestraInstance, Topology
from state_core.storage import from_url, stores
from tests.orchestra.conftest import reaches

HERE = __name__
FLOW = Topology([Node("n", ["Upper"])], name="flow")
CAST = {"Upper": str.upper}
NUMBER = 3


@pytest.fixture
def two_stores(settings: Any, tmp_path: Path) -> Iterator[list[str]]:
    urls = {name: f"file:{tmp_path / name}" for name in ("default", "other")}
    settings.STATE_STORES = {name: {"URL": url} for name, url in urls.items()}
    made, stores._made = stores._made, {}
    yield list(urls.values())
    stores._made = made


def in_thread(use: Callable[[], Any]) -> threading.Thread:
    thread = threading.Thread(target=lambda: asyncio.run(use()))
    thread.start()
    return thread


@pytest.mark.parametrize(
    ("path", "agents", "topologies"),
    [
        ("state_core.demo.survey", {"Collector", "Critic"}, set()),
        (f"{HERE}:CAST", {"Upper"}, set()),
        (f"{HERE}:FLOW", set(), {"flow"}),
    ],
)
def test_a_module_or_what_stands_in_it_says_what_to_work_on(
    path: str, agents: set[str], topologies: set[str]
) -> None:
    found = load([path])
    assert agents <= found.agents.keys()
    assert topologies == found.topologies.keys()
    assert found.graphs == {}


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("no.such.module", "cannot be imported.*PYTHONPATH"),
        (":CAST", "cannot be imported"),
        (f"{HERE}:NOTHING", "has no 'NOTHING'"),
        (f"{HERE}:NUMBER", "is a int. Name a mapping of agents"),
    ],
)
def test_what_cannot_be_worked_on_is_named(path: str, says: str) -> None:
    with pytest.raises(CommandError, match=says):
        load([path])


def test_one_worker_serves_several_stores_until_a_signal(two_stores: list[str]) -> None:
    async def submit_and_wait() -> None:
        managers = [StateManager(from_url(url)) for url in two_stores]
        try:
            for manager in managers:
                await OrchestraInstance(FLOW, manager, CAST).submit("task", {"session_id": "s"})
            for manager in managers:
                await reaches(manager, "s", SessionStatus.COMPLETED)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            for manager in managers:
                await manager.close()

    asking = in_thread(submit_and_wait)
    call_command("run_worker", f"{HERE}:CAST", "--store", "default", "--store", "other", "--poll", "0.05")
    asking.join()
    for url in two_stores:
        store = from_url(url)
        assert asyncio.run(store.head("s")).status == SessionStatus.COMPLETED
        asyncio.run(store.close())
