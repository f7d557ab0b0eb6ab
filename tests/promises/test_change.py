"""What an append costs is what it changes, however long the session is already."""

from __future__ import annotations

import sqlite3
import statistics
import time
from contextlib import closing
from pathlib import Path

from state_core import DatabaseStorageBackend, Message, StateManager
from state_core.events import Event, EventKind
from state_core.storage.file import FileStorageBackend

EARLY, LATE = 100, 10_000
APPENDS = 40


async def grow(manager: StateManager, upto: int) -> None:
    """As if so much had happened: as many events as are missing, in large appends."""
    while (left := upto - (await manager.get_head("s")).last_seq) > 0:
        filler = [Event(kind=EventKind.CONTEXT_CHANGED, changes=[["set", ["context", "n"], left]])]
        await manager.log.append("s", filler * min(left, 500))


async def stored(manager: StateManager) -> int:
    return (await manager.get_head("s")).counts["stored_bytes"]


async def bytes_of_appends(manager: StateManager) -> float:
    """Of one of them: a step's output, a message."""
    before = await stored(manager)
    for _ in range(APPENDS):
        changes = [["append", ["context", "all"], ["x" * 200]]]
        await manager.log.append("s", [Event(kind=EventKind.CONTEXT_CHANGED, changes=changes)])
    return (await stored(manager) - before) / APPENDS


async def cost_of_checkpoints(manager: StateManager) -> tuple[int, float]:
    """Bytes of one, and the median of what they take, in seconds."""
    sizes, seconds = [], []
    for _ in range(9):
        before, began = await stored(manager), time.perf_counter()
        await manager.create_checkpoint("s", "here")
        seconds.append(time.perf_counter() - began)
        sizes.append(await stored(manager) - before)
    return round(statistics.median(sizes)), statistics.median(seconds)


async def begun(storage) -> StateManager:
    manager = StateManager(storage)
    await manager.create_session("s", context={"all": []})
    return manager


async def test_an_append_costs_the_same_after_ten_thousand_events(storage):
    manager = await begun(storage)
    await grow(manager, EARLY)
    early, (early_size, early_seconds) = await bytes_of_appends(manager), await cost_of_checkpoints(manager)
    await grow(manager, LATE)
    late, (late_size, late_seconds) = await bytes_of_appends(manager), await cost_of_checkpoints(manager)
    assert abs(late - early) < 0.1 * early
    # A number in it has more digits.
    assert abs(late_size - early_size) <= 8
    assert late_seconds < 5 * early_seconds + 0.05


def size_on_disk(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("log*"))


async def test_a_log_file_grows_by_what_is_appended(tmp_path):
    manager = await begun(FileStorageBackend(tmp_path))
    grown = []
    for events in (EARLY, LATE):
        await grow(manager, events)
        before = size_on_disk(tmp_path)
        await bytes_of_appends(manager)
        grown.append(size_on_disk(tmp_path) - before)
    await manager.close()
    assert abs(grown[1] - grown[0]) < 0.1 * grown[0]


async def test_a_message_of_a_long_conversation_costs_what_the_first_did(storage):
    manager = StateManager(storage)
    async with manager.session("s") as session:
        branch = await session.open_branch("work")
        costs = []
        for so_many in (10, 600):
            await branch.add_messages(*[Message("user", "y" * 100)] * so_many)
            before = await stored(manager)
            await branch.add_message("user", "z" * 100)
            costs.append(await stored(manager) - before)
    # Bodies are compressed: the digits of their moments make a byte or two of difference.
    assert abs(costs[0] - costs[1]) <= 4
    await manager.close()


async def test_a_database_file_grows_by_what_is_appended(sqlite_url):
    manager = await begun(DatabaseStorageBackend(sqlite_url))
    grown = []
    for events in (EARLY, LATE):
        await grow(manager, events)
        before = pages(sqlite_url)
        for _ in range(30):
            changes = [["set", ["context", "n"], "x" * 200]]
            await manager.log.append("s", [Event(kind=EventKind.CONTEXT_CHANGED, changes=changes)] * 100)
        grown.append(pages(sqlite_url) - before)
    await manager.close()
    assert abs(grown[1] - grown[0]) < 0.1 * grown[0]


def pages(url: str) -> int:
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        return int(connection.execute("PRAGMA page_count").fetchone()[0])
