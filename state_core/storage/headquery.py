"""A HeadQuery as Django's ORM asks it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any

from django.db.models import Count, F, FloatField, Func, Q, QuerySet, Value
from django.db.models.functions import Now, StrIndex

from state_core.exceptions import SessionNotFound
from state_core.fields import HasName, Microseconds, Rare, Unindexed
from state_core.names import needle
from state_core.records import HELD, Head, utc_now
from state_core.storage import parts
from state_core.storage.base import HeadQuery
from state_core.storage.parts import Kind, Part
from state_core.storage.rows import HEAD_COLUMNS, RESTING, minute_of, to_head

NULLABLE = frozenset({"started_at"})
MINUTES = {"updated_at": "updated_minute"}
"""What is sorted by → the column that is in its index."""


def head_of(heads: QuerySet[Any], session_id: str) -> Head:
    """Raises SessionNotFound."""
    row = heads.filter(session_id=session_id).values_list(*HEAD_COLUMNS).first()
    if row is None:
        raise SessionNotFound(session_id)
    return to_head(row)


def pages(heads: QuerySet[Any], query: HeadQuery) -> list[QuerySet[Any]]:
    """The page; or the first of each part of it, to be merged, where no index has all of it in order."""
    if parts.has_parts(query):
        return [_part(heads, query, part)[: query.limit] for part in parts.parts_of(query)]
    if query.sort_field in NULLABLE:
        return [part[: query.limit] for part in _empty_apart(heads, query)]
    found = matching(heads, query)
    if query.after is not None:
        found = found.filter(_beyond(query.sort_field, query.descending, *query.after))
    return [found.order_by(*_order(query))[: query.limit]]


def _empty_apart(heads: QuerySet[Any], query: HeadQuery) -> list[QuerySet[Any]]:
    """What has nothing to be sorted by comes behind all other, or before it where the order ascends; by the
    database's own rules an index has it elsewhere."""
    field, found = query.sort_field, matching(heads, query)
    empty = found.filter(**{f"{field}__isnull": True}).order_by("session_id")
    given = found.filter(**{f"{field}__isnull": False}).order_by(*_order(query))
    if query.after is None:
        return [given, empty]
    value, session_id = query.after
    if value is None:
        beyond = empty.filter(session_id__gt=session_id)
        return [beyond] if query.descending else [beyond, given]
    beyond = given.filter(_beyond(field, query.descending, value, session_id))
    return [beyond, empty] if query.descending else [beyond]


def _part(heads: QuerySet[Any], query: HeadQuery, part: Part) -> QuerySet[Any]:
    condition, field = _PARTS[part.kind](query.sort_field)
    asked = parts.asked_by_status(query, part)
    found: QuerySet[Any] = _of_statuses(heads, asked, part).filter(condition)
    found = found.alias(micros=Microseconds("ended_at", "started_at"), plain_status=Unindexed("status"))
    compared = parts.compared_statuses(query, part)
    if compared:
        found = found.filter(plain_status__in=compared)
    if part.after and field:
        found = found.filter(_beyond(field, part.descending, *part.after))
    elif part.after:
        found = found.filter(session_id__gt=part.after[1])
    in_order = _columns([field], query, descending=part.descending) if field else []
    return found.order_by(*in_order, "session_id")


def _of_statuses(heads: QuerySet[Any], query: HeadQuery, part: Part) -> QuerySet[Any]:
    if part.kind != Kind.AT_WORK:
        return matching(heads, query)
    found: QuerySet[Any] = matching(heads, replace(query, statuses=()))
    return found.filter(Rare(Q(status__in=_texts(query.statuses))))


_PARTS: dict[Kind, Callable[[str], tuple[Q, str]]] = {
    Kind.ENDED: lambda field: (Q(ended_at__isnull=False, started_at__isnull=False), "micros"),
    Kind.LASTING: lambda field: (Q(ended_at=None, started_at__isnull=False), "started_at"),
    Kind.UNSTARTED: lambda field: (Q(started_at=None), ""),
    Kind.AT_REST: lambda field: (Q(**{f"{RESTING[field]}__isnull": False}), RESTING[field]),
    Kind.AT_WORK: lambda field: (Q(), field),
}
"""The heads of each part of a page that is sorted by this field, and what they are ordered by."""


def _texts(statuses: Collection[str]) -> list[str]:
    return sorted(map(str, statuses))


def status_counts(heads: QuerySet[Any], query: HeadQuery) -> QuerySet[Any]:
    """(status, how many), whichever statuses are asked for."""
    found = matching(heads, replace(query, statuses=())).order_by()
    # The index of statuses counts all of them; where more is asked, it is the long way to each row.
    status = Unindexed("status") if found.query.where else F("status")
    # Rows rather than keys, which are not in that index.
    counts: QuerySet[Any] = found.values_list(status).annotate(sessions=Count("*"))
    return counts


