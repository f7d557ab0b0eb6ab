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
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeAlias, TypeVar
from weakref import WeakSet, finalize

logger = logging.getLogger(__name__)

T = TypeVar("T")
Inbox: TypeAlias = "SimpleQueue[Work | None]"
"""What one thread is to do; None: to end."""
Work: TypeAlias = Callable[[Inbox], None]


class Closed(RuntimeError):
    """They take no work any more; what was given was not begun."""


class Workers:
    """At most ``size`` threads, each started when all others are at work. They end with `close`, with this
    object, or with the process.

    Work goes to the thread that was at work last: what it and its connection hold is still at hand.
    """

    def __init__(self, size: int, name: str) -> None:
        self._size = size
        self._name = name
        self._is_closed = False
        self.begin()
        _open.add(self)

    def begin(self) -> None:
        """Without threads: at first, and in a forked process, which inherits none."""
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._idle: list[Inbox] = []
        self._waiting: deque[Work] = deque()
        finalize(self, _dismiss, self._idle)

    async def run(self, work: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()

        def act(inbox: Inbox) -> None:
            try:
                outcome: tuple[T | None, BaseException | None] = work(), None
            except BaseException as error:  # noqa: BLE001 - raised where it is waited for
                outcome = None, error
            # Free before it is known: who goes on with the next piece of work finds this thread, and no
            # further one is started.
            self._free(inbox)
            with contextlib.suppress(RuntimeError):  # its loop is closed, so nobody waits
                loop.call_soon_threadsafe(_settle, done, *outcome)

        self._take(act)
        return await done

    def submit(self, work: Callable[[], None]) -> None:
        """Without waiting for it."""

        def act(inbox: Inbox) -> None:
            try:
                work()
            except Exception:
                logger.exception("Work in the background failed.")
            self._free(inbox)

        self._take(act)

    def _take(self, act: Work) -> None:
        with self._lock:
            if self._is_closed:
                raise Closed("These threads are closed.")
            if self._idle:
                self._idle.pop().put(act)
            elif len(self._threads) < self._size:
                self._start(act)
            else:
                self._waiting.append(act)

    def _start(self, act: Work) -> None:
        inbox: Inbox = SimpleQueue()
        inbox.put(act)
        thread = threading.Thread(target=_serve, args=[inbox], name=self._name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _free(self, inbox: Inbox) -> None:
        with self._lock:
            if self._waiting:
                inbox.put(self._waiting.popleft())
            elif self._is_closed:
                inbox.put(None)
            else:
                self._idle.append(inbox)

    def close(self) -> None:
        """Waits for work under way. Blocks."""
        with self._lock:
            self._is_closed = True
            threads, self._threads = self._threads, []
            _dismiss(self._idle)
        for thread in threads:
            thread.join()


def _serve(inbox: Inbox) -> None:
    while act := inbox.get():
        act(inbox)
        del act  # what it holds is not kept until the next comes


def _dismiss(idle: list[Inbox]) -> None:
    while idle:
        idle.pop().put(None)


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
