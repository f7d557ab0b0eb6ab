"""The list of sessions: how soon it is there, with few sessions and with very many."""

from __future__ import annotations

import asyncio
import time
from urllib.request import Request, urlopen

from benchmarks.figures import Figure
from benchmarks.machine import Place
from benchmarks.places import copies_of_one
from benchmarks.ui.histories import history, record
from benchmarks.ui.peers import DAGSTER
from benchmarks.ui.probe import median, quantile
from benchmarks.ui.rows import row
from benchmarks.ui.site import Site, Sizes
from benchmarks.ui.useful import useful_rows, visits

QUESTIONS = {
    "as it opens": "",
    "filtered by status": "?status=failed&status=paused",
    "searched": "?q=copy-77",
    "sorted by steps": "?sort=-steps",
    "sorted by last event, filtered": "?sort=-updated_at&status=running",
    "searched and filtered": "?q=copy-77&status=running",
}


async def multiply(site: Site, sessions: int) -> None:
    """So many sessions more, copies of one that has a few steps."""
    await record(site.manager, "original", history(5, 20, 20))
    kind = "postgresql" if site.server.database.startswith("postgresql") else "sqlite"
    place = Place(kind, site.server.database, site.server.folder)
    await asyncio.to_thread(copies_of_one, place, sessions, "original")


async def useful(site: Site, sizes: Sizes) -> list[Figure]:
    await multiply(site, sizes.sessions)
    what = f"list of {sizes.sessions:,}"
    found = await visits(site, site.list_url, "list", sizes.rounds)
    return [
        *useful_rows(what, found, DAGSTER.list_useful, most=(0.7, 1.0)),
        row(f"{what}: DOM nodes", "", [median([each.nodes for each in found.cold])]),
    ]


async def many(site: Site, sizes: Sizes) -> list[Figure]:
    """The page's HTML from the server, by several orders and filters; the slowest question is the row."""
    await multiply(site, sizes.many_sessions)
    found = {what: await _times(site, query, sizes.pages) for what, query in QUESTIONS.items()}
    slowest = max(found, key=lambda what: quantile(found[what], 0.95))
    what = f"HTML of the list of {sizes.many_sessions:,} sessions, p95"
    note = "; ".join(f"{asked} {quantile(times, 0.95):.0f} ms" for asked, times in found.items())
    return [
        row(what, "ms", [quantile(found["as it opens"], 0.95)], most=150, note=note),
        row(
            f"{what}, {slowest}",
            "ms",
            [quantile(found[slowest], 0.95)],
            most=150,
            note="the slowest question.",
        ),
    ]


async def _times(site: Site, query: str, count: int) -> list[float]:
    """Milliseconds, one after another."""
    return [await asyncio.to_thread(_fetch, site, query) for _ in range(count)]


def _fetch(site: Site, query: str) -> float:
    began = time.perf_counter()
    with urlopen(Request(f"{site.list_url}{query}", headers={"Cookie": site.cookie}), timeout=60) as answer:
        answer.read()
    return (time.perf_counter() - began) * 1000
