"""Between records and rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from state_core.events import EventRecord
from state_core.exceptions import InvalidValue
from state_core.records import COUNTS, Checkpoint, CheckpointKind, Head, SessionStatus

HEAD_FIELDS = (
    "session_id",
    "status",
    "last_seq",
    "last_kind",
    "title",
    "workflow",
    "tags",
    "agents",
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

_SETTABLE = frozenset(HEAD_COLUMNS) - {"session_id", "last_seq"}


def to_head(row: Sequence[Any]) -> Head:
    values = dict(zip(HEAD_FIELDS, row, strict=False))
    values["status"] = SessionStatus(values["status"])
    return Head(**values, counts=dict(zip(COUNTS, row[len(HEAD_FIELDS) :], strict=True)))


def to_record(row: Sequence[Any]) -> EventRecord:
    values = dict(zip(EVENT_COLUMNS, row, strict=False))
    return EventRecord(**{**values, "body": bytes(values.get("body", b""))})


def to_checkpoint(row: Sequence[Any]) -> Checkpoint:
    values = dict(zip(CHECKPOINT_COLUMNS, row, strict=True))
    session_id, kind = values.pop("session__session_id"), CheckpointKind(values.pop("kind"))
    return Checkpoint(**values, session_id=session_id, kind=kind)


def checked(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Raises InvalidValue for what is not a field of a head."""
    unknown = values.keys() - _SETTABLE
    if unknown:
        raise InvalidValue(f"A head has no {', '.join(map(repr, sorted(unknown)))}.")
    return values


def search_text(session_id: str, title: str, workflow: str) -> str:
    """In lower case by Python's rules, since databases know only some of them."""
    return "\x1f".join((session_id, title, workflow)).lower()
