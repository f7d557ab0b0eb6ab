"""Writing under a lease: group commit, folding what others append, living through an outage."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from state_core.config import StateManagerConfig
from state_core.events import Changes, Event, EventKind, EventRecord
from state_core.exceptions import ConflictError, LeaseError, LeaseHeld, LeaseLost, StorageUnavailable
from state_core.fold import apply_event, empty_document
from state_core.log import EventLog, Range
from state_core.records import HELD, Document, Lease
from state_core.snapshots import Unsnapshotted
from state_core.storage.base import AppendRequest, StorageBackend

logger = logging.getLogger(__name__)


CONTENT = frozenset({"context", "metadata", "intermediate_results"})
"""Parts of the document that a program may change outside of steps and branches."""
NONE = 0
"""No fence: the lease is not held. Those of stores begin with 1."""
LETTING_GO = 1.0
"""Seconds for which a lease on a session that nobody runs is waited for."""


async def acquire_when_let_go(storage: StorageBackend, session_id: str, owner: str, ttl: float) -> Lease:
    """Take a lease; where the session is not run any more, its holder is about to let go: wait for that.

    Raises LeaseHeld, SessionNotFound.
    """
    until = time.monotonic() + LETTING_GO
    while True:
        try:
            return await storage.acquire(session_id, owner, ttl)
        except LeaseHeld:
            if time.monotonic() > until or (await storage.head(session_id)).status in HELD:
                raise
        await asyncio.sleep(0.02)


@dataclass(slots=True)
class _Waiting:
    events: tuple[Event, ...]
    records: list[EventRecord]
    expected_seq: int | None
    done: asyncio.Future[int]

    @property
    def bytes(self) -> int:
        return sum(len(record.body) for record in self.records)


class Writer:
    """Holds a session's lease and its folded state.

    Appends that arrive while one is under way go together in the next, each caller waiting for its own
    durability. ``on_foreign`` is told of each event that somebody else appended, after it was folded.
    """

    def __init__(
        self,
        log: EventLog,
        session_id: str,
        owner: str,
        config: StateManagerConfig,
        on_foreign: Callable[[Event], None],
    ) -> None:
        self.log = log
        self.session_id = session_id
        self.owner = owner
        self.document: Document = empty_document(session_id)
        self.lost: LeaseLost | None = None
        self.at_work: dict[str, str] = {}
        """Step id → agent, of the steps under way; its agents stand in the session's head."""
        self._config = config
        self._on_foreign = on_foreign
        self.content_seq = 0
        """Of the last event that changed something in `CONTENT`, or after which the state was read anew."""
        self._fence = NONE
        self._pending: list[_Waiting] = []
        self._write_task: asyncio.Task[None] | None = None
        self._writing = asyncio.Lock()
        self._unsnapshotted = Unsnapshotted()

    @property
    def seq(self) -> int:
        seq: int = self.document["seq"]
        return seq

    async def acquire(self) -> Lease:
        ttl = self._config.lease_ttl
        lease = await acquire_when_let_go(self.log.storage, self.session_id, self.owner, ttl)
        self._fence = lease.fence
        return lease

    async def release(self) -> None:
        """Give the lease back, for good or until `take_again`: what is appended then raises LeaseLost."""
        async with self._writing:
            fence, self._fence = self._fence, NONE
            await self.log.storage.release(self.session_id, fence)

    async def settled(self) -> None:
        """Until nothing is being written: what is composed then knows of all that was recorded."""
        while self._write_task:
            await asyncio.wait([self._write_task])

    async def load(self, seq: int | None = None) -> None:
        self.document = await self.log.document(self.session_id, seq)
        self.content_seq = self.seq

    async def append(self, *events: Event, expected_seq: int | None = None) -> int:
        """Append durably under the lease; returns the seq of the last. Raises LeaseLost, InvalidValue,
        and ConflictError where the log has moved on from ``expected_seq``."""
        if self.lost:
            raise self.lost
        waiting = _Waiting(
            events,
            [self.log.codec.seal(self.session_id, event) for event in events],
            expected_seq,
            asyncio.get_running_loop().create_future(),
        )
        self._pending.append(waiting)
        # In a task of its own: a caller that is cancelled must not leave the others' outcome unknown.
        if self._write_task is None:
            self._write_task = asyncio.create_task(self._write_pending())
        return await waiting.done

    async def _write_pending(self) -> None:
        try:
            while self._pending:
                async with self._writing:
                    await self._write_or_tell(self._next_batch())
                if not self._pending:
                    await asyncio.sleep(0)  # Who was just told and goes on at once needs no further task.
        finally:
            self._write_task = None

    async def _write_or_tell(self, batch: list[_Waiting]) -> None:
        try:
            await self._write(batch)
        except Exception as error:  # noqa: BLE001 - handed to every caller whose events were in it
            for waiting in batch:
                if not waiting.done.done():
                    waiting.done.set_exception(error)

    def _next_batch(self) -> list[_Waiting]:
        if len(self._pending) == 1:
            batch, self._pending = self._pending, []
            return batch
        size, count = 0, 0
        for waiting in self._pending:
            size += waiting.bytes
            if count and (size > self.log.storage.max_append_bytes or waiting.expected_seq is not None):
                break
            count += 1
        batch, self._pending = self._pending[:count], self._pending[count:]
        return batch

    async def _write(self, batch: list[_Waiting]) -> None:
        last = await self._append_through_outages(batch)
        seq = last - sum(len(waiting.events) for waiting in batch)
        if seq > self.seq:
            async for attempt in self._attempts():
                with attempt:
                    await self._fold_foreign(seq)
        for waiting in batch:
            for event in waiting.events:
                seq += 1
                self._fold(event, seq)
            if not waiting.done.done():
                waiting.done.set_result(seq)
        self._snapshot_if_due()

    async def _append_through_outages(self, batch: list[_Waiting]) -> int:
        try:
            return await self._append_once(batch)
        except ConflictError:
            if batch[0].expected_seq is not None:
                raise
        except StorageUnavailable as error:
            logger.warning("Session %s: %s Trying again.", self.session_id, error)
        async for attempt in self._attempts():
            with attempt:
                return await self._append_again(batch)
        raise AssertionError("tenacity re-raises the last error")

    async def _append_again(self, batch: list[_Waiting]) -> int:
        """Behind what others appended meanwhile. What landed before the connection broke is recognised and
        not written twice."""
        while True:
            since = await self.log.read(self.session_id, after=self.seq)
            first = next((event.seq for event in since if _same(event, batch[0].events[0])), None)
            if first is not None:
                return first - 1 + sum(len(waiting.events) for waiting in batch)
            if batch[0].expected_seq is not None:
                return await self._append_once(batch)
            for event in since:
                await self._fold_foreign_event(event)
            with contextlib.suppress(ConflictError):
                return await self._append_once(batch)

    def _attempts(self) -> AsyncRetrying:
        return AsyncRetrying(
            retry=retry_if_exception_type(StorageUnavailable),
            wait=wait_random_exponential(multiplier=0.1, max=5),
            stop=stop_after_delay(self._config.outage_patience),
            reraise=True,
        )

    async def _append_once(self, batch: list[_Waiting]) -> int:
        """On a machine that stands still again and again, a lease that was taken again may have run out once
        more before the append arrives: as long as nobody else had it, it is ours."""
        until = time.monotonic() + self._config.outage_patience
        while True:
            try:
                return await self._store(batch)
            except LeaseLost as error:
                if time.monotonic() > until:
                    self.lose(error)
                    raise
                await self._reclaim()

    async def _store(self, batch: list[_Waiting]) -> int:
        """Behind what is folded here and nowhere else: a write that was given up for lost, and lands after
        it was repeated, would otherwise stand in the log twice."""
        expected_seq = batch[0].expected_seq
        return await self.log.commits.append(
            AppendRequest(
                session_id=self.session_id,
                events=[record for waiting in batch for record in waiting.records],
                expected_seq=self.seq if expected_seq is None else expected_seq,
                fence=self._fence,
                head={"agents": sorted(set(filter(None, self.at_work.values())))},
            )
        )

    async def _reclaim(self) -> None:
        """The lease ran out (an outage, a machine asleep). Nobody else had it since: it is ours again.
        Otherwise it is lost for good. One that was given back is not taken again."""
        old = self._fence
        if old == NONE:
            raise LeaseLost(self.session_id)
        try:
            lease = await self.log.storage.acquire(self.session_id, self.owner, self._config.lease_ttl)
            if lease.fence != old + 1:
                await self.log.storage.release(self.session_id, lease.fence)
                raise LeaseLost(self.session_id)
        except LeaseError as error:
            self.lose(error)
            raise LeaseLost(self.session_id) from error
        self._fence = lease.fence
        logger.warning("The lease on session %s had run out and was taken again.", self.session_id)

    async def append_restore(self, events: list[Event]) -> None:
        """Append a restore; the state held here is read anew, since it goes back."""
        records = [self.log.codec.seal(self.session_id, event) for event in events]
        async with self._writing:
            await self.log.storage.append(self.session_id, records, fence=self._fence, head={"agents": []})
            await self.load()

    def lose(self, error: LeaseError) -> None:
        if self.lost is None:
            self.lost = LeaseLost(self.session_id)
            self.lost.__cause__ = error

    async def renew(self) -> None:
        async with self._writing:
            if self._fence == NONE:
                return
            try:
                await self.log.storage.renew(self.session_id, self._fence, self._config.lease_ttl)
            except LeaseLost:
                await self._reclaim()

    async def renew_from_elsewhere(self) -> bool:
        """In another thread, without waiting for what is being written; False where it is not held."""
        fence = self._fence
        if fence == NONE:
            return False
        await self.log.storage.renew(self.session_id, fence, self._config.lease_ttl)
        return True

    async def take_again(self) -> None:
        """Acquire after a release. Raises LeaseHeld."""
        async with self._writing:
            await self.acquire()
        await self.catch_up()

    async def catch_up(self) -> None:
        """Fold what others appended."""
        async with self._writing:
            last = (await self.log.storage.last_seqs([self.session_id])).get(self.session_id, 0)
            await self._fold_foreign(last)

    async def _fold_foreign(self, upto: int) -> None:
        if upto <= self.seq:
            return
        async for event in self.log.iterate(self.session_id, Range(self.seq, upto)):
            await self._fold_foreign_event(event)

    async def _fold_foreign_event(self, event: Event) -> None:
        if event.kind == EventKind.SESSION_RESTORED:
            await self.load(event.seq)
        else:
            self._fold(event, event.seq)
        self._on_foreign(event)

    def _fold(self, event: Event, seq: int) -> None:
        apply_event(self.document, event, seq)
        if event.changes and _changes_content(event.changes):
            self.content_seq = seq
        self._unsnapshotted.add(event)

    def _snapshot_if_due(self) -> None:
        if self._unsnapshotted.is_worth_a_snapshot(self.document["state_bytes"]):
            self._unsnapshotted = Unsnapshotted()
            self.log.keep_snapshot(self.document)


def _changes_content(changes: Changes) -> bool:
    for change in changes:
        path = change[1]
        if not path or path[0] in CONTENT:
            return True
    return False


def _same(one: Event, other: Event) -> bool:
    """An event carries its moment to the microsecond and who wrote it: enough to know it again."""
    return (one.kind, one.at, one.actor, one.branch_id, one.step_id) == (
        other.kind,
        other.at,
        other.actor,
        other.branch_id,
        other.step_id,
    )
