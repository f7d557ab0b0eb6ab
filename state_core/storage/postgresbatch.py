"""Appends of several sessions to PostgreSQL: one statement, one round trip, one commit.

What is written goes as JSON, so that its cost is the server's and hardly grows here; bodies go as they are,
one behind the other. Only heads that are free and whose guards hold are changed, and rows are inserted for
those alone: a session whose head somebody else has locked is left out rather than waited for.
"""

# ruff: noqa: S608 - the text is made of our own tables' and columns' names; values are parameters

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

import orjson
import psycopg
from django.db import IntegrityError

from state_core.fields import ARRAY_OF_NAMES, to_json
from state_core.heads import MOST_WORKED
from state_core.names import names_json, quoted
from state_core.records import COUNTS, HELD
from state_core.storage.appending import RowAppend
from state_core.storage.places import MARK_NUMBER
from state_core.storage.rows import RESTING

_SETS = {
    **dict.fromkeys(("status", "last_kind", "tags", "agents", "refuses", "reason", "error"), "text"),
    **dict.fromkeys(("started_at", "ended_at", "updated_at", "updated_minute"), "timestamptz"),
}
"""Fields of a head that a batch may set, though never to NULL."""
EVENT_TYPES = {
    "kind": "text",
    "at": "timestamptz",
    "actor": "text",
    "branch_id": "text",
    "step_id": "text",
    "agent": "text",
    "status": "text",
    "duration": "float8",
    "size": "int8",
    "data": "text",
    "encoding": "text",
}
CHECKPOINT_TYPES = {
    "id": "text",
    "name": "text",
    "kind": "text",
    "created_at": "timestamptz",
    "size_bytes": "int8",
    "actor": "text",
    "reason": "text",
    "pinned": "bool",
    "counts": "text",
}


def append_many(connection: Any, tables: Any, writes: Sequence[RowAppend]) -> list[int | None]:
    """None for those that need more than this, or were refused, or whose head is locked."""
    fitting = [write for write in writes if _fits(write)]
    if not fitting:
        return [None] * len(writes)
    text = _statement(*(model._meta.db_table for model in (tables.session, tables.event, tables.checkpoint)))
    try:
        parameters = _parameters(fitting)
        with connection.wrap_database_errors, psycopg.Cursor(connection.connection) as cursor:
            found: dict[str, int] = dict(cursor.execute(text, parameters).fetchall())
    except (IntegrityError, TypeError):
        # A checkpoint's id that is taken, or text that is none: nothing was written.
        found = {}
    return [found.get(write.session_id) for write in writes]


def _fits(write: RowAppend) -> bool:
    values = [value for name, value in write.set.items() if name not in RESTING.values()]
    known = write.set.keys() <= _SETS.keys() | RESTING.values()
    return write.is_usual and not write.guard.creates and known and None not in values


def _parameters(writes: Sequence[RowAppend]) -> tuple[str, bytes, str, str]:
    bodies: list[bytes] = []
    events = list(_events(writes, bodies))
    places = [place for write in writes for place in _places(write)]
    return _json(map(_head, writes)), b"".join(bodies), _json(events), _json(places)


def _json(rows: Any) -> str:
    return orjson.dumps(list(rows)).decode()


def _head(write: RowAppend) -> Mapping[str, Any]:
    guard = write.guard
    return {
        "session": write.session_id,
        "events": len(write.events),
        "expected": guard.expected_seq,
        "held_fence": guard.fence,
        "statuses": None if guard.statuses is None else sorted(guard.statuses),
        **{name: _plain(value) for name, value in write.set.items() if name in _SETS},
        **write.change.add,
        "joins": quoted(write.change.worked) or None,
    }


def _plain(value: Any) -> Any:
    return (
        names_json(value) if isinstance(value, list) else value if isinstance(value, datetime) else str(value)
    )


def _events(writes: Sequence[RowAppend], bodies: list[bytes]) -> Iterator[Mapping[str, Any]]:
    start = 1
    for write in writes:
        for number, event in enumerate(write.events, start=1):
            values = {name: getattr(event, name) for name in EVENT_TYPES}
            values["data"] = to_json(event.data)
            yield {
                **values,
                "session": write.session_id,
                "number": number,
                "start": start,
                "length": len(event.body),
            }
            bodies.append(event.body)
            start += len(event.body)


