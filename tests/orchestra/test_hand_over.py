"""Begun on one machine, continued on another: real processes that share nothing but a store."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from state_core import SessionStatus, StateManager
from tests.orchestra.conftest import reaches
from tests.orchestra.machine import SESSION, store_at

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}


@pytest.fixture(params=["redis", "postgres", "folder"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """An empty store that several machines can open: its URL, and its key prefix where it has one."""
    if request.param == "redis":
        prefix = request.getfixturevalue("redis_prefix")
        return [request.getfixturevalue("redis_server").url, prefix]
    if request.param == "postgres":
        return [request.getfixturevalue("postgres_url")]
    return [f"file:{tmp_path}/shared"]


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    return tmp_path / "gate"


@pytest.fixture
async def manager(place: list[str]) -> AsyncIterator[StateManager]:
    manager = StateManager(store_at(*place))
    yield manager
    await manager.close()


class Machine:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def begin(self) -> None:
        assert self.process.stdin
        self.process.stdin.write(b"go\n")
        await self.process.stdin.drain()

    async def says(self) -> Any:
        assert self.process.stdout
        line = await asyncio.wait_for(self.process.stdout.readline(), 60)
        assert line, "it ended without a word"
        return json.loads(line)

    async def ends_well(self) -> None:
        assert await asyncio.wait_for(self.process.wait(), 30) == 0


@asynccontextmanager
async def machine(which: str, place: list[str], gate: Path) -> AsyncIterator[Machine]:
    url, *prefix = place
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.orchestra.machine", which, url, str(gate), *prefix),
        cwd=ROOT,
        env=ENVIRONMENT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout
        assert await asyncio.wait_for(process.stdout.readline(), 60) == b"ready\n"
        yield Machine(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def hand_over(place: list[str], gate: Path) -> None:
    async with machine("a", place, gate) as a:
        await a.begin()
        assert await a.says() == {"result": 2}
        await a.ends_well()


WRITTEN = [["moon", "sun"], "machine_b", "B"]


async def test_another_machine_continues_with_another_topology(
    place: list[str], gate: Path, manager: StateManager
) -> None:
    await hand_over(place, gate)
    paused = await manager.get_session_state(SESSION)
    assert (paused.status, paused.metadata["handoff_to"]) == (SessionStatus.PAUSED, "machine_b")
    gate.touch()
    async with machine("b", place, gate) as b:
        await b.begin()
        results = (await b.says())["result"]
        await b.ends_well()
    assert results["write"] == WRITTEN
    assert results["check"] == 2, "the final response of part 1"
    state = await manager.get_session_state(SESSION)
    assert state.status == SessionStatus.COMPLETED
    assert {branch.branch_id for branch in state.branches} == {"collect", "count", "write", "check"}
    collected = state.branch("collect")
    assert collected and "collected on machine A" in [message.content for message in collected.memory]
    assert len(collected.steps) == 1


async def test_of_two_machines_at_once_one_wins_and_the_other_is_told_who_has_it(
    place: list[str], gate: Path, manager: StateManager
) -> None:
    await hand_over(place, gate)
    async with machine("b", place, gate) as one, machine("b", place, gate) as other:
        await asyncio.gather(one.begin(), other.begin())
        waiting = {asyncio.create_task(each.says()): each for each in (one, other)}
        (first,), _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        loser, refused = waiting.pop(first), first.result()
        ((hears, winner),) = waiting.items()
        await reaches(manager, SESSION, SessionStatus.RUNNING)
        head = await manager.get_head(SESSION)
        assert head.owner == refused["held by"]
        assert f"-{winner.process.pid}." in head.owner
        assert repr(head.owner) in refused["says"]
        gate.touch()
        assert (await hears)["result"]["write"] == WRITTEN
        await asyncio.gather(loser.ends_well(), winner.ends_well())
    taken_up = await manager.log.read(SESSION, kinds=["session.resumed"])
    assert [event.data["owner"] for event in taken_up] == [head.owner]
    state = await manager.get_session_state(SESSION)
    assert state.status == SessionStatus.COMPLETED
    assert [len(branch.steps) for branch in state.branches] == [1, 1, 1, 1]
