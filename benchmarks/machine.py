"""Servers, fresh stores, and how much room a store takes."""

from __future__ import annotations

import random
import shutil
import string
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from pathlib import Path
from types import TracebackType

import psycopg
import redis

from state_core import StateManager
from state_core.storage import from_url
from tests.postgres import PostgresServer
from tests.redis_server import RedisServer

KINDS = ("file", "sqlite", "postgresql", "redis")


@dataclass(frozen=True)
class Sizes:
    """How much is done. A quick run shows that everything works; its figures say little."""

    rounds: int = 5
    turns: int = 1000
    """Of 1 KB, with a checkpoint each."""
    steps: int = 300
    """A round."""
    many_steps: int = 10_000
    sessions: int = 64
    steps_each: int = 20
    events: int = 10_000
    heads: int = 100_000
    state_mb: float = 10.0


QUICK = Sizes(2, 20, 10, 60, 8, 3, 200, 500, 0.5)


@dataclass(frozen=True)
class Place:
    """An empty store of this run's own."""

    kind: str
    url: str
    folder: Path

    def stored_bytes(self) -> int:
        """What it takes where it lies: relations with their indexes, files, or Redis's memory. Of SQLite
        and files, after the store is closed."""
        if self.kind == "postgresql":
            return _relation_bytes(self.url)
        if self.kind == "redis":
            with redis.Redis.from_url(self.url) as client:
                return int(client.info("memory")["used_memory"])
        return folder_bytes(self.folder)


@asynccontextmanager
async def opened(place: Place) -> AsyncIterator[StateManager]:
    manager = StateManager(from_url(place.url))
    try:
        yield manager
    finally:
        await manager.close()


class Machine:
    """Starts what is asked for, once, and stops all of it in the end."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._numbers = count(1)

    def __enter__(self) -> Machine:
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @cached_property
    def postgres(self) -> PostgresServer:
        server = PostgresServer(self.folder / "postgres", fsync=True)
        server.create()
        server.start()
        self._stack.callback(server.stop)
        return server

    @cached_property
    def redis(self) -> RedisServer:
        folder = self.folder / "redis"
        folder.mkdir()
        server = RedisServer(folder)
        server.start()
        self._stack.callback(server.kill)
        return server

    @contextmanager
    def place(self, kind: str) -> Iterator[Place]:
        """Removed again behind it."""
        name = f"n{next(self._numbers)}"
        folder = self.folder / name
        folder.mkdir()
        try:
            yield Place(kind, self._url(kind, name, folder), folder)
        finally:
            self._remove(kind, name, folder)

    def _url(self, kind: str, name: str, folder: Path) -> str:
        if kind == "postgresql":
            return self.postgres.new_database(name)
        if kind == "redis":
            return self.redis.url
        return f"sqlite:///{folder}/state.sqlite3" if kind == "sqlite" else f"file:{folder}/state"

    def _remove(self, kind: str, name: str, folder: Path) -> None:
        shutil.rmtree(folder)
        if kind == "postgresql":
            self.postgres.drop_database(name)
        elif kind == "redis":
            with redis.Redis.from_url(self.redis.url) as client:
                client.flushall()


def folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _relation_bytes(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0) FROM pg_class c "
            "JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE n.nspname = 'public' AND c.relkind IN ('r', 'm')"
        ).fetchone()
    return int(row[0]) if row else 0


def texts(size: int = 1024, seed: int = 1) -> Iterator[str]:
    """Endless texts of letters and digits, no two alike, the same in each run."""
    letters = string.ascii_letters + string.digits
    chosen = random.Random(seed)
    while True:
        yield "".join(chosen.choices(letters, k=size))
