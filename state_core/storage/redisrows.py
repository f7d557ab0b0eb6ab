"""Between records and what Redis keeps: text, whole numbers and bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from state_core.codec import FORMAT
from state_core.events import EventRecord
from state_core.exceptions import DamagedError
from state_core.heads import CheckpointChange, HeadChange
from state_core.records import CHECKPOINT_KINDS, COUNTS, Checkpoint, Head, SessionStatus
from state_core.storage.base import Guard, HeadQuery
from state_core.storage.places import body_at
from state_core.storage.rows import checked

Argument = str | bytes | int
"""What a script takes. Lists are sent as their length and their items."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_TIMES = frozenset({"created_at", "started_at", "ended_at", "updated_at", "lease_expires_at"})
_LISTS = frozenset({"tags", "agents", "worked", "refuses"})
_NUMBERS = frozenset({"first_seq", "last_seq", "fence", *COUNTS})
_DEFAULTS = {"actor": "", "step_id": "", "agent": "", "status": "", "size": 0, "data": {}, "encoding": FORMAT}
"""What an event's header does not repeat. (A duration of None is left out, one of 0 is not.)"""
_HEAD_FIELDS = frozenset(one.name for one in fields(Head))
_LOWERED = {"title": "title_lower", "workflow": "workflow_lower"}
_STATUSES = tuple(sorted(map(str, SessionStatus)))


