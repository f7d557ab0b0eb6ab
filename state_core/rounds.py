"""The rounds of a worker: it looks for sessions that nobody runs, and goes on with those that it can.

There is no queue: leases decide who gets which.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from dataclasses import replace
from typing import Any, ClassVar

from state_core.exceptions import LeaseError, SessionNotFound, StorageUnavailable, TransitionError
from state_core.manager import StateManager
from state_core.records import Head, SessionStatus
from state_core.storage.base import HeadQuery

logger = logging.getLogger(__name__)

RECOVERY = "recovery"
"""Key of the session's metadata: how often it was taken up after an interruption, and how far it was."""
PAGE = 100
STOPPING = (signal.SIGTERM, signal.SIGINT)

GoOn = Callable[[Mapping[str, Any]], Awaitable[Any]]
"""Goes on with a session, and merges what it is given into the session's metadata."""


class Worker(ABC):
    """Looks again and again for sessions that wait for somebody; a subclass says what it can go on with.

    ``poll``: seconds between two looks. ``concurrency``: sessions at once. ``max_recoveries``: how often a
    session is taken up after interruptions without completing a step in between; then it waits for a person.
    """

    statuses: ClassVar[Collection[SessionStatus]]
    """Sessions that stand so wait for somebody."""
    tag: ClassVar[str] = ""
    """Only sessions that have it are looked at."""

    def __init__(
        self,
        state_manager: StateManager,
        *,
        poll: float = 0.5,
        concurrency: int = 4,
        max_recoveries: int = 3,
    ) -> None:
        self.state_manager = state_manager
        self._poll = poll
        self._concurrency = concurrency
        self._max_recoveries = max_recoveries
        self._running: dict[str, asyncio.Task[None]] = {}
        self._not_ours: dict[str, int] = {}
        """Session id → last seq, of those looked at that this worker cannot take."""
        self._stopping = asyncio.Event()

    @abstractmethod
    def way_on(self, head: Head, metadata: Mapping[str, Any]) -> GoOn | None:
        """How to go on with this session; None where this worker cannot."""

    @property
    def session_ids(self) -> list[str]:
        """Of the sessions that it runs at present."""
        return list(self._running)

    async def run(self) -> None:
        """Work until `stop`, or until cancelled. Sessions under way are then interrupted; another worker,
        or this one after a restart, goes on with them."""
        self._stopping.clear()
        try:
            while not self._stopping.is_set():
                await self._look()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), self._poll)
        finally:
            await self._let_go()

    async def run_until_signal(self) -> None:
        """`run`, stopped cleanly by SIGTERM and SIGINT. For the main thread of a program."""
        await run_until_signal(self)

    def stop(self) -> None:
        self._stopping.set()

    async def _let_go(self) -> None:
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # Finding

    async def _look(self) -> None:
        self.state_manager.start_cleanup_if_due()
        try:
            await self.state_manager.interrupt_expired()
            if len(self._running) < self._concurrency:
                await self._take_what_waits()
        except StorageUnavailable as error:
            logger.warning("Worker: %s Trying again.", error)

    async def _take_what_waits(self) -> None:
        seen: set[str] = set()
        async for head in self._waiting():
            seen.add(head.session_id)
            if len(self._running) >= self._concurrency:
                return
            await self._consider(head)
        self._not_ours = {i: seq for i, seq in self._not_ours.items() if i in seen}

    async def _waiting(self) -> AsyncIterator[Head]:
        """The longest waiting first."""
        query = HeadQuery(statuses=self.statuses, tag=self.tag, sort="updated_at", limit=PAGE)
        while heads := await self.state_manager.storage.heads(query):
            for head in heads:
                yield head
            query = replace(query, after=query.cursor(heads[-1]))

    async def _consider(self, head: Head) -> None:
        session_id = head.session_id
        if session_id in self._running or self._not_ours.get(session_id) == head.last_seq:
            return
        try:
            metadata = (await self.state_manager.get_session_state(session_id)).metadata
        except SessionNotFound:
            return
        go_on = self.way_on(head, metadata)
        recovery = self._recovery(head, metadata) if go_on else None
        if go_on is None or recovery is None:
            self._not_ours[session_id] = head.last_seq
            return
        task = asyncio.create_task(self._go_on(session_id, go_on, recovery), name=f"run {session_id}")
        self._running[session_id] = task
        task.add_done_callback(lambda _: self._running.pop(session_id, None))

    def _recovery(self, head: Head, metadata: Mapping[str, Any]) -> dict[str, int] | None:
        """What to remember of this take-up, or None where it was tried too often without getting on."""
        steps = head.counts["steps_completed"]
        if head.status != SessionStatus.INTERRUPTED:
            return {"count": 0, "steps": steps}
        before = metadata.get(RECOVERY, {"count": 0, "steps": -1})
        count = before["count"] + 1 if before["steps"] == steps else 1
        if count <= self._max_recoveries:
            return {"count": count, "steps": steps}
        logger.warning(
            "Session %s was interrupted %d times without completing a step; it waits for a person.",
            head.session_id,
            count,
        )
        return None

    # Running

    async def _go_on(self, session_id: str, go_on: GoOn, recovery: Mapping[str, int]) -> None:
        try:
            await go_on({RECOVERY: dict(recovery)})
        except (LeaseError, TransitionError, SessionNotFound) as error:
            logger.info("Session %s is somebody else's: %s", session_id, error)
        except StorageUnavailable as error:
            logger.warning("Session %s: %s", session_id, error)
        except Exception:
            logger.exception("Session %s failed.", session_id)


async def run_until_signal(*workers: Worker) -> None:
    """Run them, one for each store, until SIGTERM or SIGINT stops them cleanly. For the main thread of a
    program."""

    def stop() -> None:
        for worker in workers:
            worker.stop()

    loop = asyncio.get_running_loop()
    for number in STOPPING:
        loop.add_signal_handler(number, stop)
    try:
        await asyncio.gather(*(worker.run() for worker in workers))
    finally:
        for number in STOPPING:
            loop.remove_signal_handler(number)
