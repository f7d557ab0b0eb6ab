"""The dashboard as people use it: a daphne process, a database, a browser, and programs at work."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect

from state_core import DatabaseStorageBackend
from state_core.manager import StateManager
from tests.browsers import chromium_path
from tests.postgres import PostgresServer

expect.set_options(timeout=15_000)

on_the_loop = pytest_asyncio.fixture(loop_scope="session")
"""A fixture that lives in the browser's loop."""

ROOT = Path(__file__).resolve().parents[2]
COOKIE = "marsys_session"
CHROMIUM = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PREPARE = """
import json
import django
django.setup()
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import Permission, User
from django.contrib.sessions.backends.db import SessionStore
from django.core.management import call_command

call_command("migrate", verbosity=0)
people = {"ana": ["view", "operate", "restore"], "vera": ["view"], "nora": []}
cookies = {}
for name, may in people.items():
    user = User.objects.create_user(name, password="a long password of " + name, is_staff=name == "ana")
    granted = Permission.objects.filter(codename__in=[f"{verb}_session" for verb in may])
    user.user_permissions.set(granted.filter(content_type__app_label="state_core"))
    kept = SessionStore()
    kept[SESSION_KEY] = str(user.pk)
    kept[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    kept[HASH_SESSION_KEY] = user.get_session_auth_hash()
    kept.create()
    cookies[name] = kept.session_key
print(json.dumps(cookies))
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Server:
    """A daphne process with a folder of its own, and three people: ana may do everything, in the admin too,
    vera may look, nora may nothing."""

    folder: Path
    database_url: str = ""
    """Without one, SQLite in the folder."""
    port: int = field(default_factory=free_port)
    cookies: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def database(self) -> str:
        return self.database_url or f"sqlite:///{self.folder}/state.sqlite3"

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "STATE_VAR": str(self.folder),
            "DATABASE_URL": self.database,
            "DJANGO_SETTINGS_MODULE": "marsys_dashboard.settings",
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
        }

    def prepare(self) -> None:
        done = subprocess.run(
            [sys.executable, "-c", PREPARE],
            env=self.environment,
            cwd=ROOT,
            check=True,
            stdout=subprocess.PIPE,
        )
        self.cookies = json.loads(done.stdout)

    def start(self) -> None:
        address = ["-b", "127.0.0.1", "-p", str(self.port)]
        with (self.folder / "daphne.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-X",
                    "faulthandler",
                    "-m",
                    "daphne",
                    *address,
                    "marsys_dashboard.asgi:application",
                ],
                env=self.environment,
                cwd=ROOT,
                stdout=log,
                stderr=log,
            )
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                with urlopen(f"{self.url}/static/css/base.css", timeout=5):
                    return
            except OSError:
                time.sleep(0.1)
        raise TimeoutError(f"daphne did not start:\n{self.log}")

    def stop(self) -> None:
        """That it ends by itself is tested where `serve` is; here it only must not stay behind. Its log
        then says where it stood."""
        if self.process:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.send_signal(signal.SIGABRT)
                self.process.wait(20)
            self.process = None

    @property
    def log(self) -> str:
        return (self.folder / "daphne.log").read_text()


@contextmanager
def serving(folder: Path, database_url: str = "") -> Iterator[Server]:
    made = Server(folder, database_url)
    made.prepare()
    made.start()
    try:
        yield made
    finally:
        made.stop()


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


@pytest.fixture
def server(sqlite_site: Server) -> Server:
    """One for all tests: give your sessions ids of their own."""
    return sqlite_site


@on_the_loop
async def manager(server: Server, django_db_blocker: Any) -> AsyncIterator[StateManager]:
    """On the server's store, in this process."""
    with django_db_blocker.unblock():
        made = StateManager(DatabaseStorageBackend(server.database), actor="tests")
        yield made
        await made.close()


# The browser


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """One for all tests, therefore all of them run in one loop."""
    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(executable_path=chromium_path(), args=[*CHROMIUM])
        yield launched
        await launched.close()


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
    made = await browser.new_context(viewport={"width": 1280, "height": 900})
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
        "from state_core.storage.database import DatabaseStorageBackend\n"
        "manager = StateManager(DatabaseStorageBackend(os.environ['DATABASE_URL']))\n"
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


class Line:
    """Passes connections on to the server, until it is cut; then it refuses new ones."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._listening: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = free_port()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def restore(self) -> None:
        self._listening = await asyncio.start_server(self._connect, "127.0.0.1", self.port)

    async def cut(self) -> None:
        if self._listening:
            self._listening.close()
        for writer in list(self._writers):
            writer.transport.abort()
        if self._listening:
            await self._listening.wait_closed()
        self._listening = None

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._server.port)
        self._writers |= {writer, far_writer}
        try:
            await asyncio.gather(self._pass(reader, far_writer), self._pass(far_reader, writer))
        finally:
            self._writers -= {writer, far_writer}

    @staticmethod
    async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()


@on_the_loop
async def line(server: Server) -> AsyncIterator[Line]:
    made = Line(server)
    await made.restore()
    yield made
    await made.cut()
