"""Between records and rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import orjson

from state_core.events import EventRecord
from state_core.exceptions import DamagedError, InvalidValue
from state_core.records import CHECKPOINT_KINDS, COUNTS, HELD, Checkpoint, Head, SessionStatus
from state_core.storage.places import body_at

HEAD_FIELDS = (
    "session_id",
    "status",
    "first_seq",
    "last_seq",
    "last_kind",
    "title",
    "workflow",
    "tags",
    "agents",
    "worked",
    "refuses",
    "reason",
    "error",
    "origin",
    "created_at",
    "started_at",
    "ended_at",
    "updated_at",
    "owner",
    "fence",
    "lease_expires_at",
)
HEAD_COLUMNS = (*HEAD_FIELDS, *COUNTS)

HEADER_COLUMNS = (
    "kind",
    "seq",
    "at",
    "actor",
    "branch_id",
    "step_id",
    "agent",
    "status",
    "duration",
    "size",
    "data",
    "encoding",
)
EVENT_COLUMNS = (*HEADER_COLUMNS, "body")

CHECKPOINT_COLUMNS = (
    "id",
    "session__session_id",
    "name",
    "seq",
    "created_at",
    "size_bytes",
    "kind",
    "actor",
    "reason",
    "pinned",
    "counts",
)

RESTING = {"steps": "resting_steps", "state_bytes": "resting_state_bytes"}
"""Count → the column that has it while no orchestrator holds the session, and NULL while one does. Written by
appends: PostgreSQL would read the expression of a generated column anew for each, a tenth of its time."""

MOMENT_LETTERS = len("2024-01-01 00:00:00.000000")

_SETTABLE = frozenset(HEAD_COLUMNS) - {"session_id", "last_seq"}


def to_head(row: Sequence[Any]) -> Head:
    values = dict(zip(HEAD_FIELDS, row, strict=False))
    values["status"] = SessionStatus(values["status"])
    return Head(**values, counts=dict(zip(COUNTS, row[len(HEAD_FIELDS) :], strict=True)))


def to_record(session_id: str, row: Sequence[Any]) -> EventRecord:
    """From a row as `fetching.fetched` gives it, once for each event of a log: `EVENT_COLUMNS` in order; the
    body may be left away.

    Raises DamagedError."""
    kind, seq, at, actor, branch_id, step_id, agent, status, duration, size, data, encoding, *body = row
    if at is None:
        raise DamagedError(session_id, f"event {seq}", "its time cannot be read")
    try:
        moment, header = _moment(at), orjson.loads(data)
    except ValueError as error:
        raise DamagedError(session_id, f"event {seq}", f"it cannot be read: {error}") from error
    return EventRecord(
        kind=kind,
        seq=seq,
        at=moment,
        actor=actor,
        branch_id=branch_id,
        step_id=step_id,
        agent=agent,
        status=status,
        duration=duration,
        size=size,
        data=header,
        body=body_at(session_id, seq, bytes(body[0])) if body else b"",
        encoding=encoding,
    )


def to_checkpoint(row: Sequence[Any]) -> Checkpoint:
    """From such a row. `CHECKPOINT_COLUMNS` are its fields in order. Raises ValueError, KeyError."""
    checkpoint_id, session_id, name, seq, at, size, kind, actor, reason, pinned, counts = row
    return Checkpoint(
        checkpoint_id,
        session_id,
        name,
        seq,
        _moment(at),
        size,
        CHECKPOINT_KINDS[kind],
        actor,
        reason,
        bool(pinned),
        orjson.loads(counts),
    )


def _moment(value: datetime | str) -> datetime:
    if not isinstance(value, str):
        return value.astimezone(UTC)
    if len(value) > MOMENT_LETTERS:
        raise ValueError(f"{value[:60]!r} is no moment in UTC")
    return datetime.fromisoformat(value).replace(tzinfo=UTC)


@contextmanager
def readable(session_id: str, what: str) -> Iterator[None]:
    """What a row cannot be made of: its JSON, its times, its kind. Raises DamagedError."""
    try:
        yield
    except DamagedError:
        raise
    except (ValueError, KeyError) as error:
        raise DamagedError(session_id, what, f"it cannot be read: {error}") from error


def checked(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Raises InvalidValue for what is not a field of a head."""
    unknown = values.keys() - _SETTABLE
    if unknown:
        raise InvalidValue(f"A head has no {', '.join(map(repr, sorted(unknown)))}.")
    return values


def resting(counts: Mapping[str, Any], status: str) -> dict[str, Any]:
    """The columns of `RESTING` in this status, as far as these counts tell."""
    if status in HELD:
        return dict.fromkeys(RESTING.values())
    return {column: counts[count] for count, column in RESTING.items() if count in counts}


def minute_of(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(second=0, microsecond=0)


def search_text(session_id: str, title: str, workflow: str) -> str:
    """In lower case by Python's rules, since databases know only some of them."""
    return "\x1f".join((session_id, title, workflow)).lower()
