"""The file store's index follows its logs a moment later; who asks never notices."""

import asyncio
import fcntl
import os
import sqlite3

import pytest

from state_core import StateManager
from state_core.storage import filequery
from state_core.storage.base import HeadQuery
from state_core.storage.file import FileStorageBackend
from state_core.storage.fileindex import FileIndex


@pytest.fixture
async def store(tmp_path):
    store = FileStorageBackend(tmp_path / "state")
    yield store
    await store.close()


@pytest.fixture
async def other(store):
    """The same folder, as another process has it."""
    other = FileStorageBackend(store.base_path)
    yield other
    await other.close()


def indexed(store) -> list[tuple[int, int]]:
    """(last seq, bytes of the log) that the index has."""
    with sqlite3.connect(store.base_path / "index.sqlite3") as index:
        found = index.execute("SELECT last_seq, log_bytes FROM head").fetchall()
    index.close()
    return found


def size_of_log(store) -> int:
    return (store.base_path / "sessions" / "s" / "log.state").stat().st_size


async def until(holds) -> None:
    async with asyncio.timeout(60):
        while not await holds():
            await asyncio.sleep(0.01)


async def test_lists_of_another_process_have_what_was_just_appended(store, other):
    assert await other.heads(HeadQuery()) == []
    async with StateManager(store).session("s") as session:
        branch = await session.open_branch("b")
        for number in range(20):
            await branch.add_message("user", f"message {number}")
            (head,) = await other.heads(HeadQuery())
            assert (head.last_seq, head.counts["messages"]) == (session.seq, number + 1)
            assert await other.last_seqs(["s"]) == {"s": session.seq}
            assert (await other.usage()).events == session.seq
            assert (await other.head("s")).last_seq == session.seq


async def test_lists_of_this_process_have_what_was_just_appended(store):
    async with StateManager(store).session("s") as session:
        branch = await session.open_branch("b")
        for number in range(5):
            async with branch.step("Writer"):
                (head,) = await store.heads(HeadQuery(agent="Writer"))
                assert head == await store.head("s")
                assert (head.last_seq, head.counts["steps"]) == (session.seq, number + 1)
                assert head.agents == ["Writer"]
            assert [head.agents for head in await store.heads(HeadQuery(agent="Writer"))] == [[]]


@pytest.mark.parametrize("sort", ["steps", "-steps", "state_bytes", "-state_bytes"])
def test_what_is_at_rest_is_read_in_the_order_of_an_index(tmp_path, sort):
    index = FileIndex(tmp_path / "index.sqlite3")
    (text, values), _ = filequery.pages(HeadQuery(sort=sort, statuses=["failed", "running"]), 0.0)
    plan = " ".join(row[3] for row in index._db.execute(f"EXPLAIN QUERY PLAN {text}", values))
    assert f"USING INDEX head_{sort.removeprefix('-')}" in plan
    assert "TEMP B-TREE" not in plan
    index.close()


async def test_the_agents_at_work_reach_lists_of_another_process(store, other):
    async with StateManager(store).session("s") as session:
        branch = await session.open_branch("b")
        async with branch.step("Writer"):
            await other.heads(HeadQuery())

            async def is_told() -> bool:
                return [head.agents for head in await other.heads(HeadQuery())] == [["Writer"]]

            await until(is_told)


async def test_the_index_follows_though_nobody_asks(store):
    async with StateManager(store).session("s") as session:
        branch = await session.open_branch("b")
        for number in range(50):
            await branch.add_message("user", f"message {number}")

        async def has_followed() -> bool:
            return indexed(store) == [(session.seq, size_of_log(store))]

        await until(has_followed)


async def test_a_store_that_is_closed_leaves_its_index_complete(store):
    async with StateManager(store).session("s") as session:
        branch = await session.open_branch("b")
        await branch.add_message("user", "the last words")
        await store.close()
        assert indexed(store) == [(session.seq, size_of_log(store))]


async def test_a_writer_that_stands_still_holds_up_no_list(store, other):
    async with StateManager(store).session("s") as session:
        branch = await session.open_branch("b")
        await branch.add_message("user", "before")
        await other.head("s")
        lock = os.open(store.base_path / "sessions" / "s" / "lock", os.O_WRONLY)
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            with (store.base_path / "sessions" / "s" / "log.state").open("ab") as log:
                log.write(b"the beginning of an append")
            (head,) = await asyncio.wait_for(other.heads(HeadQuery()), 60)
            assert head.last_seq == session.seq
            assert await other.last_seqs(["s"]) == {"s": session.seq}
        finally:
            os.close(lock)
