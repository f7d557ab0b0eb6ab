"""The contract of a store: read it top to bottom and you can write one.

A store keeps, for each session, an append-only log of event records numbered 1, 2, 3 … without gaps,
a head, the checkpoints that the log names, snapshots, and one lease. It sees bytes and the name of
their encoding, never objects. Prove a store of your own with `state_core.testing`.

Every method may raise StorageUnavailable when the store cannot be reached.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, ClassVar

from state_core.events import CREATING, EventKind, EventRecord, Header
from state_core.exceptions import (
    ConflictError,
    EventGone,
    InvalidValue,
    LeaseLost,
    SessionExists,
    StateError,
    TooLarge,
    TransitionError,
)
from state_core.heads import CheckpointChange, HeadChange, checkpoint_change, head_change, is_compacted
from state_core.records import Checkpoint, Head, Lease, check_id
from state_core.storage.terms import (
    ACTIVE,
    SORTS,
    Append,
    AppendRequest,
    EventQuery,
    Guard,
    HeadQuery,
    Outcome,
    Snapshot,
    Usage,
)

__all__ = [
    "ACTIVE",
    "SORTS",
    "Append",
    "AppendRequest",
    "EventQuery",
    "Guard",
    "HeadQuery",
    "Outcome",
    "Snapshot",
    "Usage",
    "StorageBackend",
    "check_replaces",
    "counted_size",
    "derived",
    "refusal",
    "refuse_if_moved_on",
    "stored_size",
]
"""The terms are part of the contract, too."""


class StorageBackend(ABC):
    """Where sessions live. All methods are coroutines and may be called from several loops and threads."""

    supports_wakeups: ClassVar[bool] = False
    """Can it say by itself *that* something changed? Otherwise watchers ask `last_seqs`."""
    supports_other_processes: ClassVar[bool] = True
    """Do other processes see what this one writes?"""
    survives_restart: ClassVar[bool] = True
    """Is an acknowledged append still there after the process ends?"""
    supports_batches: ClassVar[bool] = False
    """Do appends to several sessions in one `append_many` cost less than one by one?"""
    max_append_bytes: ClassVar[int] = 64 * 1024 * 1024
    """Largest append, bodies together, in bytes; more raises TooLarge before it reaches the store."""
    rewrite_bytes: ClassVar[int] = 4_000_000
    """How much of a session whoever rewrites all of it does best to replace at once, bodies together."""

    async def append(
        self,
        session_id: str,
        events: Sequence[EventRecord],
        *,
        expected_seq: int | None = None,
        fence: int | None = None,
        statuses: Collection[str] | None = None,
        head: Mapping[str, Any] | None = None,
    ) -> int:
        """Append all of ``events`` or none, durably, and return the seq of the last.

        The only write of history. The first event of a session is ``session.created`` or
        ``session.forked`` and creates it. The head and the list of checkpoints follow from the events'
        headers, in the same commit; ``head`` adds fields that only the writer knows (``agents``).

        Raises SessionNotFound, SessionExists, ConflictError (``expected_seq``), LeaseLost (``fence``),
        TransitionError (``statuses``), TooLarge.
        """
        return await self.append_one(
            AppendRequest(
                session_id=session_id,
                events=events,
                expected_seq=expected_seq,
                fence=fence,
                statuses=statuses,
                head=head,
            )
        )

    async def append_one(self, request: AppendRequest) -> int:
        """As `append`."""
        write = self._composed(request)
        return await self._append(
            write.session_id, write.events, write.guard, write.change, write.checkpoints
        )

    async def append_many(
        self, requests: Sequence[AppendRequest], tell: Callable[[int, Outcome], None]
    ) -> None:
        """Append to several sessions, to none of them twice, in as few durable commits as the store can make
        of them. Each is all or nothing by itself: one that is refused, or that has to wait for something,
        makes no other fail or wait.

        Calls ``tell`` once for each, as soon as it is known, with its index in ``requests`` and the seq of
        its last event, or the error that `append` raises.
        """
        if len({request.session_id for request in requests}) < len(requests):
            raise InvalidValue("A session is named twice. Append to it once, or twice one after the other.")
        writes: dict[int, Append] = {}
        for index, request in enumerate(requests):
            try:
                writes[index] = self._composed(request)
            except StateError as error:
                tell(index, error)
        alone = []
        outcomes = await self._together(list(writes.values())) if writes else []
        for index, outcome in zip(writes, outcomes, strict=True):
            if outcome is None:
                alone.append(index)
            else:
                tell(index, outcome)

        async def by_itself(index: int) -> None:
            tell(index, await self._outcome(writes[index]))

        await asyncio.gather(*map(by_itself, alone))

    async def _together(self, writes: Sequence[Append]) -> list[Outcome | None]:
        try:
            return await self._append_many(writes)
        except InvalidValue:
            return [None] * len(writes)  # Nothing was written; by itself each finds whether it is the one.

    async def _append_many(self, writes: Sequence[Append]) -> list[Outcome | None]:
        """Write for several sessions in one commit; see ``supports_batches``. None for those that were not
        written and are to go by themselves: they may then wait for a lock, or find why they are refused.

        Raises InvalidValue where one of them cannot be stored, and nothing was written.
        """
        return [None] * len(writes)

    async def _outcome(self, write: Append) -> Outcome:
        try:
            return await self._append(
                write.session_id, write.events, write.guard, write.change, write.checkpoints
            )
        except Exception as error:  # noqa: BLE001 - handed to the caller whose append it was
            return error

    def _composed(self, request: AppendRequest) -> Append:
        """Raises InvalidId, InvalidValue, TooLarge."""
        session_id, events, statuses = check_id(request.session_id), request.events, request.statuses
        if not events:
            raise InvalidValue("An append needs at least one event.")
        self._refuse_too_large(session_id, events)
        guard = Guard(
            creates=events[0].kind in CREATING,
            expected_seq=request.expected_seq,
            fence=request.fence,
            statuses=None if statuses is None else frozenset(map(str, statuses)),
        )
        return Append(session_id, events, guard, *derived(session_id, events, request.head))

    async def rewrite(
        self, session_id: str, records: Sequence[EventRecord], *, first_seq: int | None = None
    ) -> None:
        """Put each of these in the place of the event of its ``seq``; with ``first_seq``, also remove every
        event and snapshot before it. Durably, all of it or nothing.

        For compaction and key rotation, which change how history is kept and never what it says. Numbers
        stay, ``stored_bytes`` and the head's ``first_seq`` follow, and nothing else of head and checkpoints
        changes; nobody is woken. Appends go on meanwhile. With ``first_seq``, the record of that seq is the
        ``session.compacted`` that the log then begins with.

        Raises SessionNotFound, TooLarge, and EventGone where an event is gone or another one (by `at`, or by
        ``kind`` save under a ``session.compacted``).
        """
        check_id(session_id)
        seqs = {record.seq for record in records}
        compacted = [record.seq for record in records if is_compacted(record)]
        if len(seqs) < len(records) or min(seqs, default=1) < (first_seq or 1):
            raise InvalidValue("What is rewritten needs the seq of its event, each once, from first_seq on.")
        if first_seq is not None and first_seq not in compacted:
            raise InvalidValue(f"A log that begins at {first_seq} needs a session.compacted there.")
        self._refuse_too_large(session_id, records)
        await self._rewrite(session_id, sorted(records, key=lambda record: record.seq), first_seq)

    def _refuse_too_large(self, session_id: str, events: Sequence[EventRecord]) -> None:
        size = sum(len(event.body) for event in events)
        if size > self.max_append_bytes:
            raise TooLarge(
                f"Session {session_id!r}: one append of {size / 1e6:.1f} MB is over this store's limit of "
                f"{self.max_append_bytes / 1e6:.1f} MB. Append in smaller parts."
            )

    async def read_events(
        self,
        session_id: str,
        *,
        after: int = 0,
        before: int | None = None,
        limit: int | None = None,
        kinds: Collection[str] | None = None,
        branch_id: str | None = None,
        bodies: bool = True,
        newest_first: bool = False,
    ) -> list[EventRecord]:
        """Events with ``after < seq < before``, ascending unless ``newest_first``.

        With ``bodies=False`` bodies are not read from the store and come as ``b""``.
        An unknown session has no events.
        """
        query = EventQuery(
            after=after,
            before=before,
            limit=limit,
            kinds=None if kinds is None else frozenset(map(str, kinds)),
            branch_id=branch_id,
            bodies=bodies,
            newest_first=newest_first,
        )
        return await self._read_events(check_id(session_id), query)

    async def news(self, session_id: str, *, after: int, limit: int) -> tuple[Head, list[EventRecord]]:
        """The head, and the headers of at most ``limit`` events behind ``after``, none beyond the head's
        last: what a watcher asks for at every hint. A store that can answers in one round trip.

        Raises SessionNotFound.
        """
        head = await self.head(session_id)
        if head.last_seq <= after:
            return head, []
        return head, await self.read_events(
            session_id, after=after, before=head.last_seq + 1, limit=limit, bodies=False
        )

    async def wakeups(self) -> AsyncIterator[str]:
        """Yield the id of a session each time one may have changed; ``""`` means any of them may have.

        A hint only: duplicates and early hints are allowed, silence is not. Only where
        ``supports_wakeups``.
        """
        raise NotImplementedError(f"{type(self).__name__} has no wake-ups; ask last_seqs() instead.")
        yield ""

    async def check(self) -> list[str]:
        """What is wrong or weak in this store's configuration, a sentence each; empty is well."""
        return []

    async def tidy(self) -> None:  # noqa: B027 - optional: most stores leave nothing behind
        """Give back the room of what was deleted, also of what a killed process left half deleted. Clean-ups
        call it when they are done."""

    async def close(self) -> None:  # noqa: B027 - optional: a store without connections has nothing to do
        """Give back connections and threads. The store opens again by itself when it is used."""

    # To be written by a store, all of it …

    @abstractmethod
    async def _append(
        self,
        session_id: str,
        events: Sequence[EventRecord],
        guard: Guard,
        change: HeadChange,
        checkpoints: CheckpointChange,
    ) -> int:
        """Compare the guard, number the events on, write them, the head and the checkpoints: one
        durable commit, all or nothing. `refusal` tells which error a failed guard is."""

    @abstractmethod
    async def _rewrite(self, session_id: str, records: Sequence[EventRecord], first_seq: int | None) -> None:
        """The work of `rewrite`: ``records`` by seq, ascending. `check_replaces` compares.
        What is replaced or removed must not be left lying in the store."""

    @abstractmethod
    async def _read_events(self, session_id: str, query: EventQuery) -> list[EventRecord]:
        """The events of `read_events`. The id is checked."""

    @abstractmethod
    async def head(self, session_id: str) -> Head:
        """Raises SessionNotFound."""

    @abstractmethod
    async def heads(self, query: HeadQuery) -> list[Head]:
        """At most ``query.limit`` heads, by index and never by reading logs."""

    @abstractmethod
    async def count_by_status(self, query: HeadQuery) -> dict[str, int]:
        """How many sessions match, per status; ``query.statuses``, ``after``, ``limit`` are ignored."""

    @abstractmethod
    async def last_seqs(self, session_ids: Iterable[str]) -> dict[str, int]:
        """The last seq of each of these; unknown ids are left out. The cheap question of the feed."""

    @abstractmethod
    async def checkpoints(self, session_id: str) -> list[Checkpoint]:
        """Of one session, oldest first. An unknown session has none."""

    @abstractmethod
    async def checkpoint(self, checkpoint_id: str) -> Checkpoint:
        """Raises CheckpointNotFound."""

    @abstractmethod
    async def put_snapshot(self, session_id: str, snapshot: Snapshot) -> None:
        """Keep it. Replaces one of the same seq. A session that is gone meanwhile is no error; one whose log
        begins after it keeps nothing."""

    @abstractmethod
    async def snapshot(self, session_id: str, *, at_or_before: int) -> Snapshot | None:
        """The newest kept with ``seq <= at_or_before``."""

    @abstractmethod
    async def acquire(self, session_id: str, owner: str, ttl: float) -> Lease:
        """Take the lease for ``ttl`` seconds when it is free, expired or this owner's own.

        Each acquisition has a higher fence than the one before. Raises LeaseHeld, SessionNotFound.
        """

    @abstractmethod
    async def renew(self, session_id: str, fence: int, ttl: float) -> Lease:
        """Let it last ``ttl`` seconds from now. Raises LeaseLost, also when it has run out already."""

    @abstractmethod
    async def release(self, session_id: str, fence: int) -> None:
        """Give it back. A lease that is lost already is no error."""

    @abstractmethod
    async def delete(self, session_id: str, *, expected_seq: int | None = None) -> None:
        """Remove everything of a session. Raises SessionNotFound, LeaseHeld while a lease lasts, and
        ConflictError where ``expected_seq`` is not its last event. `refuse_if_moved_on` compares."""

    @abstractmethod
    async def usage(self) -> Usage:
        """Computed from heads, without reading logs."""


