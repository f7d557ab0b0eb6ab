"""Deleting a session from a database, and giving back the room that it took.

The head goes first and with it, for every reader, the session; its rows follow in short transactions, so
that no writer waits for a long log to go. A mark says which rows are still to go, and goes last: what a
killed process left behind is found by it.
"""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models import BooleanField, ExpressionWrapper

from state_core.exceptions import LeaseHeld, SessionNotFound
from state_core.storage.base import refuse_if_moved_on
from state_core.storage.clock import LASTS

ROWS = 2000
"""Rows that one transaction deletes at most."""
PAGES = 1000
"""Pages that SQLite gives back at once."""
WORTH_PAGES = 256
"""Free pages from which on SQLite gives some back; a few are soon used again. 1 MB of the usual size."""

MARK = {"seq": 0, "encoding": "deleted", "body": b""}
"""In the table of snapshots, where no snapshot has this seq."""


def delete_session(tables: Any, alias: str, session_id: str, expected_seq: int | None = None) -> None:
    """Raises SessionNotFound, LeaseHeld, ConflictError."""
    _delete_rows(tables, alias, _delete_head(tables, alias, session_id, expected_seq))


def _delete_head(tables: Any, alias: str, session_id: str, expected_seq: int | None) -> int:
    lasts = ExpressionWrapper(LASTS, output_field=BooleanField())
    with transaction.atomic(using=alias):
        heads = tables.session.objects.using(alias).filter(session_id=session_id)
        head = heads.select_for_update().annotate(lasts=lasts).first()
        if head is None:
            raise SessionNotFound(session_id)
        if head.lasts:
            raise LeaseHeld(session_id, head.owner, head.lease_expires_at)
        refuse_if_moved_on(session_id, expected_seq, head.last_seq)
        pk: int = head.pk
        # With the head, since their ids may be used again.
        tables.checkpoint.objects.using(alias).filter(session=pk).delete()
        tables.snapshot.objects.using(alias).create(session=head, **MARK)
        head.delete()
    return pk


def _delete_rows(tables: Any, alias: str, pk: int) -> None:
    for model in (tables.event, tables.snapshot):
        rows = model.objects.using(alias)
        while some := list(rows.filter(session=pk).order_by("-seq").values_list("pk", flat=True)[:ROWS]):
            rows.filter(pk__in=some).delete()


def tidy(connection: Any, tables: Any) -> None:
    """Delete what killed processes left of sessions that are gone, and give free pages back to the disk."""
    marks = tables.snapshot.objects.using(connection.alias).filter(seq=MARK["seq"])
    for pk in list(marks.values_list("session", flat=True)):
        _delete_rows(tables, connection.alias, pk)
    give_back(connection)


def give_back(connection: Any) -> None:
    """SQLite's files do not shrink by themselves; other databases see to it. One that was made without
    auto_vacuum stays as it is: `check()` says what to do."""
    if connection.vendor != "sqlite":
        return
    with connection.cursor() as cursor:
        free = _free_pages(cursor)
        while free >= WORTH_PAGES:
            cursor.execute(f"PRAGMA incremental_vacuum({PAGES})").fetchall()
            before, free = free, _free_pages(cursor)
            if free >= before:
                return


def _free_pages(cursor: Any) -> int:
    return int(cursor.execute("PRAGMA freelist_count").fetchone()[0])
