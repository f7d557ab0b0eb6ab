"""An event loop that appends to PostgreSQL one event after another does so itself, without a thread."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from django.db.backends.signals import connection_created

from state_core import DatabaseStorageBackend, StateManager
from state_core.exceptions import StorageUnavailable
from state_core.storage import loopconnections
from state_core.storage.threads import ConnectionThreads
from state_core.testing import AppendContract, CheckpointContract, create, message, numbers, until

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}


@pytest.fixture
async def store(postgres_url):
    """This loop has its own connection."""
    store = DatabaseStorageBackend(postgres_url)
    await open_own(store)
    yield store
    await store.close()


async def open_own(store):
    await store.last_seqs([])
    for _ in range(loopconnections.IN_A_ROW):
        store._loops.take()
    await until(lambda: is_taken(store))


async def is_taken(store):
    return store._loops.take() is not None


@pytest.fixture
def without_threads(monkeypatch):
    """From when it is called, nothing goes by a thread."""

    async def refuse(self, work):
        raise AssertionError("by a thread")

    return lambda: monkeypatch.setattr(ConnectionThreads, "run", refuse)


@pytest.fixture
def ask(postgres_url):
    def ask(text):
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            return connection.execute(text).fetchall()

    return ask


def own_pid(store):
    """Of the server's process behind the connection that a loop has of its own."""
    (owned,) = store._loops._owned.values()
    return owned._connection.info.backend_pid if owned._connection else None


def is_there(ask, pid):
    return bool(ask(f"SELECT 1 FROM pg_stat_activity WHERE pid = {pid}"))


async def is_gone(ask, pid):
    return not await asyncio.to_thread(is_there, ask, pid)


class TestOnALoop(AppendContract, CheckpointContract):
    @pytest.fixture
    def storage(self, store):
        return store


async def test_appends_that_follow_one_another_get_a_connection(postgres_url, without_threads):
    store = DatabaseStorageBackend(postgres_url)
    await create(store, "s")
    await store.append("s", [message()])
    while not own_pid(store):
        await store.append("s", [message()])
    before = len(await numbers(store, "s"))
    assert before > loopconnections.IN_A_ROW
    without_threads()
    assert [await store.append("s", [message()]) for _ in range(3)] == [before + n for n in (1, 2, 3)]
    await store.close()


async def test_a_session_is_recorded_and_watchers_are_told(store):
    manager = StateManager(store)
    hints = store.wakeups()
    assert await anext(hints) == ""
    async with manager.session("s") as session:
        branch = await session.open_branch("b")
        for number in range(5):
            async with branch.step(agent=f"A{number}") as step:
                step.output = number
    assert await asyncio.wait_for(anext(hints), 5) == "s"
    await hints.aclose()
    head = await store.head("s")
    assert (head.status, head.counts["steps_completed"], head.worked) == (
        "completed", 5, [f"A{number}" for number in range(5)],
    )  # fmt: skip


async def test_what_comes_while_it_is_in_use_goes_by_threads(store):
    await create(store, "a")
    await create(store, "b")
    for _ in range(5):
        await asyncio.gather(*(store.append(name, [message()]) for name in "abab"))
    assert await numbers(store, "a") == await numbers(store, "b") == list(range(1, 12))


async def test_a_connection_that_the_server_ended_is_told_of_and_replaced(store, ask, without_threads):
    await create(store, "s")
    await store.append("s", [message()])
    ask(f"SELECT pg_terminate_backend({own_pid(store)}, 5000)")
    with pytest.raises(StorageUnavailable, match="try again"):
        await store.append("s", [message()])
    assert await store.append("s", [message()]) == 3
    await open_own(store)
    without_threads()
    assert await store.append("s", [message()]) == 4


async def test_one_that_idled_is_closed_and_not_used(store, ask, monkeypatch):
    await create(store, "s")
    pid = own_pid(store)
    monkeypatch.setattr(loopconnections, "IDLE_SECONDS", -1.0)
    await store.append("s", [message()])
    await until(lambda: is_gone(ask, pid))
    assert await numbers(store, "s") == [1, 2]


@pytest.mark.parametrize("options", [{"isolation_level": 2}, {"assume_role": "postgres"}])
async def test_what_django_does_to_a_connection_is_not_left_out(postgres_url, monkeypatch, options):
    store = DatabaseStorageBackend(postgres_url)
    await store.last_seqs([])
    assert loopconnections.is_plain(store.alias)
    settings = loopconnections.connections[store.alias].settings_dict
    with monkeypatch.context() as patch:
        patch.setitem(settings, "OPTIONS", {**settings["OPTIONS"], **options})
        assert not loopconnections.is_plain(store.alias)

    def receive(**details):
        """Such as a site has to set a search path."""

    connection_created.connect(receive)
    try:
        assert not loopconnections.is_plain(store.alias)
        for _ in range(loopconnections.IN_A_ROW):
            assert store._loops.take() is None
        await asyncio.gather(*(task for task in asyncio.all_tasks() if task is not asyncio.current_task()))
        assert store._loops.take() is None
    finally:
        connection_created.disconnect(receive)
        await store.close()


async def test_an_append_that_is_cancelled_is_written_whole_or_not_at_all(store):
    await create(store, "s")
    appending = asyncio.create_task(store.append("s", [message(), message()]))
    await asyncio.sleep(0)
    appending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await appending
    found = await numbers(store, "s")
    assert found in ([1], [1, 2, 3])
    assert await store.append("s", [message()]) == len(found) + 1


def test_a_loop_that_ends_gives_its_connection_back(postgres_url, ask):
    store = DatabaseStorageBackend(postgres_url)

    async def record():
        await open_own(store)
        await create(store, "s")
        await store.append("s", [message()])
        return own_pid(store)

    pid = asyncio.run(record())
    gc.collect()
    asyncio.run(until(lambda: is_gone(ask, pid)))
    asyncio.run(store.close())


def test_closing_elsewhere_gives_it_back(postgres_url, ask):
    store = DatabaseStorageBackend(postgres_url)
    manager = StateManager(store)
    with manager.sync.session("s") as session:
        branch = session.open_branch("b")
        while not own_pid(store):
            branch.add_message("user", "x")
        pid = own_pid(store)
    asyncio.run(store.close())
    asyncio.run(until(lambda: is_gone(ask, pid)))


FORKING = """
import asyncio, gc, os, sys
from state_core.storage import from_url
from state_core.testing import create, message

store = from_url(sys.argv[1])

async def go_on():
    await create(store, "s")
    while store._loops.take() is None:
        await store.append("s", [message()])
    child = os.fork()
    if not child:
        gc.collect()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    owned = store._loops.take()
    await store.append("s", [message()])
    assert store._loops.take() is owned, "it was closed"
    await store.close()

asyncio.run(go_on())
"""


def test_a_forked_process_leaves_the_connection_to_its_parent(postgres_url):
    subprocess.run(
        [sys.executable, "-W", "error", "-c", FORKING, postgres_url],
        cwd=ROOT,
        env=ENVIRONMENT,
        check=True,
        timeout=60,
    )
