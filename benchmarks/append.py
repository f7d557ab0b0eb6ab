"""One durable append after another, beside the physical limit: the same row inserted and committed bare.

    python benchmarks/append.py sqlite:////tmp/x.db postgresql://user@host/database

Each round runs both, one after the other; what counts is the ratio of the two, since disks and neighbours
make either vary. The databases are written to: use empty ones.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Callable

import psycopg

from state_core.events import EventKind, EventRecord
from state_core.storage import StorageBackend, from_url

ROUNDS = 7
APPENDS = 300
BODY = bytes(range(256)) * 4
TABLE = "CREATE TABLE IF NOT EXISTS bare (session integer, seq integer, body {})"


async def through_the_store(store: StorageBackend, session_id: str) -> float:
    event = EventRecord(kind=EventKind.MESSAGE_ADDED, body=BODY, encoding="j1", size=1024)
    began = time.perf_counter()
    for _ in range(APPENDS):
        await store.append(session_id, [event])
    return APPENDS / (time.perf_counter() - began)


def bare(execute: Callable[..., object], text: str) -> float:
    began = time.perf_counter()
    for seq in range(APPENDS):
        execute(text, (1, seq, BODY))
    return APPENDS / (time.perf_counter() - began)


def bare_sqlite(url: str) -> tuple[Callable[..., object], str]:
    import sqlite3

    connection = sqlite3.connect(
        url.removeprefix("sqlite:///"), isolation_level=None, check_same_thread=False
    )
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute(TABLE.format("blob"))
    return connection.execute, "INSERT INTO bare VALUES (?, ?, ?)"


def bare_postgresql(url: str) -> tuple[Callable[..., object], str]:
    connection = psycopg.connect(url, autocommit=True)
    connection.execute(TABLE.format("bytea"))
    return connection.execute, "INSERT INTO bare VALUES (%s, %s, %s)"


async def compare(url: str) -> None:
    store = from_url(url)
    session_id = f"bench-{time.time_ns()}"
    await store.append(session_id, [EventRecord(kind=EventKind.SESSION_CREATED)])
    execute, text = (bare_sqlite if url.startswith("sqlite") else bare_postgresql)(url)
    rounds = [
        (await through_the_store(store, session_id), await asyncio.to_thread(bare, execute, text))
        for _ in range(ROUNDS)
    ]
    await store.close()
    ours, theirs = (statistics.median(rates) for rates in zip(*rounds, strict=True))
    ratio = statistics.median(ours / theirs for ours, theirs in rounds)
    print(f"{store!r}\n  append {ours:6.0f}/s   bare insert {theirs:6.0f}/s   ratio {ratio:.2f}")


if __name__ == "__main__":
    for given in sys.argv[1:]:
        asyncio.run(compare(given))