def matching(heads: QuerySet[Any], query: HeadQuery) -> QuerySet[Any]:
    if not all(map(_storable, (query.text, query.tag, query.agent, query.origin, query.owner, query.error))):
        return heads.none()
    return _lasting(_labelled(heads, query).filter(_stands(query)), query)


def _storable(text: str) -> bool:
    """No row holds a NUL or half a surrogate pair, and databases refuse to look for one."""
    return "\x00" not in text and not any("\ud800" <= letter <= "\udfff" for letter in text)


def _labelled(heads: QuerySet[Any], query: HeadQuery) -> QuerySet[Any]:
    """Positions rather than LIKE: SQLite's LIKE takes no notice of case."""
    for column, part in (
        ("search", query.text.lower()),
        ("tags", query.tag and needle(query.tag)),
        ("owner", query.owner),
        ("error", query.error),
    ):
        if part:
            heads = heads.alias(**{f"{column}_at": StrIndex(column, Value(part))})
            heads = heads.filter(**{f"{column}_at__gt": 0})
    return heads.filter(HasName("worked", query.worked)) if query.agent else heads


class Seconds(Func):
    """From the second moment to the first, by the database's own functions: Django's would call Python for
    each row of SQLite."""

    output_field = FloatField()
    arg_joiner = " - "
    template = "EXTRACT(EPOCH FROM (%(expressions)s))"

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        days = "((julianday(%(expressions)s)) * 86400.0)"
        return self.as_sql(compiler, connection, template=days, arg_joiner=") - julianday(", **context)


def _lasting(heads: QuerySet[Any], query: HeadQuery) -> QuerySet[Any]:
    """Until now where it has not ended; what has not started has not lasted."""
    bounds = {"gte": query.min_duration, "lte": query.max_duration}
    asked = {sign: seconds for sign, seconds in bounds.items() if seconds is not None}
    if not asked:
        return heads
    now = utc_now()
    ended = Q(**{f"took__{sign}": seconds for sign, seconds in asked.items()})
    # The longer it lasts, the earlier it began.
    begun = {"gte": "lte", "lte": "gte"}
    lasts = Q(
        ended_at=None,
        **{f"started_at__{begun[sign]}": now - timedelta(seconds=n) for sign, n in asked.items()},
    )
    started = heads.filter(started_at__isnull=False)
    found: QuerySet[Any] = started.alias(took=Seconds("ended_at", "started_at")).filter(ended | lasts)
    return found


def _stands(query: HeadQuery) -> Q:
    condition = Q()
    if query.statuses:
        condition &= Q(status__in=_texts(query.statuses))
    if query.since is not None:
        condition &= Q(updated_minute__gte=minute_of(query.since), updated_at__gte=query.since)
    if query.until is not None:
        condition &= Q(updated_minute__lte=minute_of(query.until), updated_at__lt=query.until)
    if query.questions:
        condition &= Q(questions__gt=0)
    if query.origin:
        # What begins so: "A" is the character behind "@", which no session id holds.
        # That it is not empty says nothing new, save to the index, which holds forks alone.
        condition &= Q(origin__gt="", origin__gte=f"{query.origin}@", origin__lt=f"{query.origin}A")
    if query.lease_expired:
        # Not the clock: an index can only serve a time that stands still while the statement lasts.
        condition &= Q(status__in=sorted(map(str, HELD)), lease_expires_at__lte=Now())
    return condition


def _order(query: HeadQuery) -> tuple[Any, ...]:
    field = query.sort_field
    names = [MINUTES[field], field] if field in MINUTES else [field]
    return *_columns(names, query, descending=query.descending), "session_id"


def _columns(names: Iterable[str], query: HeadQuery, *, descending: bool) -> list[Any]:
    # Few have a question open, and an index has them: SQLite would rather look for them in the order of all.
    columns = [Unindexed(name) if query.questions else F(name) for name in names]
    return [column.desc() if descending else column.asc() for column in columns]


def _beyond(field: str, descending: bool, value: Any, session_id: str) -> Q:
    further = Q(**{f"{field}__{'lt' if descending else 'gt'}": value})
    tied = Q(**{field: value, "session_id__gt": session_id})
    # Says nothing new, and lets the database begin in the index where the page begins.
    sign = "lte" if descending else "gte"
    begins = Q(**{f"{field}__{sign}": value})
    if field in MINUTES:
        begins &= Q(**{f"{MINUTES[field]}__{sign}": minute_of(value)})
    return begins & (further | tied)
