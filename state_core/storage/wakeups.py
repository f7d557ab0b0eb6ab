"""Hints that something changed: PostgreSQL's NOTIFY, and SQLite's count of changes.

Notifying is not part of an append's statement: PostgreSQL lets transactions that notify commit only one
after another. A process that dies between an append and its hint leaves none; so watchers are also woken
every `SAFETY_SECONDS` without one.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from django.db import DatabaseError, InterfaceError, connections

from state_core.storage.connecting import parameters
from state_core.storage.threads import ConnectionThreads

logger = logging.getLogger(__name__)

SAFETY_SECONDS = 1.0
RECONNECT_SECONDS = 1.0
POLL_SECONDS = 0.05
GLANCE_SECONDS = 0.01
"""Between two glances at SQLite's log: when something was written there, it is asked at once."""
GATHER_SECONDS = 0.05
"""Hints of a burst go out together, this long after the ones before."""


def channel(table_name: str) -> str:
    """One for each set of tables; at most 63 characters, as PostgreSQL wants."""
    digest = hashlib.blake2b(table_name.encode(), digest_size=6).hexdigest()
    return f"{table_name[:40]}_{digest}"


class Notifier:
    """Tells PostgreSQL of changed sessions, from a thread and a connection of its own."""

    def __init__(self, alias: str, table_name: str) -> None:
        self._channel = channel(table_name)
        self._threads = ConnectionThreads(alias, 1)
        self._lock = threading.Lock()
        self._changed: set[str] = set()
        self._busy = False

    def tell(self, session_id: str) -> None:
        with self._lock:
            self._changed.add(session_id)
            if self._busy:
                return
            self._busy = True
        self._threads.submit(self._send_all)

    def _send_all(self) -> None:
        while changed := self._take():
            try:
                self._send(changed)
            except (DatabaseError, InterfaceError) as error:
                logger.info("Watchers were not told of %d sessions: %s", len(changed), type(error).__name__)
            time.sleep(GATHER_SECONDS)

    def _take(self) -> list[str]:
        with self._lock:
            changed, self._changed = list(self._changed), set()
            self._busy = bool(changed)
        return changed

    def _send(self, changed: list[str]) -> None:
        with self._threads.connection() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT pg_notify(%s, id) FROM unnest(%s::text[]) AS id", [self._channel, changed])

    def close(self) -> None:
        self._threads.close()


async def notifications(alias: str, table_name: str) -> AsyncIterator[str]:
    """Connects again by itself. ``""`` comes first, and whenever something may have been missed."""
    import psycopg

    while True:
        try:
            async with await _listening(alias, table_name) as connection:
                yield ""
                while True:
                    heard = False
                    async for notification in connection.notifies(timeout=SAFETY_SECONDS, stop_after=1):
                        heard = True
                        yield notification.payload
                    if not heard:
                        yield ""
        except psycopg.OperationalError as error:
            logger.info("Listening to PostgreSQL broke off: %s", type(error).__name__)
        await asyncio.sleep(RECONNECT_SECONDS)
        yield ""


async def _listening(alias: str, table_name: str) -> Any:
    import psycopg
    from psycopg import sql

    connection = await psycopg.AsyncConnection.connect(**parameters(alias), autocommit=True)
    try:
        await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel(table_name))))
    except BaseException:
        await connection.close()  # also when it is cancelled: nobody else knows of it yet
        raise
    return connection


async def file_changes(alias: str) -> AsyncIterator[str]:
    """Asks a connection of its own whether another one has committed; costs a few microseconds."""
    threads = ConnectionThreads(alias, 1)
    log = Path(f"{connections[alias].settings_dict['NAME']}-wal")
    seen: int | None = None
    written, asked, alert_until = _written(log), 0.0, 0.0
    try:
        while True:
            now, before, written = time.monotonic(), written, _written(log)
            if written != before:
                alert_until = now + POLL_SECONDS  # it is committed once the disk has it
            if now < alert_until or now - asked >= POLL_SECONDS:
                asked = now
                version = await threads.run(lambda: _data_version(threads))
                if version is None or version != seen:
                    seen = version
                    yield ""
            await asyncio.sleep(GLANCE_SECONDS)
    finally:
        await asyncio.to_thread(threads.close)


def _written(log: Path) -> int | None:
    """When, in nanoseconds; None where there is no such file."""
    try:
        return log.stat().st_mtime_ns
    except OSError:
        return None


def _data_version(threads: ConnectionThreads) -> int | None:
    """None while it cannot be told; that counts as a change."""
    try:
        with threads.connection() as connection, connection.cursor() as cursor:
            cursor.execute("PRAGMA data_version")
            return int(cursor.fetchone()[0])
    except DatabaseError as error:
        logger.info("SQLite did not tell whether it changed: %s", error)
        return None
