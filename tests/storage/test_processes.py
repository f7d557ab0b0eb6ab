"""Several real processes on one database, each with a connection string and no Django settings."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter

import pytest

from state_core import DatabaseStorageBackend, HeadQuery
from state_core.exceptions import LeaseHeld
from state_core.testing import create, numbers, until
from tests.storage.worker import appended_by, working


@pytest.fixture
async def store(store_url):
    store = DatabaseStorageBackend(store_url)
    yield store
    await store.close()


async def test_eight_processes_number_one_session_without_gaps(store, store_url):
    await create(store, "s")
    pids = await asyncio.to_thread(appended_by, 8, 150, store_url)
    events = await store.read_events("s", after=1)
    assert [event.seq for event in events] == list(range(2, 1202))
    assert Counter(event.body.decode() for event in events) == Counter(
        f"{p}:{n}" for p in pids for n in range(150)
    )
    for pid in pids:
        own = [
            int(e.body.decode().partition(":")[2]) for e in events if e.body.startswith(f"{pid}:".encode())
        ]
        assert own == list(range(150))
    assert (await store.head("s")).last_seq == 1201


async def test_an_owner_that_was_stopped_beyond_its_lease_cannot_write(store, store_url):
    await create(store, "s")
    with working("hold", store_url, 1.0) as first:
        assert await asyncio.to_thread(first.line.recv) == "held"
        os.kill(first.pid, signal.SIGSTOP)
        lease = await until(lambda: taken(store))
        os.kill(first.pid, signal.SIGCONT)
        first.line.send("go")
        assert await asyncio.to_thread(first.line.recv) == "LeaseLost"
    assert await numbers(store, "s") == [1]
    head = await store.head("s")
    assert (head.owner, head.fence) == ("the second", lease.fence)


async def taken(store):
    try:
        return await store.acquire("s", "the second", 60)
    except LeaseHeld:
        return None


async def test_another_process_sees_an_append_whole_or_not_at_all(store, store_url):
    await create(store, "s")
    seen = set()
    with working("burst", store_url, 10) as writer:
        while writer.process.is_alive():
            events, head = await store.read_events("s"), await store.head("s")
            assert len(events) <= head.last_seq
            seen |= {len(events) % 100, head.last_seq % 100}
        assert writer.ended_well()
    assert seen == {1}
    assert await numbers(store, "s") == list(range(1, 1002))


async def test_a_writer_that_is_killed_loses_nothing_that_was_acknowledged(store, store_url):
    await create(store, "s")
    for kill in range(4):
        with working("endless", store_url) as writer:
            acknowledged = [await asyncio.to_thread(writer.line.recv) for _ in range(10 + kill)]
            writer.process.kill()
            acknowledged += await asyncio.to_thread(writer.all_it_says)
        seqs = await numbers(store, "s")
        assert seqs == list(range(1, len(seqs) + 1))
        assert acknowledged[-1] <= len(seqs) <= acknowledged[-1] + 1


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_processes_that_find_an_empty_database_at_once_make_its_tables_once(
    kind, tmp_path, request, django_db_blocker
):
    url = (
        f"sqlite:///{tmp_path}/new.db" if kind == "sqlite" else request.getfixturevalue("empty_postgres_url")
    )
    said = await asyncio.gather(*(asyncio.to_thread(said_by_one_that_creates, url) for _ in range(4)))
    assert sorted(said) == ["SessionExists", "SessionExists", "SessionExists", "made"]
    with django_db_blocker.unblock():
        store = DatabaseStorageBackend(url, create_tables=False)
        assert [head.session_id for head in await store.heads(HeadQuery())] == ["s"]
        await store.close()


def said_by_one_that_creates(url):
    with working("create", url) as process:
        return process.line.recv()
