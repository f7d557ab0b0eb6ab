"""What is kept, and for how long: which sessions, checkpoints and history may go, and letting them go.

Only sessions that have ended are touched, never one that runs, is paused, waits or can be taken up by a
worker. A fork carries its state, so what it was forked from may go.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from state_core.checkpoints import MADE_BY_THEMSELVES
from state_core.compaction import Compaction, compact_session, estimate, may_be_worth_it
from state_core.config import StateManagerConfig
from state_core.events import Event, EventKind
from state_core.exceptions import (
    ConflictError,
    LeaseHeld,
    NotFound,
    StateError,
    StorageUnavailable,
    TransitionError,
)
from state_core.log import EventLog
from state_core.records import ENDED, Head, SessionStatus, utc_now
from state_core.storage.base import HeadQuery

logger = logging.getLogger(__name__)

PAGE = 200
"""Heads read at once."""
BATCH = 20
"""Removals between two looks at whether to stop."""

Progress = Callable[[int, int], None]
"""Told after each batch: how many removals are done, of how many."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What may stay. None: no limit."""

    session_age: timedelta | None = None
    checkpoint_age: timedelta | None = None
    max_bytes: int | None = None
    history_age: timedelta | None = None
    at: datetime | None = None
    """When ages are reckoned from, and after which nothing had ended yet. None: now."""

    @classmethod
    def of(cls, config: StateManagerConfig) -> Limits:
        size = config.max_storage_size_mb
        return cls(
            session_age=_days(config.max_session_age_days),
            checkpoint_age=_days(config.max_checkpoint_age_days),
            max_bytes=None if size is None else int(size * 1_000_000),
            history_age=_days(config.max_history_age_days),
        )

    def reach_into_history_of(self, head: Head, now: datetime) -> bool:
        updated = head.updated_at
        return self.history_age is not None and updated is not None and now - updated > self.history_age


def _days(number: float | None) -> timedelta | None:
    return None if number is None else timedelta(days=number)


@dataclass(frozen=True, slots=True)
class SessionRemoval:
    """A session that goes, with all its checkpoints."""

    session_id: str
    why: str
    """``age`` or ``quota``."""
    status: SessionStatus
    last_seq: int
    updated_at: datetime | None
    bytes: int


@dataclass(frozen=True, slots=True)
class CheckpointRemoval:
    """Checkpoints that go, of a session that stays."""

    session_id: str
    checkpoint_ids: tuple[str, ...]
    last_seq: int
    updated_at: datetime | None


@dataclass(frozen=True)
class CleanupReport:
    """What went or, of a dry run, what would go."""

    dry_run: bool
    sessions: list[SessionRemoval] = field(default_factory=list)
    """Those that ended longest ago first."""
    checkpoints: list[CheckpointRemoval] = field(default_factory=list)
    compactions: list[Compaction] = field(default_factory=list)
    """Of sessions that stay; of a dry run estimates."""
    skipped: list[str] = field(default_factory=list)
    """Sessions that were to go, to lose checkpoints or to be compacted, and that somebody took up or deleted
    meanwhile, or with which it failed."""
    bytes_before: int = 0
    """What the store held."""
    bytes_after: int = 0
    """What it holds then; of a dry run an estimate."""
    max_bytes: int | None = None

    @property
    def bytes(self) -> int:
        """Of the sessions, as their heads count them; in files they take somewhat more. Checkpoints are
        but names."""
        return sum(removal.bytes for removal in self.sessions)

    @property
    def bytes_compacted(self) -> int:
        """By how much sessions that stay become smaller."""
        return sum(compaction.bytes_saved for compaction in self.compactions)

    @property
    def does_nothing(self) -> bool:
        return not (self.sessions or self.checkpoints or self.compactions)

    @property
    def checkpoint_count(self) -> int:
        return sum(len(removal.checkpoint_ids) for removal in self.checkpoints)

    @property
    def bytes_over(self) -> int:
        """How much the store is over its quota afterwards: what is left has not ended."""
        return 0 if self.max_bytes is None else max(0, self.bytes_after - self.max_bytes)


