"""The terms of the contract: what a store is given and asked, and what it answers with."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from state_core.events import EventRecord, Header
from state_core.exceptions import InvalidValue
from state_core.facts import fact
from state_core.heads import CheckpointChange, HeadChange, agent_name
from state_core.records import Head, SessionStatus, utc_now

SORTS = (
    *("updated_at", "created_at", "started_at", "session_id", "status", "steps", "state_bytes"),
    "duration",
)
MICROSECOND = timedelta(microseconds=1)


ACTIVE = frozenset(
    {
        SessionStatus.PENDING,
        SessionStatus.RUNNING,
        SessionStatus.PAUSING,
        SessionStatus.WAITING,
        SessionStatus.RESUMING,
        SessionStatus.CANCELLING,
    }
)
"""Statuses that `StorageMetrics.active_sessions` counts."""


@fact()
class Guard:
    """Conditions that an append is compared with, in the same transaction, script or lock as it."""

    creates: bool = False
    """The session must not exist yet."""
    expected_seq: int | None = None
    """The session's last seq must be this."""
    fence: int | None = None
    """The session's lease must have this fence and not have run out, by the store's clock."""
    statuses: frozenset[str] | None = None
    """The session's status must be one of these."""


@fact(kw_only=True)
class AppendRequest:
    """One session's append, as `StorageBackend.append` takes it."""

    session_id: str
    events: Sequence[EventRecord]
    expected_seq: int | None = None
    fence: int | None = None
    statuses: Collection[str] | None = None
    head: Mapping[str, Any] | None = None

    @property
    def bytes(self) -> int:
        """Of bodies."""
        return sum(len(event.body) for event in self.events)


@fact(slots=False)
class Append:
    """What a store writes for one append, with what follows from its events."""

    session_id: str
    events: Sequence[EventRecord]
    guard: Guard
    change: HeadChange
    checkpoints: CheckpointChange


Outcome = int | Exception
"""Of one append among several: the seq of its last event, or what it would have raised."""


@dataclass(frozen=True, slots=True)
class EventQuery:
    """Which events of a session; see `StorageBackend.read_events`."""

    after: int = 0
    before: int | None = None
    limit: int | None = None
    kinds: frozenset[str] | None = None
    branch_id: str | None = None
    bodies: bool = True
    newest_first: bool = False

    def takes(self, event: Header) -> bool:
        """Do its kind and its branch fit? For stores that cannot ask that of something else."""
        kind_fits = self.kinds is None or event.kind in self.kinds
        return kind_fits and self.branch_id in (None, event.branch_id)


@dataclass(frozen=True, slots=True)
class HeadQuery:
    """Which heads, in which order, from where."""

    statuses: Collection[str] = ()
    text: str = ""
    """Part of a session id, title or workflow; case does not matter."""
    tag: str = ""
    agent: str = ""
    """Name of an agent that has worked in it, or is at work; `Head.worked` says how many are known."""
    since: datetime | None = None
    """Updated at or after."""
    until: datetime | None = None
    """Updated before."""
    questions: bool = False
    """Only sessions with an open question."""
    lease_expired: bool = False
    """Only sessions that an owner holds whose lease has run out, by the store's clock."""
    origin: str = ""
    """Only forks of the session that has this id."""
    owner: str = ""
    """Part of the name of who holds it, or held it last; case matters."""
    error: str = ""
    """Part of its error; case matters."""
    min_duration: float | None = None
    """Seconds: it has lasted at least so long, from its start to its end, or until now."""
    max_duration: float | None = None
    """Seconds: it has lasted at most so long."""
    sort: str = "-updated_at"
    """One of SORTS, with ``-`` in front for descending; ties are broken by session id, ascending."""
    after: tuple[Any, str] | None = None
    """Keyset: (sort value, session id) of the last head of the page before; see `cursor`."""
    limit: int = 50
    as_of: datetime | None = None
    """For a sort by duration: until when those have lasted that have not ended. Where none is given, until
    this query was made; `replace` keeps that for the pages behind."""

    def __post_init__(self) -> None:
        if self.sort.removeprefix("-") not in SORTS:
            raise InvalidValue(f"Cannot sort sessions by {self.sort!r}. Choose one of {', '.join(SORTS)}.")
        if self.sort_field == "duration" and self.as_of is None:
            object.__setattr__(self, "as_of", utc_now())

    @property
    def worked(self) -> str:
        """The agent's name, as a head has it."""
        return agent_name(self.agent)

    @property
    def until_when(self) -> datetime:
        return self.as_of or utc_now()

    @property
    def sort_field(self) -> str:
        return self.sort.removeprefix("-")

    @property
    def descending(self) -> bool:
        return self.sort.startswith("-")

    def cursor(self, head: Head) -> tuple[Any, str]:
        """What to pass as ``after`` to get the heads behind this one."""
        return self.sort_value(head), head.session_id

    def sort_value(self, head: Head) -> Any:
        """A duration in microseconds; None of what has not started."""
        if self.sort_field == "duration":
            end = head.ended_at or self.until_when
            return (end - head.started_at) // MICROSECOND if head.started_at else None
        if self.sort_field in head.counts:
            return head.counts[self.sort_field]
        return getattr(head, self.sort_field)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A folded state, kept to shorten reading; never needed for truth."""

    seq: int
    body: bytes
    encoding: str


@dataclass(frozen=True, slots=True)
class Usage:
    """What a store holds. Bytes are those of logs and snapshots, without the store's own overhead."""

    sessions: int = 0
    events: int = 0
    checkpoints: int = 0
    bytes: int = 0
    by_status: Mapping[str, int] = field(default_factory=dict)
