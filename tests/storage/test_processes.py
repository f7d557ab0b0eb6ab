"""Several real processes on one database, each with a connection string and no Django settings."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest

from state_core import DatabaseStorageBackend, HeadQuery
from state_core.exceptions import LeaseHeld
from state_core.testing import create, numbers, until

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}


@pytest.fixture
async def store(store_url):
    store = DatabaseStorageBackend(store_url)
    yield store
    await store.close()


@contextmanager
def worker(*arguments):
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.storage.worker", *map(str, arguments)],
        cwd=ROOT,
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def tell(process):
    process.stdin.write("go\n")
    process.stdin.flush()


async def appended_by(workers, url, number):
    """Let so many processes append at once, and wait until all have ended well."""
    started = [worker("append", url, number) for _ in range(workers)]
    processes = [each.__enter__() for each in started]
    try:
        for process in processes:
            assert await asyncio.to_thread(process.stdout.readline) == "ready\n"
        for process in processes:
            tell(process)
        assert [await asyncio.to_thread(process.wait) for process in processes] == [0] * workers
    finally:
        for each in started:
            each.__exit__(None, None, None)
    return [process.pid for process in processes]


async def test_eight_processes_number_one_session_without_gaps(store, store_url):
    await create(store, "s")
    pids = await appended_by(8, store_url, 150)
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
    with worker("hold", store_url, 1.0) as first:
        assert await asyncio.to_thread(first.stdout.readline) == "held\n"
        first.send_signal(signal.SIGSTOP)
        lease = await until(lambda: taken(store))
        first.send_signal(signal.SIGCONT)
        tell(first)
        assert await asyncio.to_thread(first.stdout.readline) == "LeaseLost\n"
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
    with worker("burst", store_url, 10) as writer:
        while writer.poll() is None:
            events, head = await store.read_events("s"), await store.head("s")
            assert len(events) <= head.last_seq
            seen |= {len(events) % 100, head.last_seq % 100}
        assert writer.returncode == 0
    assert seen == {1}
    assert await numbers(store, "s") == list(range(1, 1002))


async def test_a_writer_that_is_killed_loses_nothing_that_was_acknowledged(store, store_url):
    await create(store, "s")
    for kill in range(4):
        with worker("endless", store_url) as writer:
            acknowledged = [int(await asyncio.to_thread(writer.stdout.readline)) for _ in range(10 + kill)]
            writer.send_signal(signal.SIGKILL)
            rest = await asyncio.to_thread(writer.stdout.read)
        acknowledged += [int(line) for line in rest.splitlines(keepends=True) if line.endswith("\n")]
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
    said = await asyncio.gather(*(asyncio.to_thread(what_it_says, "create", url) for _ in range(4)))
    assert sorted(said) == ["SessionExists", "SessionExists", "SessionExists", "made"]
    with django_db_blocker.unblock():
        store = DatabaseStorageBackend(url, create_tables=False)
        assert [head.session_id for head in await store.heads(HeadQuery())] == ["s"]
        await store.close()


def what_it_says(*arguments):
    with worker(*arguments) as process:
        return process.communicate()[0].strip()
