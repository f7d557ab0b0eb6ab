"""An EventQuery as Django's ORM asks it."""

from __future__ import annotations

from typing import Any

from django.db.models import Q, QuerySet, Subquery

from state_core.events import EventRecord
from state_core.storage.base import EventQuery
from state_core.storage.fetching import fetched
from state_core.storage.rows import EVENT_COLUMNS, HEADER_COLUMNS, to_record


def events(connection: Any, tables: Any, session_id: str, query: EventQuery) -> list[EventRecord]:
    found = events_found(tables, connection.alias, session_id, query)
    rows = fetched(connection, found, EVENT_COLUMNS if query.bodies else HEADER_COLUMNS)
    return [to_record(session_id, row) for row in rows]


def events_found(tables: Any, alias: str, session_id: str, query: EventQuery) -> QuerySet[Any]:
    found: QuerySet[Any] = tables.event.objects.using(alias).filter(_condition(tables, session_id, query))
    return found.order_by("-seq" if query.newest_first else "seq")[: query.limit]


def _condition(tables: Any, session_id: str, query: EventQuery) -> Q:
    # Asked for by themselves, not joined: only so does PostgreSQL read in the index's order. Joined, it sorts
    # all that is left of the log for each page of it.
    own = tables.session.objects.filter(session_id=session_id)
    # What lies before the log's beginning is about to go.
    condition = Q(
        session=Subquery(own.values("pk")),
        seq__gt=query.after,
        seq__gte=Subquery(own.values("first_seq")),
    )
    if query.before is not None:
        condition &= Q(seq__lt=query.before)
    if query.kinds is not None:
        condition &= Q(kind__in=query.kinds)
    if query.branch_id is not None:
        condition &= Q(branch_id=query.branch_id)
    return condition
