"""Stores for every test that wants one: in memory, in files, in SQLite, in PostgreSQL, in Redis."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from django.db import connections

from state_core import DatabaseStorageBackend, MemoryStorageBackend, StorageBackend
from state_core.storage.file import FileStorageBackend
from state_core.storage.redis import RedisStorageBackend
from tests.postgres import PostgresServer
from tests.redis_server import RedisServer

_names = (f"state_{number}" for number in itertools.count(1))
TEMPLATE = "state_template"
"""A database with tables, to be copied: copying is quicker than making them."""


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """Do not stop this one: other tests use it. Make a `PostgresServer` of your own for that."""
    folder = Path(tempfile.mkdtemp(prefix="postgres"))
    server = PostgresServer(folder / "data")
    server.create()
    server.start()
    yield server
    server.stop()
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgres_template(postgres_server: PostgresServer, django_db_blocker) -> str:
    postgres_server.new_database(TEMPLATE)
    with django_db_blocker.unblock():
        asyncio.run(_make_tables(DatabaseStorageBackend(postgres_server.url(TEMPLATE))))
    return TEMPLATE


async def _make_tables(store: StorageBackend) -> None:
    await store.last_seqs([])
    await store.close()


@pytest.fixture
def empty_postgres_url(postgres_server: PostgresServer, django_db_blocker) -> Iterator[str]:
    """The connection string of a database without any tables."""
    yield from _database(postgres_server, django_db_blocker, None)


@pytest.fixture
def postgres_url(postgres_server: PostgresServer, postgres_template: str, django_db_blocker) -> Iterator[str]:
    """The connection string of a database with a store's tables."""
    yield from _database(postgres_server, django_db_blocker, postgres_template)


def _database(server: PostgresServer, blocker, template: str | None) -> Iterator[str]:
    name = next(_names)
    with blocker.unblock():
        yield server.new_database(name, template)
    server.drop_database(name)


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
def sqlite_url(tmp_path: Path, django_db_blocker) -> Iterator[str]:
    with django_db_blocker.unblock():
        yield f"sqlite:///{tmp_path}/state.db"


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
