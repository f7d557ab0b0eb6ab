"""Appends to PostgreSQL over a connection that an event loop waits on itself.

To hand work to a thread and take its result back is about a quarter of an append's time. A loop that appends
one event soon after another therefore gets a connection of its own. What cannot be done by one statement, and
what comes while that connection is in use, goes by the pool's threads.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakSet, finalize

from django.db import connections
from django.db.backends.signals import connection_created

from state_core.storage.connecting import parameters

if TYPE_CHECKING:
    import psycopg

logger = logging.getLogger(__name__)

SOON = 1.0
"""Seconds after the append before, within which one follows it."""
IN_A_ROW = 10
"""So many appends, each soon after the one before, are worth a connection."""
IDLE_SECONDS = 5.0
"""A connection that was idle for longer may be dead, and is closed rather than used."""
RETRY_SECONDS = 5.0


class LoopConnections:
    """At most one for each event loop that uses a store."""

    def __init__(self, alias: str) -> None:
        self._alias = alias
        self._lock = threading.Lock()
        self._owned: WeakKeyDictionary[asyncio.AbstractEventLoop, LoopConnection] = WeakKeyDictionary()
        _all.add(self)

    def take(self) -> LoopConnection | None:
        """The running loop's, where it has one that is free."""
        loop = asyncio.get_running_loop()
        owned = self._owned.get(loop)
        if owned is None:
            with self._lock:
                owned = self._owned[loop] = LoopConnection(self._alias)
        return owned if owned.is_free() else None

    def close(self) -> None:
        """From any thread. One that is in use is closed when its append is done."""
        with self._lock:
            owned, self._owned = list(self._owned.items()), WeakKeyDictionary()
        for loop, connection in owned:
            _in_its_loop(loop, connection.close)

    def leave_to_parent(self) -> None:
        """In a forked process: the connections stay the parent's."""
        self._lock = threading.Lock()
        owned, self._owned = list(self._owned.values()), WeakKeyDictionary()
        for connection in owned:
            connection.leave_to_parent()


class LoopConnection:
    """An event loop's own connection, once it is worth one. Used by that loop alone."""

    def __init__(self, alias: str) -> None:
        # It does not know its loop, which would otherwise live as long as the store.
        self._alias = alias
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._finish: Callable[[], object] = _nothing
        self._opening: asyncio.Task[None] | None = None
        self._is_lent = False
        self._is_closed = False
        self._in_a_row = 0
        self._asked_at = self._used_at = self._retry_at = 0.0

    def is_free(self) -> bool:
        """Asked before each append. Begins to open where they come often, and closes what was idle."""
        now = time.monotonic()
        self._in_a_row = self._in_a_row + 1 if now - self._asked_at < SOON else 1
        self._asked_at = now
        if self._connection is None:
            if self._in_a_row >= IN_A_ROW and self._opening is None and now >= self._retry_at:
                self._opening = asyncio.create_task(self._open())
            return False
        if self._is_lent:
            return False
        if self._connection.closed or now - self._used_at > IDLE_SECONDS:
            self._drop()
            return False
        return True

    @contextmanager
    def lent(self) -> Iterator[psycopg.AsyncConnection[Any]]:
        """To be used once `is_free` has said so. Closed where an error leaves it open what its state is."""
        assert self._connection is not None  # noqa: S101
        self._is_lent = True
        try:
            yield self._connection
        except BaseException:
            self._drop()
            raise
        finally:
            self._is_lent = False
            self._used_at = time.monotonic()
            if self._is_closed:
                self._drop()

    async def _open(self) -> None:
        import psycopg

        try:
            if not is_plain(self._alias):
                self._retry_at = float("inf")
                return
            connection = await psycopg.AsyncConnection.connect(**parameters(self._alias), autocommit=True)
            connection.prepare_threshold = 3
            self._connection, self._used_at = connection, time.monotonic()
            # What its `close` does, which is to be awaited; also where the loop ends and nobody has closed.
            self._finish = finalize(self, connection.pgconn.finish)
            if self._is_closed:
                self._drop()
        except psycopg.Error as error:
            self._retry_at = time.monotonic() + RETRY_SECONDS
            logger.info("Threads append to PostgreSQL: no further connection (%s).", type(error).__name__)
        finally:
            self._opening = None

    def close(self) -> None:
        self._is_closed = True
        if self._opening:
            self._opening.cancel()
        if not self._is_lent:
            self._drop()

    def _drop(self) -> None:
        self._finish()
        self._connection = None

    def leave_to_parent(self) -> None:
        """Closing would tell the server that the parent ends."""
        if self._connection and not self._connection.closed:
            nothing = os.open(os.devnull, os.O_RDWR)
            os.dup2(nothing, self._connection.fileno())
            os.close(nothing)
            self._drop()


def is_plain(alias: str) -> bool:
    """Whether Django does nothing more to a connection than to open it."""
    options = connections[alias].settings_dict["OPTIONS"]
    return not connection_created.receivers and options.keys().isdisjoint({"assume_role", "isolation_level"})


def _in_its_loop(loop: asyncio.AbstractEventLoop, act: Callable[[], None]) -> None:
    try:
        is_here = loop is asyncio.get_running_loop()
    except RuntimeError:
        is_here = False
    if is_here or not loop.is_running():
        act()
    else:
        loop.call_soon_threadsafe(act)


def _nothing() -> None:
    """There is no connection."""


_all: WeakSet[LoopConnections] = WeakSet()


def _leave_to_parent() -> None:
    for each in list(_all):
        each.leave_to_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)
