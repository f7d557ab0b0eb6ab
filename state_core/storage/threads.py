"""Threads with a Django connection each: the pool that the database store works in.

Before a process forks, every pool is closed; each side opens its own again. Connections cannot be shared,
and SQLite loses writes where a child inherits an open file: locks do not survive a fork.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any, TypeVar
from weakref import WeakSet

from django.db import InterfaceError, OperationalError, connections

from state_core.storage.sqlitecodes import once_free
from state_core.storage.workers import Closed, Workers

T = TypeVar("T")

IDLE_SECONDS = 5.0
"""A connection that was idle for longer is asked whether it still works before it is used."""

_TUNERS = {"postgresql": "state_core.storage.postgres", "sqlite": "state_core.storage.sqlite"}


class ConnectionThreads:
    """Runs work on at most ``size`` threads, none of which is shared with Django's own."""

    def __init__(self, alias: str, size: int) -> None:
        self._alias = alias
        self._size = size
        self._changing = threading.Lock()
        """Held while the pool begins or ends: no thread of a new one opens a connection that is then closed
        with the old."""
        self._lock = threading.Lock()
        self._workers: Workers | None = None
        self._opened: list[Any] = []
        self._outages = 0
        self._local = threading.local()
        _pools.add(self)

    async def run(self, work: Callable[[], T]) -> T:
        while True:
            with suppress(Closed):  # just now, so another begins
                return await self._threads().run(work)

    def submit(self, work: Callable[[], None]) -> None:
        """Without waiting for it."""
        while True:
            with suppress(Closed):
                return self._threads().submit(work)

    def _threads(self) -> Workers:
        with self._changing:
            if self._workers is None:
                self._workers = Workers(self._size, self._alias)
            return self._workers

    @contextmanager
    def connection(self) -> Iterator[Any]:
        """This thread's, open; looked after when work on it fails."""
        connection = connections[self._alias]
        if connection.connection is not None and self._is_doubtful():
            self._look_after(connection)
        if connection.connection is None:
            self._open(connection)
        try:
            yield connection
        finally:
            self._local.used_at = time.monotonic()
            if connection.errors_occurred:
                self._look_after(connection)

    def read(self, work: Callable[[Any], T]) -> T:
        """``work`` on this thread's connection; once more where that turns out to be broken, since its server
        may have been started anew. For reading only: of a write it is not known whether it was done."""
        kept = connections[self._alias].connection
        try:
            with self.connection() as connection:
                return work(connection)
        except (OperationalError, InterfaceError):
            if kept is None or connections[self._alias].connection is kept:
                raise
        with self.connection() as connection:
            return work(connection)

    def _open(self, connection: Any) -> None:
        # Read before it connects: an outage that begins meanwhile is then noticed at the next use.
        self._local.outages = self._outages
        with connection.wrap_database_errors:
            once_free(connection.connect)
        connection.close_at = None
        with self._lock:
            if connection not in self._opened:
                connection.inc_thread_sharing()  # it is closed from another thread
                self._opened.append(connection)
        if connection.vendor in _TUNERS:
            import_module(_TUNERS[connection.vendor]).tune(connection)

    def _is_doubtful(self) -> bool:
        idle = time.monotonic() - self._local.used_at
        return bool(self._local.outages != self._outages or idle > IDLE_SECONDS)

    def _look_after(self, connection: Any) -> None:
        """Close a connection that no longer works, and let the other threads look at theirs."""
        connection.errors_occurred = True
        connection.close_if_unusable_or_obsolete()
        if connection.connection is None:
            self._outages += 1
        else:
            self._local.outages = self._outages

    def hold(self) -> None:
        """Close, and let nobody open until `let_go`."""
        self._changing.acquire()
        self._end()

    def let_go(self) -> None:
        self._changing.release()

    def close(self) -> None:
        """Waits for work under way. Blocks."""
        with self._changing:
            self._end()

    def _end(self) -> None:
        workers, self._workers = self._workers, None
        if workers is not None:
            workers.close()
        with self._lock:
            opened, self._opened = self._opened, []
        for connection in opened:
            connection.close()
            connection.dec_thread_sharing()


_pools: WeakSet[ConnectionThreads] = WeakSet()
_held: list[ConnectionThreads] = []


def _before_fork() -> None:
    # In a thread: Django does not close connections where an event loop runs.
    holding = threading.Thread(target=_hold_all)
    holding.start()
    holding.join()


def _hold_all() -> None:
    _held.extend(_pools)
    for pool in _held:
        pool.hold()


def _after_fork() -> None:
    while _held:
        _held.pop().let_go()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
