"""Threads that block so that an event loop need not.

Much like `concurrent.futures.ThreadPoolExecutor`, at half the cost of a hop there and back: what one durable
write after another spends most on, besides the disk.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import os
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeAlias, TypeVar
from weakref import WeakSet, finalize

logger = logging.getLogger(__name__)

T = TypeVar("T")
Work: TypeAlias = "SimpleQueue[Callable[[], None] | None]"


class Workers:
    """At most ``size`` threads, each started when all others are at work. They end with `close`, with this
    object, or with the process."""

    def __init__(self, size: int, name: str) -> None:
        self._size = size
        self._name = name
        self._is_closed = False
        self.begin()
        _open.add(self)

    def begin(self) -> None:
        """Without threads: at first, and in a forked process, which inherits none."""
        self._work: Work = SimpleQueue()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._busy = 0
        finalize(self, _dismiss, self._work, self._size)

    async def run(self, work: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()

        def act() -> None:
            try:
                outcome: tuple[T | None, BaseException | None] = work(), None
            except BaseException as error:  # noqa: BLE001 - raised where it is waited for
                outcome = None, error
            # Free before it is known: who goes on with the next piece of work finds this thread, and no
            # further one is started.
            self._free()
            with contextlib.suppress(RuntimeError):  # its loop is closed, so nobody waits
                loop.call_soon_threadsafe(_settle, done, *outcome)

        self._take(act)
        return await done

    def submit(self, work: Callable[[], None]) -> None:
        """Without waiting for it."""

        def act() -> None:
            try:
                work()
            except Exception:
                logger.exception("Work in the background failed.")
            self._free()

        self._take(act)

    def _take(self, act: Callable[[], None]) -> None:
        with self._lock:
            if self._is_closed:
                raise RuntimeError("These threads are closed.")
            self._busy += 1
            if self._busy > len(self._threads) < self._size:
                thread = threading.Thread(target=_serve, args=[self._work], name=self._name, daemon=True)
                self._threads.append(thread)
                thread.start()
            self._work.put(act)

    def _free(self) -> None:
        with self._lock:
            self._busy -= 1

    def close(self) -> None:
        """Waits for work under way. Blocks."""
        with self._lock:
            self._is_closed = True
            threads, self._threads = self._threads, []
        _dismiss(self._work, len(threads))
        for thread in threads:
            thread.join()


def _serve(work: Work) -> None:
    while act := work.get():
        act()
        del act  # what it holds is not kept until the next comes


def _dismiss(work: Work, threads: int) -> None:
    for _ in range(threads):
        work.put(None)


def _settle(done: asyncio.Future[Any], value: Any, error: BaseException | None) -> None:
    if done.done():
        return  # Its caller was cancelled.
    if error is None:
        done.set_result(value)
    else:
        done.set_exception(error)


_open: WeakSet[Workers] = WeakSet()


def _close_all() -> None:
    for workers in list(_open):
        workers.close()


def _begin_all() -> None:
    for workers in list(_open):
        workers.begin()


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_all)
