"""Clean-up by itself, and the quota: what a StateManager does about them while it is used."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection

from state_core.config import StateManagerConfig
from state_core.exceptions import QuotaExceeded
from state_core.retention import CleanupReport, Limits, Retention

logger = logging.getLogger(__name__)

EVERY = 3600.0
"""Seconds between two clean-ups by one manager."""
MEASURED_FOR = 5.0
"""Seconds for which a store that was within its quota is taken to be so still."""


class Housekeeping:
    """Starts clean-ups off the caller's path; admits new work."""

    def __init__(self, retention: Retention, config: StateManagerConfig) -> None:
        self._retention = retention
        self._limits = Limits.of(config)
        self._cleans_by_itself = config.auto_cleanup_enabled
        self._next_at = time.monotonic()
        self._within_quota_until = time.monotonic()
        self._task: asyncio.Task[None] | None = None
        self._stopping = False

    def start_if_due(self) -> None:
        """Needs a running loop."""
        is_running = self._task is not None and not self._task.done()
        if not self._cleans_by_itself or is_running or time.monotonic() < self._next_at:
            return
        self._next_at = time.monotonic() + EVERY
        self._stopping = False
        self._task = asyncio.create_task(self._run(), name="clean up the store")

    async def _run(self) -> None:
        """A failure is logged: nobody waits for this, and the next run makes up for it."""
        try:
            report = await self._clean(self._limits)
        except Exception:
            logger.exception("The store could not be cleaned up; it is tried again in an hour.")
            return
        if not report.does_nothing:
            logger.info(
                "Cleaned up: %d sessions (%.1f MB), %d checkpoints; compacted %d sessions (%.1f MB less).",
                len(report.sessions),
                report.bytes / 1e6,
                report.checkpoint_count,
                len(report.compactions),
                report.bytes_compacted / 1e6,
            )

    async def _clean(self, limits: Limits, sparing: Collection[str] = ()) -> CleanupReport:
        plan = await self._retention.plan(limits, sparing)
        return await self._retention.carry_out(plan, should_stop=lambda: self._stopping)

    async def admit(self, sparing: Collection[str] = ()) -> None:
        """May something new begin? Makes room for it where it may clean up, save by the sessions of
        ``sparing``. Raises QuotaExceeded."""
        limit = self._limits.max_bytes
        if limit is None or time.monotonic() < self._within_quota_until:
            return
        used = await self._retention.used()
        if used > limit and self._cleans_by_itself:
            await self._clean(Limits(max_bytes=limit), sparing)
            used = await self._retention.used()
        if used > limit:
            raise QuotaExceeded(used, limit)
        self._within_quota_until = time.monotonic() + MEASURED_FOR

    async def stop(self) -> None:
        """Let a clean-up that is under way end after its present batch."""
        self._stopping = True
        task = self._task
        if task and not task.done() and task.get_loop() is asyncio.get_running_loop():
            await asyncio.gather(task, return_exceptions=True)
