"""From an event to the screen: one by one, in a crowd, after a time off the line; and an idle tab."""

from __future__ import annotations

import asyncio
import time

from benchmarks.figures import Figure
from benchmarks.ui.histories import contexts, history, record
from benchmarks.ui.lists import multiply
from benchmarks.ui.peers import DAGSTER, PHOENIX, PREFECT
from benchmarks.ui.probe import Traffic, delays, live, new_page, quantile, seen
from benchmarks.ui.rows import row
from benchmarks.ui.site import Site, Sizes
from tests.line import Line

ORDER = """window.order = []; document.addEventListener("state:frame", ({ detail }) => {
  order.push(...detail.events.map((event) => event.seq));
});"""


async def lone_events(site: Site, sizes: Sizes) -> list[Figure]:
    """One event a second, on the session's page and in the list."""
    await record(site.manager, "lone", history(sizes.branches, sizes.steps, sizes.steps))
    await multiply(site, sizes.sessions)
    context = await site.visitor()
    page, listing = await new_page(context, "session"), await new_page(context, "list")
    found = []
    for shown, url in (
        (page, site.session_url("lone", "?tab=steps")),
        (listing, f"{site.list_url}?q=lone"),
    ):
        await shown.bring_to_front()  # what is behind is painted once a second
        await shown.goto(url)
        await live(shown)
        recorded = await _one_by_one(site, sizes)
        found.append(delays(recorded, await seen(shown), "lone"))
        await shown.goto("about:blank")
    await context.close()
    own, listed = found
    return [
        row(
            "event to session page, p50",
            "s",
            [quantile(own, 0.5)],
            peer=DAGSTER,
            theirs=DAGSTER.page[0],
            most=0.04,
        ),
        row(
            "event to session page, p95",
            "s",
            [quantile(own, 0.95)],
            peer=DAGSTER,
            theirs=DAGSTER.page[1],
            most=0.08,
        ),
        row(
            "event to list, p50", "s", [quantile(listed, 0.5)], peer=PHOENIX, theirs=PHOENIX.list[0], most=0.1
        ),
        row(
            "event to list, p95",
            "s",
            [quantile(listed, 0.95)],
            peer=PHOENIX,
            theirs=PHOENIX.list[1],
            most=0.25,
        ),
    ]


async def _one_by_one(site: Site, sizes: Sizes) -> dict[int, float]:
    recorded: dict[int, float] = {}
    for _ in range(sizes.lone_events):
        began = time.time()
        last = await site.manager.log.append("lone", contexts(1))
        recorded[last] = began
        await asyncio.sleep(max(0.0, began + 1 - time.time()))
    await asyncio.sleep(sizes.settle)
    return recorded


async def crowd(site: Site, sizes: Sizes) -> list[Figure]:
    """Many sessions at work; one of them is looked at, and all of them in the list."""
    names = [f"crowd-{n}" for n in range(sizes.running)]
    for name in names:
        await record(site.manager, name, history(5, 20, 20))
    windows = [await site.visitor(), await site.visitor()]
    page, listing = await new_page(windows[0], "session"), await new_page(windows[1], "list")
    await page.goto(site.session_url(names[0], "?tab=steps"))
    await listing.goto(site.list_url)
    await live(page)
    await live(listing)
    before = site.cpu_seconds
    recorded = await _at_a_rate(site, names, sizes)
    spent = (site.cpu_seconds - before) / sizes.seconds
    own = delays(recorded[names[0]], await seen(page), names[0])
    rows = await seen(listing)
    listed = [delay for name in names for delay in delays(recorded[name], rows, name)]
    for window in windows:
        await window.close()
    what = f"{sizes.running} sessions at {sizes.rate} events/s together"
    note = f"the server took {spent:.0%} of a processor."
    return [
        row(f"{what}: event to session page, p95", "s", [quantile(own, 0.95)], most=0.25, note=note),
        row(f"{what}: event to list, p95", "s", [quantile(listed, 0.95)], most=0.25),
    ]


