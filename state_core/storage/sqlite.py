"""An append to SQLite: one short transaction of plain statements."""

# ruff: noqa: S608 - the text is made of our own tables' and columns' names; values are parameters

from __future__ import annotations

import sqlite3
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import orjson
from django.db import IntegrityError

from state_core.events import EventRecord
from state_core.fields import to_json
from state_core.heads import joined
from state_core.names import names_json, needle
from state_core.records import Checkpoint, show_time
from state_core.storage.appending import RowAppend, append_by_orm, refuse, taken
from state_core.storage.places import placed
from state_core.storage.rows import CHECKPOINT_COLUMNS, EVENT_COLUMNS

NOW = "STRFTIME('%Y-%m-%d %H:%M:%f', 'now')"
_FULL = 2
_turns: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
"""Alias of a database → held while a thread writes to it."""


def tune(connection: Any) -> None:
    """A commit waits for the disk, and a transaction that will write says so when it begins: two that
    found out later would block each other."""
    connection.transaction_mode = "IMMEDIATE"
    if connection.connection.execute("PRAGMA synchronous").fetchone()[0] < _FULL:
        connection.connection.execute("PRAGMA synchronous=FULL")


def append(connection: Any, tables: Any, write: RowAppend) -> int:
    if not _fits(write):
        return append_by_orm(tables, connection.alias, write)
    try:
        with connection.wrap_database_errors, _immediately(connection) as database:
            last_seq = _change(database, tables, write)
    except IntegrityError as error:
        if write.checkpoints.added:
            raise taken(write.checkpoints) from error
        raise
    if last_seq is not None:
        return last_seq
    heads = tables.session.objects.using(connection.alias).filter(session_id=write.session_id)
    refuse(heads, write)
    # The guard held again when it was looked at: another write came between.
    return append_by_orm(tables, connection.alias, write)


def _fits(write: RowAppend) -> bool:
    return write.is_usual and not write.guard.creates


@contextmanager
def overwriting(database: Any) -> Iterator[None]:
    """What is replaced or deleted meanwhile is overwritten in the file."""
    before = {0: "OFF", 1: "ON", 2: "FAST"}[database.execute("PRAGMA secure_delete").fetchone()[0]]
    database.execute("PRAGMA secure_delete=ON")
    try:
        yield
    finally:
        database.execute(f"PRAGMA secure_delete={before}")


def append_many(connection: Any, tables: Any, writes: Sequence[RowAppend]) -> list[int | None]:
    """In one transaction. None for those that need more than this, or were refused."""
    with connection.wrap_database_errors, _immediately(connection) as database:
        return [_change_apart(database, tables, write) if _fits(write) else None for write in writes]


def _change_apart(database: Any, tables: Any, write: RowAppend) -> int | None:
    database.execute("SAVEPOINT one")
    try:
        last_seq = _change(database, tables, write)
    except sqlite3.IntegrityError:
        database.execute("ROLLBACK TO one")
        last_seq = None
    database.execute("RELEASE one")
    return last_seq


def _change(database: Any, tables: Any, write: RowAppend) -> int | None:
    """None where the guard does not hold."""
    return _insert(database, tables, write) if _move(database, tables, write) else None


@contextmanager
def _immediately(connection: Any) -> Iterator[Any]:
    database = connection.connection
    # Threads of one process take turns here: SQLite would let them sleep and try again.
    with _turns[connection.alias]:
        database.execute("BEGIN IMMEDIATE")
        try:
            yield database
            database.execute("COMMIT")
        except BaseException:
            if database.in_transaction:
                database.execute("ROLLBACK")
            raise


def _move(database: Any, tables: Any, write: RowAppend) -> bool:
    """Change the head. False where the guard does not hold."""
    table, values = tables.session._meta.db_table, write.set
    # A column that is set has its index written, though it stays what it is, as these nearly always do.
    same = [("updated_minute = ?", _plain(values["updated_minute"]))] if "updated_minute" in values else []
    same += [("INSTR(worked, ?) > 0", needle(name)) for name in write.change.worked]
    others = {name: value for name, value in values.items() if name != "updated_minute"}
    return _update(database, table, write, others, same) or _update(
        database, table, write, {**values, **_new_names(database, table, write)}
    )


