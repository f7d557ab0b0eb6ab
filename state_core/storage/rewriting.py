"""Rewriting in a database: events replaced where they stand, and those before the new beginning removed."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

from django.db import transaction
from django.db.models import Exists, F, OuterRef
from django.db.models.functions import Length

from state_core.events import EventRecord, Header
from state_core.exceptions import SessionNotFound
from state_core.storage.base import check_replaces, counted_size, stored_size
from state_core.storage.deleting import ROWS
from state_core.storage.places import PLACE_BYTES, placed
from state_core.storage.rows import EVENT_COLUMNS, readable

_COLUMNS = tuple(name for name in EVENT_COLUMNS if name != "seq")


def rewrite(
    connection: Any, tables: Any, session_id: str, records: Sequence[EventRecord], first_seq: int | None
) -> None:
    """See `StorageBackend.rewrite`. Once it is committed where the log begins, no reader sees what lies
    before; that goes in short transactions, so that no writer waits for a long log to go."""
    with _leaving_nothing(connection):
        pk = _commit(connection, tables, session_id, records, first_seq)
        if first_seq:
            _remove_hidden(connection, tables, pk)


def tidy(connection: Any, tables: Any) -> None:
    """Remove what a killed process left before the beginning of a log."""
    rows = tables.event.objects.using(connection.alias)
    hidden = rows.filter(session=OuterRef("pk"), seq__lt=OuterRef("first_seq"))
    heads = tables.session.objects.using(connection.alias).filter(first_seq__gt=1)
    with _leaving_nothing(connection):
        for pk in list(heads.filter(Exists(hidden)).values_list("pk", flat=True)):
            _remove_hidden(connection, tables, pk)


def _commit(
    connection: Any, tables: Any, session_id: str, records: Sequence[EventRecord], first_seq: int | None
) -> int:
    """The head's row is locked first, as an append and a deletion do."""
    with transaction.atomic(using=connection.alias):
        heads = tables.session.objects.using(connection.alias).filter(session_id=session_id)
        head = heads.select_for_update().values("pk", "first_seq").first()
        if head is None:
            raise SessionNotFound(session_id)
        pk: int = head["pk"]
        events = tables.event.objects.using(connection.alias).filter(session=pk, seq__gte=head["first_seq"])
        grown = _replace(connection, events, pk, session_id, records)
        first = max(first_seq or 1, head["first_seq"])
        tables.snapshot.objects.using(connection.alias).filter(session=pk, seq__lt=first).delete()
        heads.update(stored_bytes=F("stored_bytes") + grown, first_seq=first)
    return pk


def _remove_hidden(connection: Any, tables: Any, pk: int) -> None:
    """What lies before a log's beginning."""
    while _remove_some(connection, tables, pk):
        pass


def _remove_some(connection: Any, tables: Any, pk: int) -> bool:
    with transaction.atomic(using=connection.alias):
        heads = tables.session.objects.using(connection.alias).filter(pk=pk)
        head = heads.select_for_update().values("session_id", "first_seq").first()
        if head is None:
            return False  # deleted meanwhile, rows and all
        rows = tables.event.objects.using(connection.alias).filter(session=pk)
        hidden = rows.filter(seq__lt=head["first_seq"]).annotate(bytes=Length("body"))
        with readable(head["session_id"], f"an event before {head['first_seq']}"):
            found = list(hidden.order_by("seq").values_list("seq", "data", "bytes")[:ROWS])
        if not found:
            return False
        rows.filter(seq__lte=found[-1][0]).delete()
        heads.update(stored_bytes=F("stored_bytes") - sum(_size(data, size) for _, data, size in found))
    return len(found) == ROWS


def _leaving_nothing(connection: Any) -> Any:
    if connection.vendor != "sqlite":
        return nullcontext()
    from state_core.storage import sqlite

    return sqlite.overwriting(connection.connection)


def _replace(connection: Any, events: Any, pk: int, session_id: str, records: Sequence[EventRecord]) -> int:
    """By how many bytes the session grows."""
    if not records:
        return 0
    there = events.filter(seq__gte=records[0].seq, seq__lte=records[-1].seq)
    rows = there.annotate(bytes=Length("body")).values_list("seq", "kind", "at", "data", "bytes")
    with readable(session_id, f"an event from {records[0].seq} to {records[-1].seq}"):
        stored = {row[0]: row for row in rows}
    grown = 0
    for record in records:
        row = stored.get(record.seq)
        check_replaces(session_id, Header(kind=row[1], at=row[2]) if row else None, record)
        grown += stored_size(record) - (_size(row[3], row[4]) if row else 0)
    _update(connection, events.model._meta, pk, records)
    return grown


def _update(connection: Any, meta: Any, pk: int, records: Sequence[EventRecord]) -> None:
    """One statement for all: a driver sends its rows together, where the ORM would send them one by one."""
    quote = connection.ops.quote_name
    fields = [meta.get_field(name) for name in _COLUMNS]
    sets = ", ".join(f"{quote(field.column)} = %s" for field in fields)
    where = f"{quote('session_id')} = %s AND {quote('seq')} = %s"

    def row(record: EventRecord) -> list[Any]:
        given = [field.get_db_prep_save(_value(record, field.name), connection) for field in fields]
        return [*given, pk, record.seq]

    with connection.cursor() as cursor:
        cursor.executemany(f"UPDATE {quote(meta.db_table)} SET {sets} WHERE {where}", map(row, records))  # noqa: S608 - our own names


def _value(record: EventRecord, name: str) -> Any:
    return placed(record.seq, record.body) if name == "body" else getattr(record, name)


def _size(data: Any, stored_bytes: int) -> int:
    return counted_size(data, stored_bytes - PLACE_BYTES)