async def _at_a_rate(site: Site, names: list[str], sizes: Sizes) -> dict[str, dict[int, float]]:
    recorded: dict[str, dict[int, float]] = {name: {} for name in names}
    each = sizes.rate / len(names)

    async def work(number: int, name: str) -> None:
        await asyncio.sleep(number / sizes.rate)
        for _ in range(int(sizes.seconds * each)):
            began = time.time()
            recorded[name][await site.manager.log.append(name, contexts(1))] = began
            await asyncio.sleep(max(0.0, began + 1 / each - time.time()))

    await asyncio.gather(*(work(number, name) for number, name in enumerate(names)))
    await asyncio.sleep(sizes.settle)
    return recorded


async def offline(site: Site, sizes: Sizes) -> list[Figure]:
    """The line is cut while events are recorded; then it is there again."""
    await record(site.manager, "away", history(5, 20, 20))
    line = Line(site.server)
    await line.restore()
    context = await site.visitor(line.url)
    page = await new_page(context, "session")
    await page.goto(f"{line.url}/sessions/default/away/?tab=log")
    await live(page)
    await page.evaluate(ORDER)
    first = (await site.manager.get_head("away")).last_seq
    await line.cut()
    for _ in range(10):
        await record(site.manager, "away", contexts(sizes.offline_events // 10))
        await asyncio.sleep(sizes.offline_seconds / 10)
    last = (await site.manager.get_head("away")).last_seq
    await line.restore()
    began = time.time()
    await page.locator(f'#main[data-seq="{last}"]').wait_for()
    await page.wait_for_timeout(200)
    took = next(at for _, seq, at in await seen(page) if seq == last) - began
    complete = await page.evaluate("order") == list(range(first + 1, last + 1))
    await context.close()
    await line.cut()
    what = f"{sizes.offline_seconds:g} s off the line, {sizes.offline_events:,} events: all there"
    note = "complete and in order." if complete else "NOT COMPLETE, or not in order."
    ours = [took if complete else float("inf")]
    return [row(what, "s", ours, peer=DAGSTER, theirs=DAGSTER.back, most=1, note=note)]


async def idle(site: Site, sizes: Sizes) -> list[Figure]:
    """A tab of a session in which nothing happens."""
    await record(site.manager, "idle", history(5, 20, 20))
    context = await site.visitor()
    figures = []
    for what, url in (("session", site.session_url("idle")), ("list", f"{site.list_url}?q=idle")):
        page = await new_page(context, what)
        await page.goto(url)
        await live(page)
        await page.wait_for_timeout(3000)
        traffic = Traffic()
        await traffic.watch(page)
        await page.wait_for_timeout(sizes.idle_seconds * 1000)
        minute = 60 / sizes.idle_seconds
        note = f"{traffic.frames * minute:g} frames of a socket."
        figures += [
            row(
                f"idle tab, {what}: requests a minute",
                "",
                [traffic.requests * minute],
                peer=DAGSTER,
                theirs=DAGSTER.idle_requests,
                most=0,
            ),
            row(
                f"idle tab, {what}: bytes a minute",
                "bytes",
                [traffic.bytes * minute],
                peer=DAGSTER,
                theirs=DAGSTER.idle_bytes,
                most=1000,
                note=note,
            ),
        ]
        await page.close()
    await context.close()
    return figures


async def recording(site: Site, sizes: Sizes) -> list[Figure]:
    """Events recorded one after another through the client, while the dashboard looks on."""
    rates = []
    async with site.manager.session("recording") as session:
        branch = await session.open_branch("work")
        for _ in range(sizes.rounds):
            began = time.perf_counter()
            for _ in range(sizes.rate * 2):
                await branch.add_message("user", "x" * 200)
            rates.append(sizes.rate * 2 / (time.perf_counter() - began))
    what = "events recorded one after another"
    return [row(what, "events/s", rates, least=1000, peer=PREFECT, theirs=PREFECT.recorded)]
