"""An append to PostgreSQL: one statement, one round trip, one commit.

The head is changed where the guard holds, and the rows are inserted from what that change returns. A guard
that fails changes no row, and so nothing is inserted.
"""

# ruff: noqa: S608 - the text is made of our own tables' and columns' names; values are parameters

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import psycopg
from django.db import IntegrityError
from psycopg.types.numeric import Float8, Int8

from state_core.exceptions import SessionExists
from state_core.fields import to_json
from state_core.names import names_json, needle, quoted
from state_core.records import Checkpoint
from state_core.storage.appending import RowAppend, append_by_orm, refuse, taken
from state_core.storage.loopconnections import LoopConnection
from state_core.storage.places import MARK_NUMBER
from state_core.storage.postgresbatch import CHECKPOINT_TYPES, EVENT_TYPES, append_many, joining

__all__ = ["append", "append_many", "append_on_loop", "tune"]

_EVENT_TYPES = {**EVENT_TYPES, "body": "bytea"}
_CHECKPOINT_COLUMNS = tuple(CHECKPOINT_TYPES)
_ATTEMPTS = 10
REFUSED = (psycopg.IntegrityError, psycopg.DataError, psycopg.ProgrammingError, psycopg.NotSupportedError)
"""By these the server, or psycopg before it asks it, says that a statement did nothing."""


def tune(connection: Any) -> None:
    """The pool's connections are its own: statements that come again are prepared."""
    connection.connection.prepare_threshold = 3


def append(connection: Any, tables: Any, write: RowAppend) -> int:
    if not write.is_usual:
        return append_by_orm(tables, connection.alias, write)
    for _ in range(_ATTEMPTS):
        last_seq = _attempt(connection, tables, write)
        if last_seq is not None:
            return last_seq
        if write.guard.creates:
            raise SessionExists(write.session_id)
        heads = tables.session.objects.using(connection.alias).filter(session_id=write.session_id)
        refuse(heads, write)
        # The guard held again when it was looked at: another write came between.
    return append_by_orm(tables, connection.alias, write)


def _attempt(connection: Any, tables: Any, write: RowAppend) -> int | None:
    """None where the guard does not hold."""
    if write.guard.creates:
        return _execute(connection, tables, write, *_inserted(tables, write))
    last_seq = _execute(connection, tables, write, *_updated(tables, write))
    if last_seq is not None or not write.change.worked:
        return last_seq
    return _execute(connection, tables, write, *_updated(tables, write, joins=True))


def _execute(connection: Any, tables: Any, write: RowAppend, head: str, values: Sequence[Any]) -> int | None:
    text, parameters = _asked(tables, write, head, values)
    try:
        with connection.wrap_database_errors, psycopg.Cursor(connection.connection) as cursor:
            row = cursor.execute(text, parameters).fetchone()
    except IntegrityError as error:
        if write.checkpoints.added:
            raise taken(write.checkpoints) from error
        raise
    return None if row is None else int(row[0])


async def append_on_loop(owned: LoopConnection, tables: Any, write: RowAppend) -> int | None:
    """None where nothing was written, and `append` does it, or finds out why not."""
    if write.guard.creates or not write.is_usual:
        return None
    text, parameters = _asked(tables, write, *_updated(tables, write))
    try:
        with owned.lent() as connection:
            cursor = await psycopg.AsyncCursor(connection).execute(text, parameters)
            row = await cursor.fetchone()
    except REFUSED:
        return None
    return None if row is None else int(row[0])


def _asked(tables: Any, write: RowAppend, head: str, values: Sequence[Any]) -> tuple[str, list[Any]]:
    one = len(write.events) == 1
    places = len(write.checkpoints.added)
    text = _statement(tables.event._meta.db_table, tables.checkpoint._meta.db_table, head, one, places)
    return text, [*values, *_checkpoint_values(write), *_event_values(write, one)]


@lru_cache(maxsize=256)
def _statement(events: str, checkpoints: str, head: str, one: bool, places: int) -> str:
    columns = ", ".join(_EVENT_TYPES)
    given = [f"%s::{kind}" for kind in _EVENT_TYPES.values()]
    arrays = ", ".join(f"%s::{kind}[]" for kind in _EVENT_TYPES.values())
    rows = (
        f"SELECT head.id, {_placed('head.last_seq', given)} FROM head"
        if one
        else f"SELECT head.id, {_placed('place.seq', [f'e.{name}' for name in _EVENT_TYPES])} "
        f"FROM head, unnest({arrays}) WITH ORDINALITY AS e({columns}, n), "
        "LATERAL (SELECT head.last_seq - %s::int8 + e.n) AS place(seq)"
    )
    parts = [f"head AS ({head})", *(f"place{n} AS ({_place(checkpoints)})" for n in range(places))]
    insert = f'INSERT INTO "{events}" (session_id, seq, {columns}) {rows}'
    if one:
        return f"WITH {', '.join(parts)} {insert} RETURNING seq"  # A sixth less work than the form for many.
    return f"WITH {', '.join(parts)}, event AS ({insert}) SELECT last_seq FROM head"


