"""The page of a session: how soon it is of use, and what it takes of the browser, at several sizes."""

from __future__ import annotations

import asyncio
import time
from urllib.request import urlopen

from playwright.async_api import Page

from benchmarks.figures import Figure
from benchmarks.ui.histories import contexts, history, record
from benchmarks.ui.peers import BURR, DAGSTER, PREFECT
from benchmarks.ui.probe import Cost, Traffic, cost, drawn, live, measured, new_page
from benchmarks.ui.rows import row
from benchmarks.ui.site import Site, Sizes
from benchmarks.ui.useful import useful_rows, visits

GLANCES = ("Steps", "Messages", "Log", "Timeline & graph")


async def useful(site: Site, sizes: Sizes) -> list[Figure]:
    await record(site.manager, "usual", history(sizes.branches, sizes.steps, sizes.steps))
    what = "session page"
    found = await visits(site, site.session_url("usual"), "session", sizes.rounds, charts=True)
    cold, warm = found.cold, found.warm
    return [
        *useful_rows(what, found, DAGSTER.page_useful, most=(1.0, 1.5)),
        row(f"{what}: graph drawn, warm", "s", [c.drawn / 1000 for c in warm], most=1.0),
        row(f"{what}: graph drawn, cold", "s", [c.drawn / 1000 for c in cold], most=1.5),
        row(f"{what}: DOM nodes", "", [c.nodes for c in cold], peer=PREFECT, theirs=PREFECT.nodes, most=1000),
        row(f"{what}: heap", "MB", [c.heap_mb for c in cold], peer=DAGSTER, theirs=DAGSTER.heap_mb, most=25),
        row(
            f"{what}: longest task",
            "ms",
            [c.longest_task for c in cold],
            peer=DAGSTER,
            theirs=DAGSTER.longest_task,
            most=200,
        ),
        row(
            f"{what}: bytes, cold",
            "MB",
            [c.bytes / 1e6 for c in cold],
            peer=PREFECT,
            theirs=PREFECT.cold_mb,
            most=2.5,
        ),
    ]


async def long(site: Site, sizes: Sizes) -> list[Figure]:
    """A session as large as they come, looked at while it goes on."""
    await record(site.manager, "long", history(sizes.long_branches, sizes.long_steps, sizes.long_messages))
    figures = await _opened(site, "long", f"{sizes.long_branches:,} branches, {sizes.long_steps:,} steps")
    head = await site.manager.get_head("long")
    more = max(0, sizes.long_events - head.last_seq)
    await record(site.manager, "long", contexts(more))
    await asyncio.to_thread(site.server.stop)
    await asyncio.to_thread(site.server.start)
    context = await site.visitor()
    found = await cost(context, site.session_url("long"), "session", charts=True)
    await context.close()
    what = f"{sizes.long_events:,} events, by a server that has just started"
    return [
        *figures,
        row(f"{what}: useful", "s", [found.useful / 1000]),
        row(f"{what}: server's memory", "MB", [site.memory_mb]),
    ]


async def _opened(site: Site, session_id: str, what: str) -> list[Figure]:
    context = await site.visitor()
    page = await new_page(context, "session")
    traffic = Traffic()
    cdp = await traffic.watch(page)
    await page.goto(site.session_url(session_id))
    await live(page)
    await drawn(page)
    first = await measured(page, cdp, traffic)
    plotly = await page.evaluate(
        "performance.getEntriesByType('resource').filter((e) => e.name.includes('plotly'))"
        ".reduce((sum, e) => sum + e.transferSize, 0)"
    )
    before = site.cpu_seconds
    longest = await _longest_while_in_use(page, site, session_id)
    spent = site.cpu_seconds - before
    nodes = await page.evaluate("document.querySelectorAll('*').length")
    await context.close()
    return [
        row(f"{what}: useful", "s", [first.useful / 1000], most=1.5),
        row(f"{what}: graph drawn", "s", [first.drawn / 1000], most=3),
        row(
            f"{what}: longest task after that",
            "ms",
            [longest],
            peer=BURR,
            theirs=BURR.longest_task,
            most=200,
            note=f"the server took {spent:.1f} s of a processor meanwhile.",
        ),
        row(f"{what}: DOM nodes", "", [max(first.nodes, nodes)], peer=BURR, theirs=BURR.nodes, most=2000),
        row(f"{what}: transferred, without plotly", "MB", [(first.bytes - plotly) / 1e6], most=1),
        row(f"{what}: heap", "MB", [first.heap_mb]),
    ]


async def _longest_while_in_use(page: Page, site: Site, session_id: str) -> float:
    """Milliseconds: while events come, tabs are changed and both charts are moved about."""
    await page.evaluate("bench.tasks.length = 0")
    working = asyncio.ensure_future(_work(site, session_id, seconds=12))
    for name in GLANCES:
        await page.get_by_role("link", name=name, exact=True).click()
        await page.wait_for_timeout(1200)
    for selector in ("#graph .graph-plot", "#timeline .timeline-scroll"):
        await page.locator(selector).hover()
        for _ in range(5):
            await page.mouse.wheel(0, 300)
            await page.wait_for_timeout(150)
    await page.get_by_role("button", name="Zoom into the graph").click()
    await page.wait_for_timeout(500)
    await working
    await page.wait_for_timeout(1000)
    tasks = await page.evaluate("bench.tasks.map(([, duration]) => duration)")
    return max(tasks, default=0.0)


async def _work(site: Site, session_id: str, seconds: float) -> None:
    """Steps and messages, ten events a second."""
    async with site.manager.session(session_id) as session:
        branch = session.branch("root")
        number = 0
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            number += 1
            async with branch.step(agent="Researcher", input=number, step_id=f"late-{number}") as step:
                await branch.add_message("assistant", f"Late {number}", agent="Researcher")
                await asyncio.sleep(0.3)
                step.output = number


async def wide(site: Site, sizes: Sizes) -> list[Figure]:
    """Very many branches in one session."""
    figures = []
    for count in (sizes.wide, sizes.folded):
        await record(site.manager, f"wide-{count}", history(count, count, 0))
        context = await site.visitor()
        found = await cost(context, site.session_url(f"wide-{count}"), "session", charts=True)
        await context.close()
        what = f"{count:,} branches"
        figures += [
            _drawn(what, found)
            if count == sizes.wide
            else row(f"{what}: graph drawn", "s", [found.drawn / 1000]),
            row(f"{what}: DOM nodes", "", [found.nodes], most=2000),
            row(f"{what}: longest task", "ms", [found.longest_task]),
        ]
    return figures


def _drawn(what: str, found: Cost) -> Figure:
    seconds = [found.drawn / 1000]
    return row(f"{what}: graph drawn", "s", seconds, most=3, peer=PREFECT, theirs=PREFECT.wide)


async def server(site: Site, sizes: Sizes) -> list[Figure]:
    """How long until it answers, and what it takes when nothing happens."""
    starts, memory = [], []
    for _ in range(sizes.rounds):
        await asyncio.to_thread(site.server.stop)
        began = time.perf_counter()
        await asyncio.to_thread(site.server.start)
        await asyncio.to_thread(lambda: urlopen(f"{site.server.url}/accounts/login/", timeout=30).close())
        starts.append(time.perf_counter() - began)
        await asyncio.sleep(1)
        memory.append(site.memory_mb)
    return [
        row("server: from start to first answer", "s", starts, peer=BURR, theirs=BURR.start, most=4),
        row("server: memory at rest", "MB", memory, peer=PREFECT, theirs=PREFECT.memory_mb, most=150),
    ]
