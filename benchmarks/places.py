"""Checkpoints, restores and lists in long histories and large stores, and a large state saved again."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.figures import Bar, Figure
from benchmarks.machine import Machine, Place, Sizes, opened, texts
from state_core import StateManager
from state_core.compose import checkpoint_event
from state_core.records import COUNTS, BranchState, Message, SessionState
from state_core.storage.rows import RESTING

BATCH = 100
TEXT = next(texts(200))
MB = 1e6


async def checkpoint(machine: Machine, sizes: Sizes, kind: str) -> list[Figure]:
    """Created in a long history, and in turns in a short one."""
    long: list[float] = []
    short: list[float] = []
    with machine.place(kind) as place:
        async with opened(place) as manager:
            await _fill(manager, "short", 10)
            await _fill(manager, "long", sizes.events)
            for _ in range(max(sizes.rounds, sizes.steps)):
                short.append(await _milliseconds(lambda: manager.create_checkpoint("short")))
                long.append(await _milliseconds(lambda: manager.create_checkpoint("long")))
    row = f"checkpoint at {sizes.events:,} events, {kind}"
    return [Figure(row, "ms", long, limit_name="at 10 events", limit=short, bar=Bar("limit", "≤", 1.5))]


async def restore(machine: Machine, sizes: Sizes, kind: str) -> list[Figure]:
    """The middle of a long history, by a process that has read nothing of it."""
    found = []
    with machine.place(kind) as place:
        async with opened(place) as manager:
            checkpoint_id = await _fill(manager, "long", sizes.events)
        for _ in range(sizes.rounds):
            async with opened(place) as manager:
                await manager.list_sessions(limit=1)  # it connects
                found.append(await _milliseconds(lambda m=manager: m.restore_checkpoint(checkpoint_id)))
    row = f"restore of the middle of {sizes.events:,} events, {kind}"
    return [Figure(row, "ms", found, bar=Bar("ours", "≤", 100))]


async def checkpoint_list(machine: Machine, sizes: Sizes, kind: str) -> list[Figure]:
    counts = dict.fromkeys(COUNTS, 0)
    with machine.place(kind) as place:
        async with opened(place) as manager:
            await manager.create_session("many")
            for _ in range(sizes.events // BATCH):
                await manager.log.append("many", [checkpoint_event("turn", counts) for _ in range(BATCH)])
            times = [
                await _milliseconds(lambda: manager.list_checkpoints("many")) for _ in range(sizes.rounds)
            ]
    return [Figure(f"list of {sizes.events:,} checkpoints, {kind}", "ms", times, bar=Bar("ours", "≤", 50))]


async def heads(machine: Machine, sizes: Sizes, kind: str) -> list[Figure]:
    """Pages of 50, in several orders and by several filters; the slowest counts."""
    questions: list[dict[str, Any]] = [
        {"sort": "-updated_at", "statuses": ("running",)},
        {"sort": "-created_at", "statuses": ("failed", "paused")},
        {"sort": "session_id", "text": "copy 77"},
        {"sort": "-updated_at", "text": "copy 77", "statuses": ("running",)},
    ]
    with machine.place(kind) as place:
        async with opened(place) as manager:
            await manager.create_session("original", title="copy")
            copies_of_one(place, sizes.heads)
            means = [await _page_times(manager, asked, sizes.rounds) for asked in questions]
    slowest = max(range(len(means)), key=lambda n: sorted(means[n])[len(means[n]) // 2])
    row, note = (
        f"page of heads out of {sizes.heads:,}, {kind}",
        f"the slowest question: {questions[slowest]}.",
    )
    return [Figure(row, "ms", means[slowest], bar=Bar("ours", "≤", 50), note=note)]


async def _page_times(manager: StateManager, asked: dict[str, Any], rounds: int) -> list[float]:
    return [await _milliseconds(lambda: manager.list_sessions(limit=50, **asked)) for _ in range(rounds)]


async def save(machine: Machine, sizes: Sizes, kind: str) -> list[Figure]:
    """A large state with one new message of a few words."""
    grown: list[float] = []
    written: list[float] = []
    with machine.place(kind) as place:
        async with opened(place) as manager:
            await manager.save_session_state("large", _large(sizes.state_mb))
            state = await manager.get_session_state("large")
            await manager.log.flush()  # the snapshot that the first reading made
            for _ in range(sizes.rounds):
                state.branches[0].memory.append(Message("user", "one new message"))
                before = (await manager.get_head("large")).counts["stored_bytes"], _bytes_written()
                await manager.save_session_state("large", state)
                after = (await manager.get_head("large")).counts["stored_bytes"], _bytes_written()
                grown.append(after[0] - before[0])
                written.append(after[1] - before[1])
                state = await manager.get_session_state("large")
    row = f"{sizes.state_mb:g} MB state saved with one new message, {kind}"
    figures = [Figure(f"{row}: log", "bytes", grown, bar=Bar("ours", "≤", 4096))]
    if kind == "file":
        note = "all that the process passed to write(): the index's pages of 4 KB, too."
        figures.append(Figure(f"{row}: written in all", "bytes", written, note=note))
    return figures


def _large(megabytes: float) -> SessionState:
    some = texts()
    memory = [Message("user", next(some)) for _ in range(int(megabytes * MB / 1024))]
    return SessionState("large", branches=[BranchState("main", name="main", memory=memory)])


def _bytes_written() -> int:
    """By this process so far; 0 where the system does not tell."""
    counters = Path("/proc/self/io")
    if not counters.exists():
        return 0
    lines = dict(line.split(": ") for line in counters.read_text().splitlines())
    return int(lines["wchar"])


async def _milliseconds(act: Callable[[], Awaitable[object]]) -> float:
    began = time.perf_counter()
    await act()
    return (time.perf_counter() - began) * 1000


async def _fill(manager: StateManager, session_id: str, events: int) -> str:
    """So many events, recorded live; returns the id of a checkpoint in the middle."""
    async with manager.session(session_id) as session:
        branch = await session.open_branch("talk")
        checkpoint_id = ""
        while session.seq < events:
            count = min(BATCH, events - session.seq)
            await session.append(*(branch.messages_event([Message("user", TEXT)]) for _ in range(count)))
            if not checkpoint_id and session.seq >= events // 2:
                checkpoint_id = await session.checkpoint("middle")
    return checkpoint_id


def copies_of_one(place: Place, count: int, original: str = "original") -> None:
    """One session becomes many, by one statement: other ids, statuses and moments."""
    if place.kind == "postgresql":
        with psycopg.connect(place.url, autocommit=True) as connection:
            names = [row.name for row in connection.execute(f"SELECT * FROM {_TABLE}").description or ()]
            ago = "updated_at - n * interval '1 second'"
            connection.execute(_copies(names, count, original, ago, f"date_trunc('minute', {ago})"))
            connection.execute(f"ANALYZE {_TABLE}")
    else:
        connection = sqlite3.connect(place.folder / "state.sqlite3")
        names = [column[0] for column in connection.execute(f"SELECT * FROM {_TABLE}").description]
        ago = "updated_at, '-' || n || ' seconds'"
        minute = f"strftime('%Y-%m-%d %H:%M:00', {ago})"
        connection.execute(_copies(names, count, original, f"datetime({ago})", minute))
        connection.execute("ANALYZE")
        connection.commit()
        connection.close()


_TABLE = "marsys_state_session"


def _copies(names: list[str], count: int, original: str, earlier: str, minute: str) -> str:
    columns = [name for name in names if name != "id"]
    different = {
        "session_id": "'copy-' || n",
        "search": "'copy-' || n || ' copy ' || n",
        "started_at": earlier.replace("updated_at", "started_at"),
        "ended_at": f"CASE WHEN n % 5 IN (0, 2) THEN NULL ELSE {earlier} END",
        "owner": "CASE n % 5 WHEN 0 THEN 'worker-' || n % 10 ELSE '' END",
        "error": "CASE n % 5 WHEN 1 THEN 'TimeoutError: no answer ' || n ELSE '' END",
        "status": "CASE n % 5 WHEN 0 THEN 'running' WHEN 1 THEN 'failed' WHEN 2 THEN 'paused' "
        "ELSE 'completed' END",
        **{column: f"CASE n % 5 WHEN 0 THEN NULL ELSE {count} END" for count, column in RESTING.items()},
        "worked": f'CASE WHEN n > {count - count // 30} THEN \'["Planner","Early"]\' '
        'WHEN n % 1000 = 7 THEN \'["Planner","Rare"]\' '
        "ELSE '[\"Planner\",\"Writer ' || (n % 20) || '\"]' END",
        "updated_at": earlier,
        "updated_minute": minute,
        "created_at": earlier.replace("updated_at", "created_at"),
    }
    values = ", ".join(different.get(name, name) for name in columns)
    return (
        f"WITH RECURSIVE g(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM g WHERE n < {count}) "
        f"INSERT INTO {_TABLE} ({', '.join(columns)}) SELECT {values} FROM {_TABLE}, g "
        f"WHERE session_id = '{original}'"
    )
