"""An append to SQLite: one short transaction of plain statements."""

# ruff: noqa: S608 - the text is made of our own tables' and columns' names; values are parameters

from __future__ import annotations

import sqlite3
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from django.db import IntegrityError

from state_core.fields import names_json, to_json
from state_core.storage.appending import RowAppend, append_by_orm, checkpoint_rows, refuse, taken
from state_core.storage.places import placed
from state_core.storage.rows import EVENT_COLUMNS

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
    if write.guard.creates or not write.is_usual:
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
        return [
            None if write.guard.creates or not write.is_usual else _change_apart(database, tables, write)
            for write in writes
        ]


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
    text, values = _update(tables, write)
    return _insert(database, tables, write) if database.execute(text, values).rowcount else None


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


def _update(tables: Any, write: RowAppend) -> tuple[str, list[Any]]:
    change, guard = write.change, write.guard
    moves = ["last_seq = last_seq + ?", *(f'"{name}" = "{name}" + ?' for name in change.add)]
    moves += [f'"{name}" = ?' for name in write.set]
    where: list[str] = ["session_id = ?"]
    compared: list[Any] = [write.session_id]
    if guard.expected_seq is not None:
        where.append("last_seq = ?")
        compared.append(guard.expected_seq)
    if guard.fence is not None:
        where.append(f"fence = ? AND lease_expires_at > {NOW}")
        compared.append(guard.fence)
    if guard.statuses is not None:
        where.append(f"status IN ({', '.join('?' * len(guard.statuses))})")
        compared.extend(guard.statuses)
    text = f'UPDATE "{tables.session._meta.db_table}" SET {", ".join(moves)} WHERE {" AND ".join(where)}'
    return text, [len(write.events), *change.add.values(), *map(_plain, write.set.values()), *compared]


def _insert(database: Any, tables: Any, write: RowAppend) -> int:
    pk, last_seq = database.execute(
        f'SELECT id, last_seq FROM "{tables.session._meta.db_table}" WHERE session_id = ?',
        [write.session_id],
    ).fetchone()
    first = last_seq - len(write.events) + 1
    database.executemany(
        f'INSERT INTO "{tables.event._meta.db_table}" (session_id, {", ".join(EVENT_COLUMNS)}) '
        f"VALUES (?, {', '.join('?' * len(EVENT_COLUMNS))})",
        (
            (
                pk,
                str(event.kind),
                first + index,
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
                placed(first + index, event.body),
            )
            for index, event in enumerate(write.events)
        ),
    )
    for checkpoint in checkpoint_rows(tables, write.checkpoints, pk, first):
        _insert_checkpoint(database, tables, checkpoint)
    return int(last_seq)


def _insert_checkpoint(database: Any, tables: Any, checkpoint: Any) -> None:
    fields = tables.checkpoint._meta.local_fields
    names = ", ".join(f'"{field.column}"' for field in fields)
    database.execute(
        f'INSERT INTO "{tables.checkpoint._meta.db_table}" ({names}) VALUES ({", ".join("?" * len(fields))})',
        [_plain(field.get_prep_value(getattr(checkpoint, field.attname))) for field in fields],
    )


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return str(value.astimezone(UTC).replace(tzinfo=None))
    if isinstance(value, list):
        return names_json(value)
    return str(value) if isinstance(value, str) else value