def _places(write: RowAppend) -> Iterator[Mapping[str, Any]]:
    for index, checkpoint in write.checkpoints.added:
        values = {name: getattr(checkpoint, name) for name in CHECKPOINT_TYPES}
        values["counts"] = to_json(checkpoint.counts)
        yield {**values, "session": write.session_id, "number": index + 1}


def joining(column: str, names: str) -> str:
    """What a NamesField holds once ``names`` have joined it, as `heads.joined` says. Where none is new, the
    same as before, so that no index moves."""
    array = ARRAY_OF_NAMES % column
    return f"""CASE WHEN {array} @> {names} THEN {column} ELSE (
  SELECT '["' || string_agg(name, '","' ORDER BY place) || '"]' FROM (
    SELECT name, min(place) FROM unnest({array} || {names}) WITH ORDINALITY AS every(name, place)
    GROUP BY name ORDER BY 2 LIMIT {MOST_WORKED}) AS kept(name, place)) END"""


def _resting(count: str) -> str:
    held = ", ".join(f"'{status}'" for status in sorted(HELD))
    return (
        f"CASE WHEN coalesce(given.status, h.status) NOT IN ({held}) "
        f'THEN h."{count}" + coalesce(given."{count}", 0) END'
    )


def _columns(types: Mapping[str, str]) -> str:
    return ", ".join(f'"{name}" {kind}' for name, kind in types.items())


@lru_cache(maxsize=64)
def _statement(heads: str, events: str, checkpoints: str) -> str:
    given = {
        "session": "text",
        "events": "int8",
        "expected": "int8",
        "held_fence": "int8",
        "statuses": "text[]",
        "joins": "text[]",
        **_SETS,
        **dict.fromkeys(COUNTS, "int8"),
    }
    sets = [f'"{name}" = coalesce(given."{name}", h."{name}")' for name in _SETS]
    sets += [f'"{name}" = h."{name}" + coalesce(given."{name}", 0)' for name in COUNTS]
    sets.append(
        f"worked = CASE WHEN given.joins IS NULL THEN h.worked ELSE {joining('h.worked', 'given.joins')} END"
    )
    sets += [f'"{column}" = {_resting(count)}' for count, column in RESTING.items()]
    event, place = (", ".join(f'"{name}"' for name in types) for types in (EVENT_TYPES, CHECKPOINT_TYPES))
    of_event, of_place = (
        ", ".join(f'e."{name}"' for name in types) for types in (EVENT_TYPES, CHECKPOINT_TYPES)
    )
    numbered = {"session": "text", "number": "int8"}
    cut = {"start": "int", "length": "int"}
    seq = "head.last_seq - head.events + e.number"
    return f"""
WITH given AS MATERIALIZED (SELECT * FROM json_to_recordset(%s::json) AS g({_columns(given)})),
free AS MATERIALIZED (
  SELECT h.id FROM given JOIN "{heads}" h ON h.session_id = given.session
  WHERE (given.expected IS NULL OR h.last_seq = given.expected)
  AND (given.held_fence IS NULL OR h.fence = given.held_fence AND h.lease_expires_at > clock_timestamp())
  AND (given.statuses IS NULL OR h.status = ANY(given.statuses))
  FOR UPDATE OF h SKIP LOCKED),
head AS (
  UPDATE "{heads}" h SET last_seq = h.last_seq + given.events, {", ".join(sets)}
  FROM given, free WHERE h.id = free.id AND h.session_id = given.session
  RETURNING h.id, h.session_id, h.last_seq, given.events),
event AS (
  INSERT INTO "{events}" (session_id, seq, body, {event})
  SELECT head.id, {seq},
  int8send({MARK_NUMBER} + {seq}) || substring(%s::bytea FROM e.start FOR e.length), {of_event}
  FROM json_to_recordset(%s::json) AS e({_columns({**numbered, **cut, **EVENT_TYPES})})
  JOIN head ON head.session_id = e.session ORDER BY head.id, e.number),
place AS (
  INSERT INTO "{checkpoints}" (session_id, seq, {place}) SELECT head.id, {seq}, {of_place}
  FROM json_to_recordset(%s::json) AS e({_columns({**numbered, **CHECKPOINT_TYPES})})
  JOIN head ON head.session_id = e.session)
SELECT session_id, last_seq FROM head"""
