"""The physical limit: the same durability, bare. Each returns rows, writes or calls a second."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable

import psycopg
import redis

from benchmarks.machine import Place

BODY = os.urandom(1024)
ROWS_A_COMMIT = 100
NAMES = {
    "postgresql": "psycopg insert + commit",
    "sqlite": "sqlite3 insert + commit",
    "file": "write + fdatasync",
    "redis": "EVALSHA of an XADD",
}


def bare(place: Place, times: int) -> float:
    """One after another."""
    return _BARE[place.kind](place, times)


def _rate(times: int, act: Callable[[int], object]) -> float:
    began = time.perf_counter()
    for number in range(times):
        act(number)
    return times / (time.perf_counter() - began)


def _postgresql(place: Place, times: int) -> float:
    with psycopg.connect(place.url, autocommit=True) as connection:
        connection.prepare_threshold = 3
        connection.execute("CREATE TABLE IF NOT EXISTS bare (session int8, seq int8, body bytea)")
        cursor = connection.cursor()
        text = "INSERT INTO bare VALUES (%s, %s, %s)"
        return _rate(times, lambda seq: cursor.execute(text, (1, seq, BODY)))


def _sqlite(place: Place, times: int) -> float:
    """In a file of its own, with the pragmas that the store sets."""
    connection = sqlite3.connect(place.folder / "bare.sqlite3", isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("CREATE TABLE IF NOT EXISTS bare (session integer, seq integer, body blob)")
        text = "INSERT INTO bare VALUES (?, ?, ?)"
        return _rate(times, lambda seq: connection.execute(text, (1, seq, BODY)))
    finally:
        connection.close()


def _file(place: Place, times: int) -> float:
    descriptor = os.open(place.folder / "bare", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    try:
        return _rate(times, lambda seq: (os.write(descriptor, BODY), os.fdatasync(descriptor)))
    finally:
        os.close(descriptor)


def _redis(place: Place, times: int) -> float:
    with redis.Redis.from_url(place.url) as client:
        script = client.script_load("return redis.call('XADD', KEYS[1], '*', 'body', ARGV[1])")
        return _rate(times, lambda seq: client.evalsha(script, 1, "bare", BODY))


_BARE: dict[str, Callable[[Place, int], float]] = {
    "postgresql": _postgresql,
    "sqlite": _sqlite,
    "file": _file,
    "redis": _redis,
}


def batched(place: Place, times: int) -> float:
    """`executemany` of 100 rows a commit on PostgreSQL; rows a second."""
    rows = [(1, seq, BODY) for seq in range(ROWS_A_COMMIT)]
    with psycopg.connect(place.url, autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS bare (session int8, seq int8, body bytea)")

        def commit(_: int) -> None:
            with connection.transaction():
                connection.cursor().executemany("INSERT INTO bare VALUES (%s, %s, %s)", rows)

        return _rate(max(1, times // ROWS_A_COMMIT), commit) * ROWS_A_COMMIT