def _new_names(database: Any, table: str, write: RowAppend) -> dict[str, Any]:
    if not write.change.worked:
        return {}
    asked = f'SELECT worked FROM "{table}" WHERE session_id = ?'
    before = [name for row in database.execute(asked, [write.session_id]) for name in orjson.loads(row[0])]
    after = joined(before, write.change.worked)
    return {} if after == before else {"worked": after}


def _update(
    database: Any,
    table: str,
    write: RowAppend,
    values: Mapping[str, Any],
    same: Sequence[tuple[str, Any]] = (),
) -> bool:
    """``same``: what the head must hold already, beside what the guard says."""
    guard, added = write.guard, write.added
    compared = [
        ("last_seq = ?", guard.expected_seq),
        (f"fence = ? AND lease_expires_at > {NOW}", guard.fence),
        *same,
    ]
    holding = [(condition, value) for condition, value in compared if value is not None]
    statuses = guard.statuses or ()
    text = _update_text(
        table,
        tuple((column, before) for column, (before, _) in added.items()),
        tuple(values),
        tuple(condition for condition, _ in holding),
        None if guard.statuses is None else len(statuses),
    )
    differences = [more for _, more in added.values()]
    parameters = [len(write.events), *differences, *map(_plain, values.values()), write.session_id]
    return bool(database.execute(text, [*parameters, *(value for _, value in holding), *statuses]).rowcount)


@lru_cache(maxsize=256)
def _update_text(
    table: str,
    added: Sequence[tuple[str, str]],
    values: Sequence[str],
    holding: Sequence[str],
    statuses: int | None,
) -> str:
    moves = ["last_seq = last_seq + ?", *(f'"{name}" = "{before}" + ?' for name, before in added)]
    moves += [f'"{name}" = ?' for name in values]
    where = ["session_id = ?", *holding]
    if statuses is not None:
        where.append(f"status IN ({', '.join('?' * statuses)})")
    return f'UPDATE "{table}" SET {", ".join(moves)} WHERE {" AND ".join(where)}'


@lru_cache(maxsize=16)
def _insert_text(table: str) -> str:
    return (
        f'INSERT INTO "{table}" (session_id, {", ".join(EVENT_COLUMNS)}) '
        f"VALUES (?, {', '.join('?' * len(EVENT_COLUMNS))})"
    )


def _insert(database: Any, tables: Any, write: RowAppend) -> int:
    # Asking again is quicker than RETURNING.
    asked = f'SELECT id, last_seq FROM "{tables.session._meta.db_table}" WHERE session_id = ?'
    pk, last_seq = database.execute(asked, [write.session_id]).fetchone()
    first = last_seq - len(write.events) + 1
    database.executemany(
        _insert_text(tables.event._meta.db_table),
        [_event_values(pk, seq, event) for seq, event in enumerate(write.events, first)],
    )
    if write.checkpoints.added:
        database.executemany(
            _insert_checkpoint_text(tables.checkpoint._meta.db_table),
            [_checkpoint_values(pk, first + index, made) for index, made in write.checkpoints.added],
        )
    return int(last_seq)


def _event_values(pk: int, seq: int, event: EventRecord) -> tuple[Any, ...]:
    return (
        pk,
        str(event.kind),
        seq,
        _plain(event.at),
        event.actor,
        event.branch_id,
        event.step_id,
        event.agent,
        str(event.status),
        event.duration,
        event.size,
        to_json(event.data),
        event.encoding,
        placed(seq, event.body),
    )


_CHECKPOINT_COLUMNS = [name for name in CHECKPOINT_COLUMNS if name not in ("session__session_id", "seq")]


@lru_cache(maxsize=16)
def _insert_checkpoint_text(table: str) -> str:
    return (
        f'INSERT INTO "{table}" (session_id, seq, {", ".join(_CHECKPOINT_COLUMNS)}) '
        f"VALUES (?, ?, {', '.join('?' * len(_CHECKPOINT_COLUMNS))})"
    )


def _checkpoint_values(pk: int, seq: int, made: Checkpoint) -> tuple[Any, ...]:
    values = (getattr(made, name) for name in _CHECKPOINT_COLUMNS)
    return pk, seq, *(to_json(value) if isinstance(value, dict) else _plain(value) for value in values)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return _as_django_writes(value)
    if isinstance(value, list):
        return names_json(value)
    return str(value) if isinstance(value, str) else value


def _as_django_writes(at: datetime) -> str:
    if at.tzinfo is not UTC:
        at = at.astimezone(UTC)
    return str(show_time(at)).removesuffix("+00:00").replace("T", " ")
