"""The dashboard as people use it: a daphne process, a database, a browser, and programs at work."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect

from state_core.manager import StateManager
from state_core.storage import from_url
from tests.browsers import ARGUMENTS, CALM, chromium_path
from tests.line import Line
from tests.postgres import PostgresServer
from tests.redis_server import RedisServer
from tests.server import COOKIE, ROOT, Server, serving

expect.set_options(timeout=15_000)

on_the_loop = pytest_asyncio.fixture(loop_scope="session")
"""A fixture that lives in the browser's loop."""


@pytest.fixture(scope="session")
def sqlite_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("sqlite-site")) as made:
        yield made


@pytest.fixture(scope="session")
def postgres_site(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: PostgresServer
) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("postgres-site"), postgres_server.new_database("site")) as made:
        yield made


@pytest.fixture(scope="session")
def files_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("files-site")
    with serving(folder, beside=f"file:{folder}/files") as made:
        yield made


@pytest.fixture(scope="session")
def redis_site(tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("redis-site"), beside=redis_server.url) as made:
        yield made


@pytest.fixture
def server(sqlite_site: Server) -> Server:
    """One for all tests: give your sessions ids of their own."""
    return sqlite_site


@on_the_loop
async def manager(server: Server, django_db_blocker: Any) -> AsyncIterator[StateManager]:
    """On the server's store, in this process."""
    with django_db_blocker.unblock():
        made = StateManager(from_url(server.store_url), actor="tests")
        yield made
        await made.close()


# The browser


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """One for all tests, therefore all of them run in one loop."""
    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(executable_path=chromium_path(), args=[*ARGUMENTS])
        yield launched
        await launched.close()


CUT_OFF = (
    "ERR_CONNECTION",
    "WebSocket connection",
    "ERR_CONTENT_LENGTH_MISMATCH",
    "ERR_EMPTY_RESPONSE",
    "Failed to fetch",
)
"""What it says of a line that a test cuts, and of what was still on its way then."""


@dataclass
class Complaints:
    """What the browser's console says that it should not, the policy's violations among it."""

    lines: list[str] = field(default_factory=list)
    expected: tuple[str, ...] = ()
    """Parts of lines that the test provokes."""

    def watch(self, page: Page) -> None:
        page.on("console", lambda m: self._note(m.text) if m.type in {"error", "warning"} else None)
        page.on("pageerror", lambda error: self._note(str(error)))

    def _note(self, text: str) -> None:
        self.lines.append(text)

    @property
    def unexpected(self) -> list[str]:
        return [line for line in self.lines if not any(part in line for part in self.expected)]


@on_the_loop
async def complaints() -> AsyncIterator[Complaints]:
    """A test fails whose pages complain in the console."""
    made = Complaints()
    yield made
    assert not made.unexpected


@on_the_loop
async def context(browser: Browser) -> AsyncIterator[BrowserContext]:
    made = await browser.new_context(**CALM, viewport={"width": 1280, "height": 900})
    made.set_default_timeout(15_000)
    yield made
    await made.close()


@on_the_loop
async def page(context: BrowserContext, complaints: Complaints) -> Page:
    """Nobody is signed in."""
    made = await context.new_page()
    complaints.watch(made)
    return made


async def sign_in(context: BrowserContext, server: Server, name: str, url: str = "") -> None:
    await context.add_cookies([{"name": COOKIE, "value": server.cookies[name], "url": url or server.url}])


@on_the_loop
async def signed_in_page(page: Page, context: BrowserContext, server: Server) -> Page:
    """Ana, who may do everything."""
    await sign_in(context, server, "ana")
    return page


# Programs that run workflows


class Orchestrators:
    """Starts programs as processes of their own, with ``manager``, ``asyncio`` and the library at hand."""

    PRELUDE = (
        "import asyncio, os, sys\n"
        "from state_core import *\n"
        "from state_core.manager import StateManager\n"
        "from state_core.storage import from_url\n"
        "manager = StateManager(from_url(os.environ['STORE_URL']))\n"
    )

    def __init__(self, server: Server) -> None:
        self._server = server
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, code: str, *arguments: str) -> subprocess.Popen[bytes]:
        """``code`` defines ``async def main()``. Send its process signals as you like."""
        program = f"{self.PRELUDE}{code}\nasyncio.run(main())\n"
        process = subprocess.Popen(
            [sys.executable, "-c", program, *arguments], env=self._server.environment, cwd=ROOT
        )
        self._running.append(process)
        return process

    def start_module(self, module: str, *arguments: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments], env=self._server.environment, cwd=ROOT
        )
        self._running.append(process)
        return process

    def stop(self) -> None:
        for process in self._running:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.wait(20)


@pytest.fixture
def orchestrator(server: Server) -> Iterator[Orchestrators]:
    made = Orchestrators(server)
    yield made
    made.stop()


# A line that can be cut


@on_the_loop
async def line(server: Server) -> AsyncIterator[Line]:
    made = Line(server)
    await made.restore()
    yield made
    await made.cut()


@on_the_loop
async def page_by_line(
    page: Page, context: BrowserContext, server: Server, line: Line, complaints: Complaints
) -> Page:
    """Ana's, over the line; what the browser says of a cut is expected."""
    complaints.expected = CUT_OFF
    await sign_in(context, server, "ana", line.url)
    return page
