"""What a database gives back when a session is deleted from it."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from state_core import DatabaseStorageBackend
from state_core.exceptions import SessionNotFound
from state_core.storage import deleting
from state_core.storage.base import Snapshot
from state_core.testing import create, message, numbers

MEGABYTE = 1_000_000


@pytest.fixture
async def store(store_url):
    store = DatabaseStorageBackend(store_url)
    yield store
    await store.close()


@pytest.fixture
async def sqlite(sqlite_url):
    store = DatabaseStorageBackend(sqlite_url)
    yield store
    await store.close()


async def rows(store) -> dict[str, int]:
    def count(connection, tables):
        return {
            model.__name__: model.objects.using(connection.alias).count()
            for model in (tables.event, tables.snapshot, tables.checkpoint)
        }

    return await store._run(count)


async def fill(store, session_id, events, text=""):
    await create(store, session_id)
    for start in range(0, events, 100):
        some = min(100, events - start)
        await store.append(session_id, [message(text or f"{start}") for _ in range(some)])
    await store.put_snapshot(session_id, Snapshot(1, b"x", "j1"))


async def test_a_long_log_goes_in_several_transactions_and_leaves_nothing(store, monkeypatch):
    monkeypatch.setattr(deleting, "ROWS", 7)
    await fill(store, "long", 40)
    await fill(store, "other", 5)
    await store.delete("long")
    assert await rows(store) == {"Event": 6, "Snapshot": 1, "Checkpoint": 0}
    assert await numbers(store, "other") == [1, 2, 3, 4, 5, 6]


async def test_what_a_killed_process_left_is_gone_for_readers_and_goes_with_the_next_clean_up(
    store, monkeypatch
):
    await fill(store, "s", 40)

    def killed(tables, alias, pk):
        raise KeyboardInterrupt

    with monkeypatch.context() as dying:
        dying.setattr(deleting, "_delete_rows", killed)
        with pytest.raises(KeyboardInterrupt):
            await store.delete("s")
    assert (await rows(store))["Event"] == 41
    with pytest.raises(SessionNotFound):
        await store.head("s")
    assert await store.read_events("s") == []
    await create(store, "s")
    assert await numbers(store, "s") == [1]
    await store.tidy()
    assert await rows(store) == {"Event": 1, "Snapshot": 0, "Checkpoint": 0}
    assert await numbers(store, "s") == [1]


async def test_a_file_shrinks_by_what_was_deleted(sqlite, tmp_path: Path):
    path = tmp_path / "state.db"
    await create(sqlite, "stays")
    small = os.path.getsize(path)
    await fill(sqlite, "s", 300, "x" * 10_000)
    await sqlite.close()
    assert os.path.getsize(path) > small + 2 * MEGABYTE
    await sqlite.delete("s")
    await sqlite.close()
    assert os.path.getsize(path) < small + 1.2 * MEGABYTE


async def test_a_file_that_cannot_shrink_is_reported_with_the_remedy(tmp_path: Path, django_db_blocker):
    path = tmp_path / "old.db"
    with sqlite3.connect(path) as old:
        old.execute("CREATE TABLE anything (x)")
    old.close()
    with django_db_blocker.unblock():
        store = DatabaseStorageBackend(f"sqlite:///{path}")
        await fill(store, "s", 300, "x" * 10_000)
        await store.delete("s")
        assert ["never shrinks" in sentence and "VACUUM" in sentence for sentence in await store.check()] == [
            True
        ]
        await store.close()


def test_a_database_that_is_migrated_can_shrink(tmp_path: Path):
    path = tmp_path / "new.db"
    subprocess.run(
        [sys.executable, "manage.py", "migrate", "--verbosity", "0"],
        env={**os.environ, "DATABASE_URL": f"sqlite:///{path}", "STATE_VAR": str(tmp_path)},
        check=True,
        timeout=120,
    )
    with sqlite3.connect(path) as made:
        assert made.execute("PRAGMA auto_vacuum").fetchone() == (2,)
    made.close()
