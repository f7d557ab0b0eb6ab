"""A dashboard with its browser: a daphne process, a store that this process records into, Chromium."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.async_api import Browser, BrowserContext, async_playwright

from benchmarks.machine import Machine
from state_core import StateManager
from state_core.storage import from_url
from tests.browsers import ARGUMENTS, chromium_path
from tests.server import COOKIE, Server

VIEWPORT = {"width": 1280, "height": 900}
TICKS = os.sysconf("SC_CLK_TCK")
STORES = ("postgresql", "sqlite")


@dataclass(frozen=True)
class Sizes:
    """How much there is. A quick run shows that everything works; its figures say little."""

    branches: int = 200
    steps: int = 5000
    sessions: int = 2000
    many_sessions: int = 100_000
    long_branches: int = 2000
    long_steps: int = 20_000
    long_messages: int = 40_000
    long_events: int = 100_000
    folded: int = 10_000
    wide: int = 5000
    rounds: int = 5
    lone_events: int = 40
    """One a second."""
    offline_seconds: float = 30
    offline_events: int = 2000
    idle_seconds: float = 60
    running: int = 50
    rate: int = 200
    """Events a second of all that run."""
    seconds: float = 15
    viewers: int = 1000
    watched: int = 100
    not_reading: int = 50
    updates: int = 20
    """A second."""
    settle: float = 3
    """Seconds that all is left alone, before and after."""
    pages: int = 60


QUICK = Sizes(
    branches=20, steps=60, sessions=60, many_sessions=300, long_branches=60, long_steps=200,
    long_messages=200, long_events=1000, folded=150, wide=120, rounds=1, lone_events=3, offline_seconds=2,
    offline_events=50, idle_seconds=12, running=4, rate=20, seconds=3, viewers=20, watched=4, not_reading=2,
    pages=5, settle=0.5,
)  # fmt: skip


@dataclass
class Site:
    server: Server
    manager: StateManager
    browser: Browser

    @property
    def pid(self) -> int:
        assert self.server.process, "the server was stopped"
        return self.server.process.pid

    def session_url(self, session_id: str, query: str = "") -> str:
        return f"{self.server.url}/sessions/default/{session_id}/{query}"

    @property
    def list_url(self) -> str:
        return f"{self.server.url}/sessions/"

    @property
    def cookie(self) -> str:
        return f"{COOKIE}={self.server.cookies['ana']}"

    async def visitor(self, url: str = "") -> BrowserContext:
        """Somebody who is signed in, with an empty cache."""
        context = await self.browser.new_context(viewport=VIEWPORT)
        context.set_default_timeout(120_000)
        cookie = {"name": COOKIE, "value": self.server.cookies["ana"], "url": url or self.server.url}
        await context.add_cookies([cookie])
        return context

    @property
    def memory_mb(self) -> float:
        """Resident memory of the server."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        kilobytes = next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))
        return int(kilobytes) / 1024

    @property
    def cpu_seconds(self) -> float:
        """That the server has spent so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS


@asynccontextmanager
async def opened(machine: Machine, kind: str) -> AsyncIterator[Site]:
    with machine.place(kind) as place:
        server = Server(place.folder, place.url)
        await asyncio.to_thread(server.prepare)
        await asyncio.to_thread(server.start)
        manager = StateManager(from_url(place.url), actor="bench")
        try:
            async with async_playwright() as playwright:
                browser = await playwright.chromium.launch(executable_path=chromium_path(), args=[*ARGUMENTS])
                yield Site(server, manager, browser)
                await browser.close()
        finally:
            await manager.close()
            await asyncio.to_thread(server.stop)
