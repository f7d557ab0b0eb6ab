"""Threads kept in memory, in step with their logs; and how something is appended to one.

All of it runs in one event loop (`state_core.sync`), so that it serves any thread and any loop.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime

from tenacity import (
    AsyncRetrying,
    retry_if_exception_type,
    stop_after_attempt,
    stop_after_delay,
    wait_random,
    wait_random_exponential,
)

from state_core.adapters.langgraph.holding import held
from state_core.adapters.langgraph.ids import session_id_of
from state_core.adapters.langgraph.thread import Thread
from state_core.adapters.langgraph.writing import Reader
from state_core.changes import keep_aside
from state_core.events import Changes, Event, EventKind
from state_core.exceptions import ConflictError, SessionExists, SessionNotFound, StorageUnavailable
from state_core.log import Range
from state_core.manager import StateManager
from state_core.records import Head, parse_time, utc_now
from state_core.storage.base import HeadQuery

TAG = "langgraph"
PAGE = 200
READ_PATIENCE = 5.0
"""Seconds for which a store that is away is asked again by who only reads: nothing is lost by an error."""
READERS = 1000
"""Runs whose beginning is remembered, for the durations of their first tasks."""

Compose = Callable[[Thread], list[Event]]
"""Makes the events that something is, on a thread as it stands. Called again where it moved on."""


class Threads:
    """The threads of one store. ``workflow``: what the sessions that are made here are called."""

    def __init__(self, manager: StateManager, workflow: str, cache_bytes: int) -> None:
        self.manager = manager
        self._workflow = workflow
        self._cache_bytes = cache_bytes
        self._kept: OrderedDict[str, Thread] = OrderedDict()
        self._locks: dict[str, asyncio.Lock] = {}
        self._readers: OrderedDict[str, datetime] = OrderedDict()
        self.driven: set[str] = set()
        """Sessions that a live session of this process is at work on."""

    @asynccontextmanager
    async def _locked(self, session_id: str) -> AsyncIterator[None]:
        lock = self._locks.setdefault(session_id, asyncio.Lock())
        async with lock:
            yield
        if not lock.locked() and session_id not in self._kept:
            self._locks.pop(session_id, None)

    async def read(self, thread_id: str) -> Thread | None:
        """As it stands in the store now; None where there is none. To be looked at without awaiting."""
        return await self.read_session(session_id_of(thread_id))

    async def read_session(self, session_id: str) -> Thread | None:
        patience = min(READ_PATIENCE, self.manager.config.outage_patience)
        async with self._locked(session_id):
            async for attempt in _through_outages(patience):
                with attempt:
                    return await self._caught_up_if_there(session_id)
        raise AssertionError("tenacity re-raises the last error")

    async def _caught_up_if_there(self, session_id: str) -> Thread | None:
        try:
            return await self._caught_up(session_id)
        except SessionNotFound:
            self._kept.pop(session_id, None)
            return None

    async def append(self, thread_id: str, compose: Compose, *, create: bool = True) -> Thread:
        """Durably append what ``compose`` makes; nothing where it makes nothing. A store that is away is
        asked again, for as long as the configuration's ``outage_patience``; what had landed before it went
        away, ``compose`` finds in the thread.

        Raises what ``compose`` raises, and SessionNotFound where the thread is not there and is not to be
        made.
        """
        session_id = session_id_of(thread_id)
        async with self._locked(session_id):
            async for attempt in _through_outages(self.manager.config.outage_patience):
                with attempt:
                    return await self._append_to_newest(session_id, thread_id, compose, create)
        raise AssertionError("tenacity re-raises the last error")

    async def _append_to_newest(
        self, session_id: str, thread_id: str, compose: Compose, create: bool
    ) -> Thread:
        async for attempt in _again():
            with attempt:
                return await self._append(session_id, thread_id, compose, create)
        raise AssertionError("tenacity re-raises the last error")

    async def _append(self, session_id: str, thread_id: str, compose: Compose, create: bool) -> Thread:
        thread = self._kept.get(session_id) or await self._opened(session_id, thread_id, create)
        events = compose(thread)
        if not events:
            return thread
        if not thread.is_named:
            events.insert(0, self.naming(thread_id))
        try:
            last = await self.manager.log.append(session_id, events, expected_seq=thread.seq)
        except SessionNotFound:
            # It was deleted. What was meant for it must not bring it back half.
            self._kept.pop(session_id, None)
            raise
        except ConflictError as error:
            await self._caught_up(session_id)
            raise _MovedOn(session_id, error.expected, error.actual) from error
        except BaseException:
            # Unknown outcome: what is there is read anew.
            self._kept.pop(session_id, None)
            raise
        for seq, event in enumerate(events, start=last - len(events) + 1):
            thread.apply(replace(event, seq=seq))
        return thread

    async def _opened(self, session_id: str, thread_id: str, create: bool) -> Thread:
        try:
            return await self._caught_up(session_id)
        except SessionNotFound:
            if not create:
                raise
        with contextlib.suppress(SessionExists):
            await self.manager.create_session(
                session_id, title=thread_id, workflow=self._workflow, tags=[TAG]
            )
        return await self._caught_up(session_id)

    def naming(self, thread_id: str) -> Event:
        """The first record of a thread: what the framework calls it."""
        named = keep_aside({"t": "thread", "id": thread_id})
        return Event(kind=EventKind.RECORD_KEPT, actor=self.manager.actor, changes=[named])

    async def _caught_up(self, session_id: str) -> Thread:
        head = await self.manager.storage.head(session_id)
        thread = self._kept.get(session_id)
        if thread is None or not _is_of(thread, head):
            thread = await self._loaded(head)
        elif thread.seq < head.last_seq:
            thread = await self._followed(thread, head)
        self._keep(thread)
        return thread

    async def _loaded(self, head: Head) -> Thread:
        return await self.as_of(head, head.last_seq)

    async def as_of(self, head: Head, at: int) -> Thread:
        """As it stood after that event, of a log that is read anew."""
        thread = Thread(head.session_id)
        log = self.manager.log
        ranges = await log.line(head.session_id, at) if head.counts["restores"] else [Range(0, at)]
        for span in ranges:
            async for event in log.iterate(head.session_id, span):
                thread.apply(event)
        return thread

    async def carried(self, head: Head, at: int) -> Changes:
        """What says all that is kept of it up to that event, for a log that is to begin there."""
        return [keep_aside(held(await self.as_of(head, at)))]

    async def _followed(self, thread: Thread, head: Head) -> Thread:
        async for event in self.manager.log.iterate(head.session_id, Range(thread.seq, head.last_seq)):
            if event.kind == EventKind.SESSION_RESTORED:
                return await self._loaded(head)
            thread.apply(event)
        return thread

    def _keep(self, thread: Thread) -> None:
        self._kept[thread.session_id] = thread
        self._kept.move_to_end(thread.session_id)
        while len(self._kept) > 1 and sum(kept.bytes for kept in self._kept.values()) > self._cache_bytes:
            self._kept.popitem(last=False)

    @contextlib.contextmanager
    def driving(self, session_id: str) -> Iterator[None]:
        """While a live session of this process says itself how it stands."""
        self.driven.add(session_id)
        try:
            yield
        finally:
            self.driven.discard(session_id)

    def read_by(self, seq: int) -> Reader:
        """Somebody who read when the thread was at ``seq``."""
        reader = Reader.at(seq)
        self._readers[reader.name] = utc_now()
        if len(self._readers) > READERS:
            self._readers.popitem(last=False)
        return reader

    def since(self, reader: Reader | None, at: datetime) -> datetime:
        """From when on a run was at work on the checkpoint that was put at ``at``."""
        return max(at, self._readers.get(reader.name, at)) if reader else at

    async def delete(self, thread_id: str) -> None:
        session_id = session_id_of(thread_id)
        async with self._locked(session_id):
            self._kept.pop(session_id, None)
            try:
                await self.manager.delete_session(session_id)
            except SessionNotFound:
                return

    async def session_ids(self) -> AsyncIterator[str]:
        """Of every thread in the store, the one that changed last first."""
        query = HeadQuery(tag=TAG, limit=PAGE)
        while heads := await self.manager.storage.heads(query):
            for head in heads:
                yield head.session_id
            query = HeadQuery(tag=TAG, limit=PAGE, after=query.cursor(heads[-1]))


class _MovedOn(ConflictError):
    """Somebody else appended something first; whether that matters, the next look tells."""


def _is_of(thread: Thread, head: Head) -> bool:
    """Not one that was deleted and made again meanwhile."""
    return thread.seq <= head.last_seq and parse_time(thread.outline["created_at"]) == head.created_at


def _through_outages(patience: float) -> AsyncRetrying:
    return AsyncRetrying(
        retry=retry_if_exception_type(StorageUnavailable),
        wait=wait_random_exponential(multiplier=0.1, max=5),
        stop=stop_after_delay(patience),
        reraise=True,
    )


def _again() -> AsyncRetrying:
    """Somebody else appended first: look again, and repeat it on what is there now."""
    return AsyncRetrying(
        retry=retry_if_exception_type(_MovedOn),
        stop=stop_after_attempt(50),
        wait=wait_random(0, 0.02),
        reraise=True,
    )