class Retention:
    """Plans and carries out clean-ups of one store."""

    def __init__(self, log: EventLog, actor: str) -> None:
        self._log = log
        self._storage = log.storage
        self._actor = actor

    async def used(self) -> int:
        """Bytes that the store holds."""
        return (await self._storage.usage()).bytes

    async def plan(self, limits: Limits, sparing: Collection[str] = ()) -> CleanupReport:
        """What would go and why; changes nothing. ``sparing``: ids of sessions that are to stay.

        For a quota it may name a few more than will go: the store is asked again before each goes.
        """
        used = await self.used()
        plan = CleanupReport(dry_run=True, bytes_before=used, max_bytes=limits.max_bytes)
        now = limits.at or utc_now()
        over = 0 if limits.max_bytes is None else used - limits.max_bytes
        async for head in self._ended():
            if head.updated_at and head.updated_at > now:
                break
            why = _why(head, limits, now, over)
            compacts = limits.reach_into_history_of(head, now)
            if why is None and limits.checkpoint_age is None and not compacts:
                break  # the rest is younger still
            if head.session_id in sparing:
                continue
            if why:
                plan.sessions.append(_session_removal(head, why))
                over -= head.counts["stored_bytes"]
                continue
            doomed = await self._plan_checkpoints(plan, head, limits, now)
            if compacts and may_be_worth_it(head):
                found = await estimate(self._log, head, without=doomed)
                plan.compactions.extend([found] if found.is_worth_it else [])
        return replace(plan, bytes_after=max(0, used - plan.bytes - plan.bytes_compacted))

    async def _ended(self) -> AsyncIterator[Head]:
        """Those whose last event is oldest first."""
        query = HeadQuery(statuses=ENDED, sort="updated_at", limit=PAGE)
        while heads := await self._storage.heads(query):
            for head in heads:
                yield head
            query = replace(query, after=query.cursor(heads[-1]))

    async def _plan_checkpoints(
        self, plan: CleanupReport, head: Head, limits: Limits, now: datetime
    ) -> Collection[str]:
        """The ids of those that are to go."""
        if limits.checkpoint_age is None or not head.counts["checkpoints"]:
            return ()
        before = now - limits.checkpoint_age
        if head.created_at is None or head.created_at >= before:
            return ()
        ids = tuple(
            checkpoint.id
            for checkpoint in await self._storage.checkpoints(head.session_id)
            if checkpoint.kind in MADE_BY_THEMSELVES
            and not checkpoint.pinned
            and checkpoint.created_at < before
        )
        if ids:
            removal = CheckpointRemoval(head.session_id, ids, head.last_seq, head.updated_at)
            plan.checkpoints.append(removal)
        return ids

    async def carry_out(
        self,
        plan: CleanupReport,
        progress: Progress | None = None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> CleanupReport:
        """Do what was planned, a batch at a time; returns what was done.

        What changed since it was planned is left as it is. Raises StorageUnavailable.
        """
        done = replace(plan, dry_run=False, sessions=[], checkpoints=[], compactions=[], skipped=[])
        removals: list[Removal] = [*plan.sessions, *plan.checkpoints, *plan.compactions]
        for start in range(0, len(removals), BATCH):
            if should_stop():
                break
            await self._carry_out_batch(removals[start : start + BATCH], done)
            if progress:
                progress(min(start + BATCH, len(removals)), len(removals))
            await asyncio.sleep(0)
        await self._storage.tidy()
        return replace(done, bytes_after=await self.used())

    async def _carry_out_batch(self, batch: list[Removal], done: CleanupReport) -> None:
        for removal in batch:
            if isinstance(removal, Compaction):
                await self._succeeds(removal.session_id, self._compact(removal, done), done)
            elif isinstance(removal, CheckpointRemoval):
                if await self._succeeds(removal.session_id, self._remove_checkpoints(removal), done):
                    done.checkpoints.append(removal)
            elif await self._is_needed(removal, done.max_bytes) and await self._succeeds(
                removal.session_id, self._remove_session(removal), done
            ):
                done.sessions.append(removal)

    async def _compact(self, planned: Compaction, done: CleanupReport) -> None:
        head = await self._storage.head(planned.session_id)
        if head.status not in ENDED:
            raise TransitionError(head.session_id, head.status, "compact", "It has been taken up again.")
        found = await compact_session(self._log, planned.session_id, actor=self._actor)
        done.compactions.extend([found] if found.events else [])

    async def _is_needed(self, removal: SessionRemoval, max_bytes: int | None) -> bool:
        """For a quota: still? Somebody else may have made room meanwhile."""
        return removal.why != "quota" or max_bytes is None or await self.used() > max_bytes

    async def _succeeds(self, session_id: str, removing: Awaitable[None], done: CleanupReport) -> bool:
        """One session that cannot be removed does not hold up the others."""
        try:
            await removing
        except StorageUnavailable:
            raise
        except (NotFound, LeaseHeld, ConflictError, TransitionError) as error:
            logger.info("Clean-up leaves session %s: %s", session_id, error)
        except StateError as error:
            logger.warning("Clean-up could not do with session %s what was planned: %s", session_id, error)
        else:
            return True
        done.skipped.append(session_id)
        return False

    async def _remove_session(self, removal: SessionRemoval) -> None:
        head = await self._storage.head(removal.session_id)
        if head.last_seq != removal.last_seq:
            raise ConflictError(removal.session_id, removal.last_seq, head.last_seq)
        await self._storage.delete(removal.session_id)

    async def _remove_checkpoints(self, removal: CheckpointRemoval) -> None:
        """The session does not become younger by it: its head keeps the moment of its last event."""
        ids = list(removal.checkpoint_ids)
        event = Event(kind=EventKind.CHECKPOINT_DELETED, actor=self._actor, data={"ids": ids})
        await self._log.append(
            removal.session_id,
            [event],
            expected_seq=removal.last_seq,
            statuses=ENDED,
            head={"updated_at": removal.updated_at},
        )


Removal = SessionRemoval | CheckpointRemoval | Compaction


def _why(head: Head, limits: Limits, now: datetime, over: int) -> str | None:
    is_old = limits.session_age and head.updated_at and now - head.updated_at > limits.session_age
    if is_old:
        return "age"
    return "quota" if over > 0 else None


def _session_removal(head: Head, why: str) -> SessionRemoval:
    size = head.counts["stored_bytes"]
    return SessionRemoval(head.session_id, why, head.status, head.last_seq, head.updated_at, size)
