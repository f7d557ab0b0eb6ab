"""From foreign callbacks to appends: a bounded queue, and a thread that records what is in it.

    callback, in any thread or loop → put: never waits, never raises
      → queue of at most `capacity`; when it is full, what does not fit is counted
      → a thread with an event loop of its own → RecordedSession → our log

An adapter says in `record` what an item means. What was not recorded (a full queue, a store that stayed
away) stands in the session's log as a gap with its size, in the place where it is missing.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import secrets
import threading
import time
import weakref
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from state_core.adapters.recorded import RecordedSession
from state_core.exceptions import ConfigurationError, LeaseHeld, LeaseLost, StateError, StorageUnavailable
from state_core.manager import StateManager
from state_core.storage import from_url
from state_core.storage.base import StorageBackend

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Target = StateManager | StorageBackend | str
"""Where sessions are recorded: a manager, its store, or the URL of a store."""

BATCH = 256
"""Items that are taken from the queue at once."""
OUTSIDE = ("pause", "resume", "cancel", "answer", "restore", "fork")
"""What nobody carries out for a session that is only recorded."""
LOOKS = 2.0
"""Seconds between two looks at the log of a session that takes no commands."""
FULL = "the queue of the recorder was full"
FAULTY = "it could not be recorded; the program's log says why"


@dataclass(frozen=True)
class Description:
    """What a session is called when it is new."""

    title: str = ""
    workflow: str = ""
    tags: tuple[str, ...] = ()
    metadata: dict[str, Any] | None = None


class Stopped(BaseException):
    """Leaves a session as interrupted: its recording ended before it did."""


class Recorder(ABC, Generic[Item]):
    """Records items that any thread puts.

    ``capacity``: items that wait at most. ``linger``: seconds for which an idle session is kept open.
    Sessions are recorded by a manager of the recorder's own, on the same store and with the same options.
    """

    refuses: Sequence[str] = OUTSIDE
    """Verbs that nobody carries out."""
    _closing: bool
    _closed: bool
    _asleep: bool
    _open: dict[str, RecordedSession]
    _touched: dict[str, RecordedSession]

    def __init__(self, target: Target, *, capacity: int = 10_000, linger: float = 5.0) -> None:
        if capacity < 1 or linger < 0:
            raise ConfigurationError("capacity must be 1 or more, and linger 0 seconds or more.")
        self._manager = manager_on(target)
        if set(self.refuses) == set(OUTSIDE):
            self._manager.config = replace(self._manager.config, control_interval=LOOKS)
        self._closes_store = isinstance(target, str)
        self._capacity = capacity
        self._linger = linger
        self._mark = secrets.token_hex(3)
        self._start_anew()
        # A fork has neither the thread nor the right to the sessions.
        os.register_at_fork(after_in_child=_calling(weakref.ref(self), "_start_anew"))
        # Before the interpreter stops its thread pools, which stores need: an ordinary atexit hook is
        # called after that.
        register = getattr(threading, "_register_atexit", atexit.register)
        with suppress(RuntimeError):  # It is on its way out already.
            register(_calling(weakref.ref(self), "close"))

    @property
    def manager(self) -> StateManager:
        """On the store that is recorded in."""
        return self._manager

    # Called from anywhere…

    def put(self, item: Item, key: str = "") -> None:
        """Queue it. ``key``: tells `record_gap` where something is missing when the queue is full."""
        with self._lock:
            if self._closed:
                return
            if len(self._queue) >= self._capacity:
                self._missed[key] += 1
                return
            self._queue.append((key, item))
            self._put += 1
            if self._thread is None:
                self._start_thread()
            elif self._asleep and self._loop:
                self._asleep = False
                self._loop.call_soon_threadsafe(self._wake.set)

    def flush(self, timeout: float = 30.0) -> bool:
        """Wait until everything that was put before is in the store; False where that takes longer."""
        with self._lock:
            target = self._put
            return self._lock.wait_for(lambda: self._done >= target or self._closed, timeout)

    def close(self, timeout: float = 30.0) -> bool:
        """Record what is queued, leave every session, and stop. False where that takes longer than
        ``timeout`` seconds; what is not recorded by then is lost with the process."""
        with self._lock:
            self._closing = True
            thread = self._thread
            if thread is None or self._closed:
                self._closed = True
                return True
            if self._loop:
                self._loop.call_soon_threadsafe(self._wake.set)
        thread.join(timeout)
        return not thread.is_alive()

    # For adapters…

    @abstractmethod
    async def record(self, item: Item) -> None:
        """Compose the events of an item. Called in the recorder's thread, one item after another."""

    async def record_gap(self, key: str, count: int, reason: str) -> None:
        """So many items with this key are not recorded. By default the key is a session's id."""
        if key:
            (await self.session(key)).missed(count, reason)

    async def settle(self) -> None:
        """About once a second: the adapter may leave sessions in which nothing happens any more."""

    async def leave_all(self) -> None:
        """The recorder closes."""
        for session_id in list(self._open):
            await self.leave(session_id, Stopped())

    async def session(self, session_id: str, description: Description | None = None) -> RecordedSession:
        """The session of this id, entered where it is not open here."""
        found = self._open.get(session_id)
        if found is None:
            async for attempt in self._through_outages():
                with attempt:
                    found = await self._enter(session_id, description or Description())
            assert found is not None, "tenacity raises the last error"
            self._open[session_id] = found
        self._touched[session_id] = found
        return found

    async def forget(self, recorded: RecordedSession) -> None:
        """Leave a session whose lease is lost."""
        self._open = {i: known for i, known in self._open.items() if known is not recorded}
        self._touched = {i: known for i, known in self._touched.items() if known is not recorded}
        with suppress(StateError):
            await recorded.session.__aexit__(Stopped, Stopped(), None)

    async def drained(self) -> None:
        """Until everything that was put before is recorded; for the recorder's own tasks."""
        target = self._put
        while self._done < target:
            self._recorded.clear()
            await self._recorded.wait()

    def opened(self, session_id: str) -> RecordedSession | None:
        return self._open.get(session_id)

    async def leave(self, session_id: str, error: BaseException | None = None) -> None:
        """Complete a session; with an error it fails, with `Stopped` it is interrupted."""
        recorded = self._open.pop(session_id, None)
        self._touched.pop(session_id, None)
        if recorded is None:
            return
        await self._flush_one(recorded)
        try:
            await recorded.session.__aexit__(type(error) if error else None, error, None)
        except StateError as failure:
            logger.warning("Session %s could not be left as it should be: %s", session_id, failure)

    # The thread…

    def _start_anew(self) -> None:
        self._lock = threading.Condition()
        self._queue: deque[tuple[str, Item]] = deque()
        self._missed: Counter[str] = Counter()
        self._put: int = 0
        self._done: int = 0
        self._closing = self._closed = self._asleep = False
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._open = {}
        self._touched = {}

    def _start_thread(self) -> None:
        self._thread = threading.Thread(target=self._run, name=f"{type(self).__name__}", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception:
            logger.exception("The recorder has stopped; nothing more is recorded.")
        finally:
            with self._lock:
                self._closed = True
                self._lock.notify_all()

    async def _serve(self) -> None:
        self._wake, self._recorded = asyncio.Event(), asyncio.Event()
        self._loop = asyncio.get_running_loop()
        settled = time.monotonic()
        while True:
            items, missed = self._take()
            if items or missed:
                await self._record_all(items, missed)
            elif self._closing:
                break
            else:
                await self._sleep()
            if time.monotonic() - settled > 1 or self._linger < 1:
                settled = time.monotonic()
                await self._guarded(self.settle())
        await self._guarded(self.leave_all())
        await self._manager.close() if self._closes_store else await self._manager.log.flush()

    def _take(self) -> tuple[list[tuple[str, Item]], Counter[str]]:
        with self._lock:
            items = [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]
            # What was missed came after everything in the queue.
            missed = Counter[str]()
            if not self._queue:
                missed, self._missed = self._missed, missed
            self._asleep = not items and not missed
            return items, missed

    async def _record_all(self, items: list[tuple[str, Item]], missed: Counter[str]) -> None:
        failed = Counter[str]()
        for key, item in items:
            failed[key] += not await self._guarded(self.record(item))
        for gaps, reason in ((failed, FAULTY), (missed, FULL)):
            for key, count in gaps.items():
                if count:
                    await self._guarded(self.record_gap(key, count, reason))
        touched, self._touched = self._touched, {}
        await asyncio.gather(*(self._flush_one(recorded) for recorded in touched.values()))
        with self._lock:
            self._done += len(items)
            self._lock.notify_all()
        self._recorded.set()

    async def _guarded(self, work: Any) -> bool:
        """One item that cannot be recorded does not stop the others. False where it could not."""
        try:
            await work
        except StateError as error:
            logger.error("Something could not be recorded: %s", error)
            return False
        except Exception:
            logger.exception("Something could not be recorded.")
            return False
        return True

    async def _sleep(self) -> None:
        self._wake.clear()
        with self._lock:
            if self._queue or self._closing:
                return
            self._asleep = True
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), max(0.05, min(1.0, self._linger)))

    def _through_outages(self) -> AsyncRetrying:
        """What comes meanwhile waits in the queue."""
        return AsyncRetrying(
            retry=retry_if_exception_type(StorageUnavailable),
            wait=wait_random_exponential(multiplier=0.1, max=5),
            stop=stop_after_delay(self._manager.config.outage_patience),
            reraise=True,
        )

    async def _enter(self, session_id: str, description: Description) -> RecordedSession:
        try:
            return await self._entered(session_id, description)
        except LeaseHeld:
            # Another process records it, too, or runs it: what comes from here gets a session of its own.
            part = f"{session_id[:100]}.{self._mark}"
            tags = (*description.tags, f"part of {session_id}")
            return await self._entered(part, replace(description, tags=tags))

    async def _entered(self, session_id: str, description: Description) -> RecordedSession:
        session = self._manager.session(
            session_id,
            title=description.title,
            workflow=description.workflow,
            tags=description.tags,
            metadata=description.metadata,
            refuses=self.refuses,
            reopen=True,
        )
        return RecordedSession(await session.__aenter__())

    async def _flush_one(self, recorded: RecordedSession) -> None:
        composed = recorded.composed
        try:
            await recorded.flush()
        except LeaseLost as error:
            logger.warning("%s It is entered anew.", error)
            await self.forget(recorded)
        except StateError as error:
            logger.error("Session %s: %d events are not recorded: %s", recorded.session_id, composed, error)
            recorded.start_over()
            recorded.missed(composed, f"the store did not take it: {error}")


def manager_on(target: Target) -> StateManager:
    """A manager of the adapter's own, with the same store and options. Raises ConfigurationError."""
    if isinstance(target, str):
        return StateManager(from_url(target))
    if isinstance(target, StorageBackend):
        return StateManager(target)
    if isinstance(target, StateManager):
        return StateManager(target.storage, checkpoint_config=target.checkpoint_config, config=target.config)
    raise ConfigurationError(
        f"Sessions cannot be recorded in a {type(target).__name__}. Give a StateManager, a store, or "
        "the URL of one, such as 'sqlite:///var/state.sqlite3'."
    )


def _calling(found: weakref.ref[Recorder[Any]], name: str) -> Callable[[], None]:
    """Calls a method of what may be gone by then."""

    def call() -> None:
        recorder = found()
        if recorder is not None:
            getattr(recorder, name)()

    return call