def _placed(seq: str, values: Sequence[str]) -> str:
    """The seq and the values of a row; the body, which comes last, with its place in front."""
    *header, body = values
    return ", ".join([seq, *header, f"int8send({MARK_NUMBER} + {seq}) || {body}"])


def _place(checkpoints: str) -> str:
    columns = ", ".join(_CHECKPOINT_COLUMNS)
    values = ", ".join(["%s"] * len(_CHECKPOINT_COLUMNS))
    return (
        f'INSERT INTO "{checkpoints}" (session_id, seq, {columns}) '
        f"SELECT head.id, head.last_seq - %s::int8, {values} FROM head"
    )


def _inserted(tables: Any, write: RowAppend) -> tuple[str, list[Any]]:
    row = {field.column: field.get_default() for field in tables.session._meta.local_fields}
    row.pop("id")
    row.update(write.new_row())
    columns = ", ".join(f'"{column}"' for column in row)
    text = (
        f'INSERT INTO "{tables.session._meta.db_table}" ({columns}) VALUES ({", ".join(["%s"] * len(row))}) '
        "ON CONFLICT (session_id) DO NOTHING RETURNING id, last_seq"
    )
    return text, [_plain(value) for value in row.values()]


def _updated(tables: Any, write: RowAppend, *, joins: bool = False) -> tuple[str, list[Any]]:
    """``joins``: names join those that have worked. Nearly always they are there already, and to find that
    out first is a fraction of the work."""
    guard, names = write.guard, write.change.worked
    added, values = sorted(write.added.items()), sorted(write.set)
    compared = [
        ("last_seq = %s", _number(guard.expected_seq)),
        ("fence = %s AND lease_expires_at > clock_timestamp()", _number(guard.fence)),
        ("status = ANY(%s)", None if guard.statuses is None else sorted(guard.statuses)),
        *(("strpos(worked, %s) > 0", needle(name)) for name in names if not joins),
    ]
    holding = [(condition, value) for condition, value in compared if value is not None]
    text = _update_text(
        tables.session._meta.db_table,
        tuple((column, before) for column, (before, _) in added),
        tuple(values),
        tuple(condition for condition, _ in holding),
        joins=joins,
    )
    numbers = [Int8(len(write.events)), *[Int8(more) for _, (_, more) in added]]
    given = [*(_plain(write.set[name]) for name in values), *([quoted(names)] * 2 if joins else [])]
    return text, [*numbers, *given, write.session_id, *(value for _, value in holding)]


@lru_cache(maxsize=256)
def _update_text(
    table: str,
    added: Sequence[tuple[str, str]],
    values: Sequence[str],
    holding: Sequence[str],
    *,
    joins: bool,
) -> str:
    moves = [f'"{name}" = "{before}" + %s' for name, before in (("last_seq", "last_seq"), *added)]
    moves += [f'"{name}" = %s' for name in values]
    moves += [f"worked = {joining('worked', '%s::text[]')}"] if joins else []
    where = " AND ".join(("session_id = %s", *holding))
    return f'UPDATE "{table}" SET {", ".join(moves)} WHERE {where} RETURNING id, last_seq'


def _number(value: int | None) -> Int8 | None:
    return None if value is None else Int8(value)


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return names_json(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return Int8(value)
    return str(value) if isinstance(value, str) else value


def _event_values(write: RowAppend, one: bool) -> list[Any]:
    rows = [
        (
            str(event.kind),
            event.at,
            event.actor,
            event.branch_id,
            event.step_id,
            event.agent,
            str(event.status),
            None if event.duration is None else Float8(event.duration),
            Int8(event.size),
            to_json(event.data),
            event.encoding,
            event.body,
        )
        for event in write.events
    ]
    return list(rows[0]) if one else [*map(list, zip(*rows, strict=True)), Int8(len(rows))]


def _checkpoint_values(write: RowAppend) -> list[Any]:
    last = len(write.events) - 1
    return [
        v for index, place in write.checkpoints.added for v in (Int8(last - index), *_place_values(place))
    ]


def _place_values(place: Checkpoint) -> Sequence[Any]:
    values = {name: getattr(place, name) for name in _CHECKPOINT_COLUMNS}
    values |= {"kind": str(place.kind), "counts": to_json(place.counts), "size_bytes": Int8(place.size_bytes)}
    return list(values.values())
