"""Durable steps: one after another, 64 sessions at once, and messages as the feed sees them."""

from __future__ import annotations

import asyncio
import statistics
import time

from benchmarks.figures import Bar, Figure
from benchmarks.limits import NAMES, ROWS_A_COMMIT, bare, batched
from benchmarks.machine import Machine, Place, Sizes, opened, texts
from benchmarks.peers import PeerMissing, dbos
from state_core import StateManager
from state_core.branch import Branch

APPENDS_A_STEP = 2
"""Its start and its completion, each durable before it goes on."""
TEXT = next(texts())


async def one_after_another(machine: Machine, sizes: Sizes, kind: str) -> list[Figure]:
    ours: list[float] = []
    limit: list[float] = []
    peer: list[float] = []
    note = ""
    with machine.place(kind) as place:
        async with opened(place) as manager, manager.session("steps") as session:
            branch = await session.open_branch("work")
            await _work(branch, 10)
            for _ in range(sizes.rounds):
                seconds = await _work(branch, sizes.steps)
                ours.append(sizes.steps * APPENDS_A_STEP / seconds)
                limit.append(await asyncio.to_thread(bare, place, sizes.steps * APPENDS_A_STEP))
    row = f"steps one after another, {kind}"
    figures = [
        Figure(row, "appends/s", ours, limit_name=NAMES[kind], limit=limit, bar=Bar("limit", "≥", 0.5)),
    ]
    if kind == "postgresql":
        for _ in range(sizes.rounds):
            with machine.place(kind) as place:
                try:
                    peer.append(await dbos.steps(place, sizes.steps))
                except PeerMissing as missing:
                    note = str(missing)
                    break
        halved = [rate / APPENDS_A_STEP for rate in ours]
        figures.append(Figure(f"{row}: steps", "steps/s", halved, "DBOS" if peer else "", peer, note=note))
    return figures


async def _work(branch: Branch, times: int) -> float:
    """Seconds."""
    began = time.perf_counter()
    for _ in range(times):
        async with branch.step("agent") as step:
            step.output = TEXT
    return time.perf_counter() - began


async def flat(machine: Machine, sizes: Sizes, kind: str) -> list[Figure]:
    """The same step early and late in a session. In turns with bare writes, so that a machine that becomes
    slower meanwhile does not count."""
    with machine.place(kind) as place:
        async with opened(place) as manager, manager.session("steps") as session:
            branch = await session.open_branch("work")
            await _work(branch, 10)
            early = await _relative(branch, place, sizes)
            await _work(branch, max(0, sizes.many_steps - 2 * sizes.rounds * sizes.steps - 10))
            late = await _relative(branch, place, sizes)
    ratio = [statistics.median(late) / statistics.median(early)]
    row = f"a step at {sizes.many_steps:,} beside one at 10, {kind}"
    return [Figure(row, "×", ratio, bar=Bar("ours", "≤", 1.2), note="time of a step, in bare writes' time.")]


async def _relative(branch: Branch, place: Place, sizes: Sizes) -> list[float]:
    found = []
    for _ in range(sizes.rounds):
        seconds = await _work(branch, sizes.steps)
        found.append(seconds * await asyncio.to_thread(bare, place, sizes.steps) / sizes.steps)
    return found


async def crowd(machine: Machine, sizes: Sizes) -> list[Figure]:
    """Sessions at once in one process on PostgreSQL."""
    ours: list[float] = []
    limit: list[float] = []
    appends = sizes.sessions * sizes.steps_each * APPENDS_A_STEP
    with machine.place("postgresql") as place:
        async with opened(place) as manager:
            for turn in range(sizes.rounds):
                ours.append(appends / await _together(manager, sizes, turn))
                limit.append(await asyncio.to_thread(batched, place, max(appends, 20 * ROWS_A_COMMIT)))
    name = f"executemany, {ROWS_A_COMMIT} rows a commit"
    row = f"{sizes.sessions} sessions at once, postgresql"
    return [Figure(row, "appends/s", ours, limit_name=name, limit=limit, bar=Bar("limit", "≥", 0.4))]


async def _together(manager: StateManager, sizes: Sizes, turn: int) -> float:
    """Seconds from when all have begun until the last has done its steps."""
    ready = asyncio.Barrier(sizes.sessions + 1)

    async def one(number: int) -> None:
        async with manager.session(f"crowd-{turn}-{number}") as session:
            branch = await session.open_branch("work")
            await ready.wait()
            await _work(branch, sizes.steps_each)
            await ready.wait()

    async with asyncio.TaskGroup() as group:
        for number in range(sizes.sessions):
            group.create_task(one(number))
        await ready.wait()
        began = time.perf_counter()
        await ready.wait()
        return time.perf_counter() - began


async def feed(machine: Machine, sizes: Sizes, kind: str) -> list[Figure]:
    """Messages recorded one after another, each durable before the next."""
    ours: list[float] = []
    limit: list[float] = []
    with machine.place(kind) as place:
        async with opened(place) as manager, manager.session("feed") as session:
            branch = await session.open_branch("talk")
            for _ in range(sizes.rounds):
                began = time.perf_counter()
                for _ in range(sizes.steps):
                    await branch.add_message("user", TEXT)
                ours.append(sizes.steps / (time.perf_counter() - began))
                limit.append(await asyncio.to_thread(bare, place, sizes.steps))
    row = f"events recorded one after another, {kind}"
    return [Figure(row, "events/s", ours, limit_name=NAMES[kind], limit=limit, bar=Bar("ours", "≥", 1000))]
