"""How databases rewrite: what is removed, in which steps, and what a killed process leaves."""

from __future__ import annotations

import sqlite3

import pytest

from state_core import DatabaseStorageBackend
from state_core.storage import rewriting
from state_core.storage.base import derived
from state_core.testing import create, message, numbers
from state_core.testing.rewrites import compacted


class Killed(Exception):
    """As if the process had ended here."""


@pytest.fixture
async def store(store_url):
    store = DatabaseStorageBackend(store_url)
    yield store
    await store.close()


async def fill(store, session_id="s", text="text"):
    await create(store, session_id)
    await store.append(session_id, [message(text)] * 39)


async def rows(store):
    return await store._run(lambda connection, tables: tables.event.objects.using(connection.alias).count())


async def stored_bytes(store):
    events = await store.read_events("s")
    return derived("s", events)[0].add["stored_bytes"]


async def test_a_long_history_goes_in_several_transactions(store, monkeypatch):
    monkeypatch.setattr(rewriting, "ROWS", 7)
    await fill(store)
    await store.rewrite("s", [compacted(30, after=0)], first_seq=30)
    assert await rows(store) == 11
    assert (await store.head("s")).counts["stored_bytes"] == await stored_bytes(store)


async def test_what_a_killed_process_left_of_it_is_not_seen_and_goes_with_the_next_clean_up(
    store, monkeypatch
):
    monkeypatch.setattr(rewriting, "ROWS", 7)
    await fill(store)
    remove, removed = rewriting._remove_some, []

    def and_die(*arguments):
        if removed:
            raise Killed
        removed.append(remove(*arguments))
        return True

    monkeypatch.setattr(rewriting, "_remove_some", and_die)
    with pytest.raises(Killed):
        await store.rewrite("s", [compacted(30, after=0)], first_seq=30)
    assert await rows(store) == 33
    assert await numbers(store, "s") == list(range(30, 41))
    assert [event.seq for event in await store.read_events("s", newest_first=True)][-1] == 30
    monkeypatch.setattr(rewriting, "_remove_some", remove)
    await store.tidy()
    assert await rows(store) == 11
    assert (await store.head("s")).counts["stored_bytes"] == await stored_bytes(store)
    assert await numbers(store, "s") == list(range(30, 41))


async def test_nothing_of_what_was_replaced_is_left_in_a_sqlite_file(sqlite_url):
    path = sqlite_url.removeprefix("sqlite:///")
    store = DatabaseStorageBackend(sqlite_url)
    await create(store, "s")
    await store.append("s", [message("a secret " * 2000) for _ in range(20)])
    await store.append("s", [message("short")])
    events = await store.read_events("s")
    await store.rewrite("s", [compacted(22, after=0)], first_seq=22)
    await store.close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    assert len(events) == 22
    with open(path, "rb") as file:
        assert b"a secret" not in file.read()
