"""Plays the workflows over and over. It only submits sessions; workers run them, as they would yours."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Collection, Sequence

from state_core.demo.workflows import Workflow
from state_core.exceptions import LeaseError, NotFound, StorageUnavailable
from state_core.manager import StateManager
from state_core.orchestra import OrchestraInstance, OrchestraWorker
from state_core.records import ENDED, Head, SessionStatus, utc_now
from state_core.storage.base import StorageBackend

logger = logging.getLogger(__name__)

TAG = "demo"
"""Of every session that is played; others are never touched."""
REST = 15.0
"""Paces between the end of a session and the next of its workflow."""
LOOK = 1.0
"""Seconds between two looks at what is to be begun, and at what waits to be taken up."""
KEEP = 40
"""Sessions that have ended and are kept; older ones are deleted."""
LEFT_ALONE = ENDED | {SessionStatus.PAUSED}
"""A session that somebody paused waits for them; another begins beside it."""
AT_REST = LEFT_ALONE | {SessionStatus.WAITING}


class Player:
    """Keeps one session of each workflow going, until `stop`."""

    def __init__(
        self,
        storage: StorageBackend,
        workflows: Sequence[Workflow],
        *,
        pace: float = 1.0,
        keep: int = KEEP,
        encryption_key: str | Sequence[str] | None = None,
    ) -> None:
        self._workflows = workflows
        self._pace = pace
        self._keep = keep
        self._managers = {
            w.name: StateManager(storage, checkpoint_config=w.checkpoints, encryption_key=encryption_key)
            for w in workflows
        }
        self._manager = StateManager(storage, actor=TAG, encryption_key=encryption_key)
        self._stopping = asyncio.Event()
        self.session_ids: list[str] = []
        """Of the sessions that were begun here."""

    def stop(self) -> None:
        self._stopping.set()

    async def play(self) -> None:
        """Until `stop`. What is under way then is interrupted, and taken up at the next start."""
        async with contextlib.AsyncExitStack() as stack:
            for workflow in self._workflows:
                await stack.enter_async_context(self._working(workflow))
            while not self._stopping.is_set():
                await self._look()
                await self._wait(LOOK)

    async def play_once(self) -> list[Head]:
        """A session of each, until all have ended or wait for a person; returns how they stand."""
        async with contextlib.AsyncExitStack() as stack:
            for workflow in self._workflows:
                await self._begin(workflow)
                await stack.enter_async_context(self._working(workflow))
            heads = await self._heads()
            while not self._stopping.is_set() and any(head.status not in AT_REST for head in heads):
                await self._wait(LOOK / 5)
                heads = await self._heads()
        return heads

    async def _heads(self) -> list[Head]:
        return [await self._manager.get_head(session_id) for session_id in self.session_ids]

    async def _wait(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    @contextlib.asynccontextmanager
    async def _working(self, workflow: Workflow) -> AsyncIterator[None]:
        worker = OrchestraWorker(self._managers[workflow.name], workflow.agents, poll=LOOK)
        task = asyncio.create_task(worker.run(), name=f"worker of {workflow.name}")
        try:
            yield
        finally:
            worker.stop()
            await task

    # What is to be begun, and what is to go

    async def _look(self) -> None:
        try:
            heads = await self._manager.list_sessions(tag=TAG, limit=500)
            for workflow in self._workflows:
                if self._is_due([h for h in heads if h.workflow == workflow.topology.name]):
                    await self._begin(workflow)
            await self._tidy(heads)
        except StorageUnavailable as error:
            logger.warning("%s The demonstration tries again.", error)

    def _is_due(self, heads: Collection[Head]) -> bool:
        if any(head.status not in LEFT_ALONE for head in heads):
            return False
        last = max((head.ended_at for head in heads if head.ended_at), default=None)
        return last is None or (utc_now() - last).total_seconds() > REST * self._pace

    async def _begin(self, workflow: Workflow) -> None:
        orchestra = OrchestraInstance(
            workflow.topology, self._managers[workflow.name], workflow.agents, tags=[TAG]
        )
        session_id = f"{workflow.name}-{utc_now():%Y%m%d-%H%M%S}"
        context = {"session_id": session_id, "pace": self._pace}
        self.session_ids.append(await orchestra.submit(workflow.task, context))

    async def _tidy(self, heads: Sequence[Head]) -> None:
        ended = [head for head in heads if head.status in ENDED]
        for head in sorted(ended, key=lambda head: str(head.ended_at), reverse=True)[self._keep :]:
            with contextlib.suppress(NotFound, LeaseError):
                await self._manager.delete_session(head.session_id)
