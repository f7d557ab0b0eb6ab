"""What a page costs the browser, and when something was to be seen in it."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from playwright.async_api import BrowserContext, CDPSession, Page

WITNESS = """
window.bench = { seen: [], tasks: [], drawn: null, useful: null };
new PerformanceObserver((list) => {
  for (const task of list.getEntries()) bench.tasks.push([task.startTime, task.duration]);
}).observe({ type: "longtask", buffered: true });
const painted = (act) => requestAnimationFrame(() => {
  const channel = new MessageChannel();
  channel.port1.onmessage = () => { act(); channel.port1.close(); };
  channel.port2.postMessage(0);
});
const note = ({ sessionId, seq }) => {
  if (sessionId) painted(() => bench.seen.push([sessionId, Number(seq), Date.now()]));
};
new MutationObserver((changes) => {
  for (const { type, target, addedNodes } of changes) {
    if (type === "attributes") note(target.dataset);
    else for (const row of addedNodes) note(row.dataset ?? {});
  }
  if (!bench.useful && document.querySelector(USEFUL)) painted(() => { bench.useful ??= performance.now(); });
}).observe(document, { subtree: true, childList: true, attributes: true, attributeFilter: ["data-seq"] });
document.addEventListener("charts:ready", () => painted(() => {
  bench.drawn = performance.now();
  document.documentElement.dataset.drawn = "true";
}));
"""
"""Of rows of the list and of the page of a session, when which event was painted; tasks that were long."""

USEFUL = {
    "session": "#conversation [data-list] > *",
    "list": "#sessions tbody tr",
}
"""What has to be in the page for it to be of use."""


@dataclass
class Cost:
    """Of one page, from the moment it was asked for."""

    useful: float = 0.0
    """Milliseconds until its content was painted."""
    drawn: float = 0.0
    """Milliseconds until its charts were."""
    nodes: int = 0
    heap_mb: float = 0.0
    longest_task: float = 0.0
    """Milliseconds, of the main thread."""
    bytes: int = 0
    """As they came over the line, sockets among them."""
    requests: int = 0


@dataclass
class Traffic:
    """What a page asks for and is sent."""

    bytes: int = 0
    requests: int = 0
    frames: int = 0
    urls: list[str] = field(default_factory=list)

    async def watch(self, page: Page) -> CDPSession:
        session = await page.context.new_cdp_session(page)
        session.on("Network.requestWillBeSent", self._requested)
        session.on("Network.loadingFinished", self._loaded)
        session.on("Network.webSocketFrameReceived", self._heard)
        await session.send("Network.enable")
        return session

    def _requested(self, event: dict[str, Any]) -> None:
        if not event["request"]["url"].startswith("data:"):
            self.requests += 1
            self.urls.append(event["request"]["url"])

    def _loaded(self, event: dict[str, Any]) -> None:
        self.bytes += int(event["encodedDataLength"])

    def _heard(self, event: dict[str, Any]) -> None:
        self.frames += 1
        self.bytes += len(event["response"]["payloadData"])


async def new_page(context: BrowserContext, what: str) -> Page:
    page = await context.new_page()
    await page.add_init_script(WITNESS.replace("USEFUL", repr(USEFUL[what])))
    return page


async def live(page: Page) -> None:
    await page.locator('#live-badge[data-state="live"]').wait_for()


async def drawn(page: Page) -> None:
    """Both charts are there."""
    await page.locator("html[data-drawn]").wait_for()


async def cost(context: BrowserContext, url: str, what: str, *, charts: bool = False) -> Cost:
    """Opens the page in a tab of its own, waits until it is live and drawn, and closes it."""
    page = await new_page(context, what)
    traffic = Traffic()
    session = await traffic.watch(page)
    await page.goto(url)
    await live(page)
    if charts:
        await drawn(page)
    await page.wait_for_timeout(500)
    found = await measured(page, session, traffic)
    await page.close()
    return found


async def measured(page: Page, session: CDPSession, traffic: Traffic) -> Cost:
    await session.send("HeapProfiler.collectGarbage")
    heap = (await session.send("Runtime.getHeapUsage"))["usedSize"]
    told = await page.evaluate(
        "({ useful: bench.useful, drawn: bench.drawn, nodes: document.querySelectorAll('*').length, "
        "longest: Math.max(0, ...bench.tasks.map(([, duration]) => duration)) })"
    )
    return Cost(
        useful=told["useful"] or 0.0,
        drawn=told["drawn"] or 0.0,
        nodes=told["nodes"],
        heap_mb=heap / 1e6,
        longest_task=told["longest"],
        bytes=traffic.bytes,
        requests=traffic.requests,
    )


Seen = list[tuple[str, int, float]]
"""(session id, seq, seconds since 1970)"""


async def seen(page: Page) -> Seen:
    return [(who, seq, at / 1000) for who, seq, at in await page.evaluate("bench.seen")]


def delays(recorded: dict[int, float], shown: Seen, who: str) -> list[float]:
    """Seconds from the moment that each event was handed to the store until it, or a later one, was seen.

    One that was never seen counts as endless."""
    own = sorted((at, seq) for name, seq, at in shown if name == who)
    return [
        next((at - began for at, up_to in own if up_to >= seq), float("inf"))
        for seq, began in recorded.items()
    ]


def quantile(values: Sequence[float], part: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


def median(values: Sequence[float]) -> float:
    return statistics.median(values)
