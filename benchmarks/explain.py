"""Every question that the list of sessions asks of a database, out of very many: how long, and by which plan.

A row counts the questions that read the whole table though an index should serve them, and shows their plans.
Parts of texts have none: changed sessions would have to write it, and finding what is nowhere among 100,000
takes less than the bar.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from benchmarks.figures import Bar, Figure
from benchmarks.machine import Machine, Place, Sizes, opened
from benchmarks.places import copies_of_one
from state_core import StateManager
from state_core.records import utc_now
from state_core.storage.base import HeadQuery
from state_core.storage.database import DatabaseStorageBackend

PAGE = 50
MOST = 50
"""Milliseconds for a page of heads."""
MOST_COUNTING = 150
"""Milliseconds for counting all that match, per status."""
UNINDEXED = frozenset({"text", "tag", "owner", "error", "min_duration"})
"""Filters by which no index finds sessions; on SQLite `agent`, too."""


def questions() -> Mapping[str, HeadQuery]:
    """What is rare among them, or not there at all, is what takes longest to find."""
    now = utc_now()
    found = {
        "newest": HeadQuery(),
        "longest ago": HeadQuery(sort="updated_at"),
        "created": HeadQuery(sort="-created_at"),
        "started": HeadQuery(sort="-started_at"),
        "by id": HeadQuery(sort="session_id"),
        "by status": HeadQuery(sort="status"),
        "by steps": HeadQuery(sort="-steps"),
        "by steps, the fewest first": HeadQuery(sort="steps"),
        "by size": HeadQuery(sort="-state_bytes"),
        "by size, the smallest first": HeadQuery(sort="state_bytes"),
        "by duration": HeadQuery(sort="-duration"),
        "of one status": HeadQuery(statuses=("running",)),
        "of one status, created": HeadQuery(statuses=("failed",), sort="-created_at"),
        "of one status, by steps": HeadQuery(statuses=("failed",), sort="-steps"),
        "at work, by steps": HeadQuery(statuses=("running",), sort="-steps"),
        "of no session's status": HeadQuery(statuses=("waiting",)),
        "since": HeadQuery(since=now - timedelta(hours=1)),
        "until": HeadQuery(until=now - timedelta(hours=25)),
        "with questions": HeadQuery(questions=True, sort="updated_at"),
        "forks": HeadQuery(origin="original"),
        "interrupted": HeadQuery(lease_expired=True),
        "text": HeadQuery(text="copy 777"),
        "text that is nowhere": HeadQuery(text="no such words"),
        "tag that is nowhere": HeadQuery(tag="none"),
        "agent of all": HeadQuery(agent="Planner"),
        "agent of a twentieth, started": HeadQuery(agent="Writer 3", sort="-started_at"),
        "agent of a thousandth": HeadQuery(agent="Rare"),
        "agent of those of long ago": HeadQuery(agent="Early"),
        "agent of those of long ago, by steps": HeadQuery(agent="Early", sort="-steps"),
        "agent that is nowhere": HeadQuery(agent="Nobody"),
        "agent and status": HeadQuery(agent="Early", statuses=("failed",)),
        "agent, by duration": HeadQuery(agent="Rare", sort="-duration"),
        "owner": HeadQuery(owner="worker-7"),
        "owner that is nowhere": HeadQuery(owner="nobody"),
        "error": HeadQuery(error="answer 7771"),
        "error that is nowhere": HeadQuery(error="no such error"),
        "lasted long": HeadQuery(min_duration=10**9),
    }
    return {what: replace(query, limit=PAGE) for what, query in found.items()}


async def explain(machine: Machine, sizes: Sizes, kind: str) -> list[Figure]:
    asked = questions()
    with machine.place(kind) as place:
        async with opened(place) as manager:
            await _fill(manager, place, sizes.heads)
            what = f"{sizes.heads:,} sessions, {kind}"
            pages = [await _paged(manager, f"{what}: {name}", asked[name], sizes.rounds) for name in asked]
            counts = [await _counted(manager, what, name, asked[name], sizes.rounds) for name in asked]
            plans = {name: await asyncio.to_thread(_plan, manager.storage, asked[name]) for name in asked}
    slowest = max(counts, key=lambda figure: max(figure.ours))
    reading = [name for name in asked if _has_index(asked[name], kind) and _reads_all(plans[name])]
    note = "\n".join(f"{name}:\n{plans[name]}" for name in reading)
    by_scan = Figure(
        f"{what}: read all, with an index", "", [len(reading)], bar=Bar("ours", "≤", 0), note=note
    )
    return [*pages, slowest, by_scan]


async def _fill(manager: StateManager, place: Place, count: int) -> None:
    async with manager.session("original", title="copy") as session:
        await session.open_branch("talk")
    copies_of_one(place, count)


async def _paged(manager: StateManager, row: str, query: HeadQuery, rounds: int) -> Figure:
    times = [await _milliseconds(lambda: manager.storage.heads(query)) for _ in range(rounds)]
    return Figure(row, "ms", times, bar=Bar("ours", "≤", MOST))


async def _counted(manager: StateManager, row: str, name: str, query: HeadQuery, rounds: int) -> Figure:
    """The slowest of these is shown."""
    times = [await _milliseconds(lambda: manager.storage.count_by_status(query)) for _ in range(rounds)]
    bar = Bar("ours", "≤", MOST_COUNTING)
    return Figure(f"{row}: counted by status", "ms", times, bar=bar, note=f"the slowest to count: {name}.")


async def _milliseconds(act: Any) -> float:
    began = time.perf_counter()
    await act()
    return (time.perf_counter() - began) * 1000


def _plan(storage: Any, query: HeadQuery) -> str:
    from django.db import connections

    from state_core.models import tables
    from state_core.storage import headquery

    assert isinstance(storage, DatabaseStorageBackend)
    try:
        pages = headquery.pages(tables().session.objects.using(storage.alias), query)
        return "\n".join(page.explain() for page in pages)
    finally:
        connections[storage.alias].close()


def _has_index(query: HeadQuery, kind: str) -> bool:
    unindexed = UNINDEXED | {"agent"} if kind == "sqlite" else UNINDEXED
    return not any(getattr(query, name) for name in unindexed)


def _reads_all(plan: str) -> bool:
    """As PostgreSQL and SQLite say it."""
    lines = plan.splitlines()
    return any("Seq Scan on" in line or line.endswith("SCAN marsys_state_session") for line in lines)
