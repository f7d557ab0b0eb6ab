"""Stores for every test that wants one: in memory, in files, in SQLite, in PostgreSQL, in Redis."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import connections

from state_core import DatabaseStorageBackend, MemoryStorageBackend, StorageBackend
from state_core.storage.file import FileStorageBackend
from state_core.storage.redis import RedisStorageBackend
from tests.postgres import PostgresServer
from tests.redis_server import RedisServer
from tests.scheduling import BROWSERS, FewBrowsersAtOnce, import_from_another_place

_names = (f"state_{number}" for number in itertools.count(1))
EMPTY = """DELETE FROM marsys_state_session; DELETE FROM marsys_state_event;
DELETE FROM marsys_state_checkpoint; DELETE FROM marsys_state_snapshot;"""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> FewBrowsersAtOnce | None:
    return FewBrowsersAtOnce(config, log) if len(config.option.tx) > BROWSERS else None


def pytest_sessionstart(session: pytest.Session) -> None:
    worker = getattr(session.config, "workerinput", None)
    if worker and session.config.args == session.config.getini("testpaths"):
        import_from_another_place(session.config.rootpath, worker["workerid"], worker["workercount"])


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """Do not stop this one: other tests use it. Make a `PostgresServer` of your own for that."""
    folder = Path(tempfile.mkdtemp(prefix="postgres"))
    # No test cuts the power, which is all that fsync is for, and it costs half of the time.
    server = PostgresServer(folder / "data", fsync=False)
    server.create()
    server.start()
    yield server
    server.stop()
    shutil.rmtree(folder)


@pytest.fixture
def empty_postgres_url(postgres_server: PostgresServer, django_db_blocker) -> Iterator[str]:
    """The connection string of a database without any tables."""
    name = next(_names)
    with django_db_blocker.unblock():
        yield postgres_server.new_database(name)
    postgres_server.drop_database(name)


@pytest.fixture(scope="session")
def shared_postgres_url(postgres_server: PostgresServer, django_db_blocker) -> str:
    url = postgres_server.new_database("state")
    with django_db_blocker.unblock():
        asyncio.run(_make_tables(url))
    return url


@pytest.fixture
def postgres_url(shared_postgres_url: str, django_db_blocker) -> Iterator[str]:
    """The connection string of a database with a store's tables, empty."""
    with psycopg.connect(shared_postgres_url, autocommit=True) as connection:
        connection.execute(EMPTY)
    with django_db_blocker.unblock():
        yield shared_postgres_url


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory, django_db_blocker) -> Path:
    """A database with tables, to be copied: that is quicker than making them."""
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    with django_db_blocker.unblock():
        asyncio.run(_make_tables(f"sqlite:///{path}"))
    return path


@pytest.fixture
def sqlite_url(tmp_path: Path, sqlite_template: Path, django_db_blocker) -> Iterator[str]:
    """The connection string of a database with a store's tables, empty."""
    path = tmp_path / "state.db"
    shutil.copy(sqlite_template, path)
    with django_db_blocker.unblock():
        yield f"sqlite:///{path}"


async def _make_tables(url: str) -> None:
    store = DatabaseStorageBackend(url)
    await store.last_seqs([])
    await store.close()


@pytest.fixture(params=["sqlite", "postgres"])
def store_url(request: pytest.FixtureRequest) -> str:
    """The connection string of an empty store that other processes can open, on each database."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
async def memory_store() -> AsyncIterator[StorageBackend]:
    store = MemoryStorageBackend()
    yield store
    await store.close()


@pytest.fixture
async def file_store(tmp_path: Path) -> AsyncIterator[StorageBackend]:
    store = FileStorageBackend(tmp_path / "state")
    yield store
    await store.close()


@pytest.fixture
async def sqlite_store(sqlite_url: str) -> AsyncIterator[StorageBackend]:
    store = DatabaseStorageBackend(sqlite_url)
    yield store
    await store.close()


@pytest.fixture
async def postgres_store(postgres_url: str) -> AsyncIterator[StorageBackend]:
    store = DatabaseStorageBackend(postgres_url)
    yield store
    await store.close()


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """Do not stop this one: other tests use it. Make a `RedisServer` of your own for that."""
    folder = Path(tempfile.mkdtemp(prefix="redis"))
    server = RedisServer(folder)
    server.start()
    yield server
    server.kill()
    shutil.rmtree(folder)


@pytest.fixture
def redis_prefix() -> str:
    """A key prefix that is used by one test alone."""
    return f"{next(_names)}:"


@pytest.fixture
async def redis_store(redis_server: RedisServer, redis_prefix: str) -> AsyncIterator[StorageBackend]:
    store = RedisStorageBackend(url=redis_server.url, key_prefix=redis_prefix)
    yield store
    await store.close()


@pytest.fixture
async def django_store(transactional_db: None) -> AsyncIterator[StorageBackend]:
    """On Django's own database."""
    store = DatabaseStorageBackend()
    yield store
    await store.close()


@pytest.fixture(params=["memory", "file", "sqlite", "postgres", "redis"])
def storage(request: pytest.FixtureRequest) -> StorageBackend:
    """An empty store, of each kind."""
    store: StorageBackend = request.getfixturevalue(f"{request.param}_store")
    return store


@pytest.fixture(scope="session")
def django_db_modify_db_settings(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Django's test database is a file: the store's threads have connections of their own, which would
    each see another database in memory."""
    folder = tmp_path_factory.mktemp("django")
    connections["default"].settings_dict["TEST"]["NAME"] = str(folder / "test.sqlite3")
