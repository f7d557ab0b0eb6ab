"""Keeping leases from a thread of its own: an agent that blocks its event loop, by a plain call to a model or
by a long computation, does not lose its session to somebody who would do the same work again."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import TypeAlias

from state_core.config import StateManagerConfig
from state_core.exceptions import LeaseLost, StateError
from state_core.sync import LoopThread

logger = logging.getLogger(__name__)

Renew: TypeAlias = Callable[[], Awaitable[bool]]
"""Says whether there was a lease to renew. Raises LeaseLost, StorageUnavailable."""

OWN, OVERDUE = 1 / 3, 0.4
"""Parts of a lease after which the session's own loop renews it, and after which it is done from here."""

_threads: dict[int, LoopThread] = {}
"""Process id → its thread: a forked process inherits none."""


class Keeper:
    """Renews one session's lease where the event loop that runs it is late with that.

    ``renew`` is called in another thread and loop. A lease that was lost is for the session's own loop to
    notice. Without a renewal by that for as long as ``stall_patience``, the session is left to others.
    """

    def __init__(self, session_id: str, config: StateManagerConfig, renew: Renew) -> None:
        self._session_id = session_id
        self._ttl = config.lease_ttl
        self._patience = config.stall_patience
        self._renew = renew
        self._running: Future[None] | None = None
        self.renewed()

    @property
    def is_due(self) -> bool:
        """Is it time for the session's own loop to renew?"""
        return time.monotonic() - self._renewed_itself_at > self._ttl * OWN

    def renewed(self) -> None:
        """By the session's own loop."""
        self._renewed_at = self._renewed_itself_at = time.monotonic()

    def begin(self) -> None:
        self.renewed()
        thread = _threads.setdefault(os.getpid(), LoopThread("state_core.keeping"))
        self._running = thread.submit(self._keep())

    def end(self) -> None:
        if self._running:
            self._running.cancel()

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(self._ttl / 20)
            late = time.monotonic() - self._renewed_itself_at
            if late < self._patience and time.monotonic() - self._renewed_at > self._ttl * OVERDUE:
                await self._renew_for_it(late)

    async def _renew_for_it(self, late: float) -> None:
        try:
            was_held = await self._renew()
        except LeaseLost:
            return
        except StateError as error:
            logger.warning("Session %s: its lease could not be renewed: %s", self._session_id, error)
            return
        self._renewed_at = time.monotonic()
        if was_held:
            logger.warning(
                "Session %s has not renewed its lease for %.1f s; another thread did. Something blocks its "
                "event loop, such as a plain call in an asynchronous agent, or its store is slow.",
                self._session_id,
                late,
            )