def write_time(value: datetime | None) -> str:
    """Microseconds since 1970; "" for None."""
    return "" if value is None else str((value - _EPOCH) // _MICROSECOND)


def read_time(value: bytes) -> datetime | None:
    return _EPOCH + int(value) * _MICROSECOND if value else None


def _write_field(name: str, value: Any) -> Argument:
    if name in _TIMES:
        return write_time(value)
    if name in _LISTS:
        return orjson.dumps(list(value))
    return int(value) if name in _NUMBERS else str(value)


def _read_field(name: str, value: bytes) -> Any:
    if name in _TIMES:
        return read_time(value)
    if name in _LISTS:
        return orjson.loads(value)
    return int(value) if name in _NUMBERS else read_text(value)


def read_text(value: bytes) -> str:
    return value.decode("utf-8", "surrogatepass")


def _pairs(values: Mapping[str, Argument]) -> list[Argument]:
    return [2 * len(values), *(part for pair in values.items() for part in pair)]


def _listed(values: Iterable[Argument]) -> list[Argument]:
    items = list(values)
    return [len(items), *items]


# Appending


def write_append(
    guard: Guard, change: HeadChange, events: Sequence[EventRecord], checkpoints: CheckpointChange
) -> list[Argument]:
    """Raises InvalidValue for what is not a field of a head."""
    return [
        *_write_guard(guard, change.first_seq),
        *_write_change(change),
        *_listed(map(as_json, change.worked)),
        len(events),
        *(part for event in events for part in _write_event(event)),
        *_write_checkpoints(checkpoints),
    ]


def _write_guard(guard: Guard, first_seq: int) -> list[Argument]:
    return [
        first_seq if guard.creates else "",
        "" if guard.expected_seq is None else guard.expected_seq,
        "" if guard.fence is None else guard.fence,
        int(guard.statuses is not None),
        *_listed(guard.statuses or ()),
    ]


def _write_change(change: HeadChange) -> list[Argument]:
    values = checked(change.set)
    written = {name: _write_field(name, value) for name, value in values.items()}
    # In lower case by Python's rules, since Lua knows only ASCII's.
    lowered = {lower: str(values[name]).lower() for name, lower in _LOWERED.items() if name in values}
    return [*_pairs({**written, **lowered}), *_pairs(checked(change.add))]


def _write_event(event: EventRecord) -> list[Argument]:
    return [str(event.kind), event.branch_id, _write_header(event), event.body]


def _write_header(event: EventRecord) -> bytes:
    header = {
        "at": _write_moment(event.at),
        "actor": event.actor,
        "step_id": event.step_id,
        "agent": event.agent,
        "status": str(event.status),
        "duration": event.duration,
        "size": event.size,
        "data": dict(event.data),
        "encoding": event.encoding,
    }
    kept = {name: value for name, value in header.items() if value != _DEFAULTS.get(name)}
    return orjson.dumps(kept, option=orjson.OPT_NON_STR_KEYS)


def write_rewritten(record: EventRecord) -> list[Argument]:
    return [record.seq, str(record.kind), _write_header(record), record.encoding, record.body]


def _write_checkpoints(change: CheckpointChange) -> list[Argument]:
    added = [part for index, checkpoint in change.added for part in (index, *_write_checkpoint(checkpoint))]
    pinned = {checkpoint_id: int(pinned) for checkpoint_id, pinned in change.pinned.items()}
    return [
        len(change.added),
        *added,
        *_pairs(change.renamed),
        *_pairs(pinned),
        *_listed(change.removed),
    ]


def _write_checkpoint(checkpoint: Checkpoint) -> tuple[Argument, Argument]:
    """Without keys, since there may be many. The script puts the seq in front."""
    content = [
        checkpoint.name,
        _write_moment(checkpoint.created_at),
        checkpoint.size_bytes,
        str(checkpoint.kind),
        checkpoint.actor,
        checkpoint.reason,
        checkpoint.pinned,
        checkpoint.counts,
    ]
    return checkpoint.id, orjson.dumps(content)


def _write_moment(at: datetime) -> int | str:
    """In UTC as microseconds since 1970; elsewhere as text, since a body is bound to the time zone too."""
    return (at - _EPOCH) // _MICROSECOND if at.tzinfo is UTC else at.isoformat()


def _read_moment(value: int | str) -> datetime:
    return datetime.fromisoformat(value) if isinstance(value, str) else _EPOCH + value * _MICROSECOND


# Reading


def read_event(
    session_id: str,
    place: bytes,
    kind: bytes,
    branch: bytes,
    header: bytes,
    stored: bytes,
    encoding: bytes,
) -> EventRecord:
    """``encoding``: where it was rewritten since. Raises DamagedError."""
    seq = int(place)
    body = body_at(session_id, seq, stored) if stored else b""
    try:
        values = {"encoding": FORMAT, **orjson.loads(header)}
        values["at"] = _read_moment(values["at"])
        values["encoding"] = encoding.decode() or values["encoding"]
        return EventRecord(kind=kind.decode(), seq=seq, branch_id=read_text(branch), body=body, **values)
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise DamagedError(session_id, f"event {seq}", "its header cannot be read") from error


def read_head(values: Iterable[tuple[bytes, bytes]]) -> Head:
    """From the fields and values of a hash."""
    head = Head("")
    for field, value in values:
        name = field.decode()
        if name in head.counts:
            head.counts[name] = int(value)
        elif name in _HEAD_FIELDS:
            setattr(head, name, _read_field(name, value))
    head.status = SessionStatus(head.status)
    return head


def read_checkpoint(
    checkpoint_id: str, session_id: str, content: bytes, name: bytes | None, pinned: bytes | None
) -> Checkpoint:
    """``name`` and ``pinned``: where they were changed since. Raises DamagedError."""
    try:
        return _checkpoint(checkpoint_id, session_id, content, name, pinned)
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise DamagedError(session_id, f"checkpoint {checkpoint_id}", "it cannot be read") from error


def _checkpoint(
    checkpoint_id: str, session_id: str, content: bytes, name: bytes | None, pinned: bytes | None
) -> Checkpoint:
    seq, _, values = content.partition(b" ")
    first_name, at, size, kind, actor, reason, first_pinned, counts = orjson.loads(values)
    return Checkpoint(
        id=checkpoint_id,
        session_id=session_id,
        name=first_name if name is None else read_text(name),
        seq=int(seq),
        created_at=_read_moment(at),
        size_bytes=size,
        kind=CHECKPOINT_KINDS[kind],
        actor=actor,
        reason=reason,
        pinned=first_pinned if pinned is None else pinned == b"1",
        counts=counts,
    )


def read_checkpoints(session_id: str, values: Mapping[bytes, bytes]) -> list[Checkpoint]:
    found = [
        read_checkpoint(
            key[2:].decode(),
            session_id,
            content,
            values.get(b"name:" + key[2:]),
            values.get(b"pinned:" + key[2:]),
        )
        for key, content in values.items()
        if key.startswith(b"c:")
    ]
    return sorted(found, key=lambda checkpoint: checkpoint.seq)


# Asking


def write_filter(query: HeadQuery) -> list[Argument]:
    return [
        write_time(query.since),
        write_time(query.until),
        query.text.lower(),
        query.tag,
        as_json(query.tag),
        query.worked,
        as_json(query.worked),
        int(query.questions),
        int(query.lease_expired),
        f"{query.origin}@" if query.origin else "",
        query.owner,
        query.error,
        _microseconds(query.min_duration),
        _microseconds(query.max_duration),
    ]


def reads_heads(query: HeadQuery) -> bool:
    """Does it ask for more than the indexes of statuses and times tell?"""
    return bool(
        query.text
        or query.tag
        or query.agent
        or query.questions
        or query.lease_expired
        or query.origin
        or query.owner
        or query.error
        or query.min_duration is not None
        or query.max_duration is not None
    )


def _microseconds(seconds: float | None) -> str:
    return "" if seconds is None else str(round(seconds * 1_000_000))


def as_json(text: str) -> bytes:
    return orjson.dumps(text.encode("utf-8", "replace").decode())


def asked_statuses(query: HeadQuery, among: Iterable[str] = _STATUSES) -> list[str]:
    """In the order that sorting by status gives."""
    asked = set(map(str, query.statuses)) or set(_STATUSES)
    return sorted(asked & set(map(str, among)))


def write_cursor(query: HeadQuery, statuses: Sequence[str]) -> list[Argument]:
    if query.after is None:
        return [0, "", ""]
    value, session_id = query.after
    return [1, _write_sort_value(query.sort_field, value, statuses), session_id]


def _write_sort_value(field: str, value: Any, statuses: Sequence[str]) -> Argument:
    if field == "session_id":
        return 0
    if field == "status":
        return _place(str(value), statuses)
    if value is None:
        return "-inf"
    return write_time(value) if field in _TIMES else int(value)


def _place(status: str, statuses: Sequence[str]) -> str:
    """Where it stands among them, counted from 1; between two of them where it is none of them."""
    before = sum(other < status for other in statuses)
    return str(before + 1 if status in statuses else before + 0.5)
