"""A worker for graphs: goes on with threads that somebody resumed, or whose process fell silent."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from typing import Any

from state_core.adapters.langgraph.running import run_session
from state_core.adapters.langgraph.saver import StateCoreSaver
from state_core.adapters.langgraph.threads import TAG
from state_core.exceptions import (
    ConfigurationError,
    LeaseError,
    SessionNotFound,
    StorageUnavailable,
    TransitionError,
)
from state_core.manager import StateManager
from state_core.records import Head, SessionStatus
from state_core.storage.base import HeadQuery

logger = logging.getLogger(__name__)

WAITING = (SessionStatus.RESUMING, SessionStatus.INTERRUPTED)
RECOVERIES = 3
"""How often a thread is taken up after interruptions without completing a step in between."""


class GraphWorker:
    """Takes up resumed and interrupted sessions of these graphs, by the workflow that stands in them.

    ``graphs``: compiled with savers on one store. ``poll``: seconds between two looks. ``concurrency``:
    sessions at once. Raises ConfigurationError where the graphs have several stores, or none of ours.
    """

    def __init__(self, graphs: Mapping[str, Any], *, poll: float = 0.5, concurrency: int = 4) -> None:
        self._graphs = dict(graphs)
        self._poll = poll
        self._concurrency = concurrency
        self._manager = _manager_of(self._graphs)
        self._running: dict[str, asyncio.Task[None]] = {}
        self._recoveries: dict[tuple[str, int], int] = {}
        self._stopping = asyncio.Event()

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
            tasks = list(self._running.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def stop(self) -> None:
        self._stopping.set()

    async def _look(self) -> None:
        try:
            await self._manager.interrupt_expired()
            query = HeadQuery(statuses=WAITING, tag=TAG, sort="updated_at", limit=100)
            for head in await self._manager.storage.heads(query):
                if len(self._running) < self._concurrency and self._is_ours(head):
                    self._take(head)
        except StorageUnavailable as error:
            logger.warning("Worker: %s Trying again.", error)

    def _is_ours(self, head: Head) -> bool:
        if head.workflow not in self._graphs or head.session_id in self._running:
            return False
        if head.status == SessionStatus.RESUMING:
            return True
        tried = (head.session_id, head.counts["steps_completed"])
        self._recoveries[tried] = self._recoveries.get(tried, 0) + 1
        if self._recoveries[tried] == RECOVERIES + 1:
            logger.warning(
                "Session %s was interrupted %d times without completing a step; it waits for a person.",
                head.session_id,
                RECOVERIES,
            )
        return self._recoveries[tried] <= RECOVERIES

    def _take(self, head: Head) -> None:
        task = asyncio.create_task(self._go_on(head), name=f"run {head.session_id}")
        self._running[head.session_id] = task
        task.add_done_callback(lambda _: self._running.pop(head.session_id, None))

    async def _go_on(self, head: Head) -> None:
        session_id = head.session_id
        try:
            await run_session(self._graphs[head.workflow], thread_id=session_id, workflow=head.workflow)
        except (LeaseError, TransitionError, SessionNotFound) as error:
            logger.info("Session %s is somebody else's: %s", session_id, error)
        except StorageUnavailable as error:
            logger.warning("Session %s: %s", session_id, error)
        except Exception:
            logger.exception("Session %s failed.", session_id)


def _manager_of(graphs: Mapping[str, Any]) -> StateManager:
    savers = [graph.checkpointer for graph in graphs.values()]
    if not savers or not all(isinstance(saver, StateCoreSaver) for saver in savers):
        raise ConfigurationError("A GraphWorker needs graphs that were compiled with a StateCoreSaver.")
    managers = {id(saver.state_manager.storage): saver.state_manager for saver in savers}
    if len(managers) > 1:
        raise ConfigurationError("The graphs of a GraphWorker need one store; start a worker for each store.")
    manager: StateManager = savers[0].state_manager
    return manager