def derived(
    session_id: str, events: Sequence[EventRecord], extra: Mapping[str, Any] | None = None
) -> tuple[HeadChange, CheckpointChange]:
    """What these events change in the head and in the list of checkpoints."""
    change = head_change(events, extra)
    change.count("stored_bytes", sum(map(stored_size, events)))
    return change, checkpoint_change(session_id, events)


def stored_size(record: EventRecord) -> int:
    """What an event is counted as in ``stored_bytes``: its body, its data, and 64 bytes for the rest."""
    return counted_size(record.data, len(record.body))


def counted_size(data: Mapping[str, Any], body_bytes: int) -> int:
    return body_bytes + sum(len(str(key)) + len(str(value)) for key, value in data.items()) + 64


def refuse_if_moved_on(session_id: str, expected_seq: int | None, last_seq: int) -> None:
    """Raises ConflictError."""
    if expected_seq not in (None, last_seq):
        raise ConflictError(session_id, expected_seq, last_seq)


def check_replaces(session_id: str, stored: Header | None, record: EventRecord) -> None:
    """May ``record`` stand in the place of what is stored? Raises EventGone."""
    same_kind = stored is not None and record.kind in (stored.kind, EventKind.SESSION_COMPACTED)
    if stored is None or stored.at != record.at or not same_kind:
        raise EventGone(session_id, record.seq)


def refusal(
    session_id: str, guard: Guard, *, last_seq: int, status: str, fence: int, lease_lasts: bool
) -> Exception | None:
    """Which error a guard raises against a session that exists, or None where it holds."""
    if guard.creates:
        return SessionExists(session_id)
    if guard.fence is not None and (guard.fence != fence or not lease_lasts):
        return LeaseLost(session_id)
    if guard.statuses is not None and status not in guard.statuses:
        allowed = ", ".join(sorted(guard.statuses))
        return TransitionError(session_id, status, "change", f"This is possible while it is {allowed}.")
    if guard.expected_seq is not None and guard.expected_seq != last_seq:
        return ConflictError(session_id, guard.expected_seq, last_seq)
    return None
