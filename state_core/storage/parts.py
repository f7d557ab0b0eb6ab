"""Sorting where no one index has all heads in order: each part of them is read by an index of its own, then
they are merged.

By duration: what ended keeps its duration, and of what still lasts the earliest begun has lasted longest.
By steps and size: those of what is at rest are indexed. Of what is at work they are not, so that no append
has to move an index; that is no more than orchestrators hold, and is sorted when it is asked for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from typing import Any

from state_core.records import ENDED, HELD, Head, SessionStatus
from state_core.storage.base import HeadQuery

NOT_ENDED = frozenset(SessionStatus) - ENDED
AT_REST = frozenset(SessionStatus) - HELD
COUNTED = frozenset({"steps", "state_bytes"})
"""What appends change, and heads are sorted by."""
SELECTIVE = frozenset(
    {
        *("text", "tag", "agent", "owner", "error", "origin", "questions", "lease_expired"),
        *("min_duration", "max_duration"),
    }
)
"""Filters that leave few, as a rule: to sort these is less than to look for them in the order of all."""


class Kind(StrEnum):
    ENDED = "ended"
    """Ordered by how long it took, in microseconds."""
    LASTING = "lasting"
    """Ordered by when it started."""
    UNSTARTED = "unstarted"
    """Ordered by session id alone."""
    AT_REST = "at rest"
    """Ordered by what was counted."""
    AT_WORK = "at work"
    """Ordered by what is counted."""


FEW = {Kind.LASTING: NOT_ENDED, Kind.AT_WORK: HELD}
"""Parts that are found by their statuses, few among many; in the others statuses are compared on the way."""


@dataclass(frozen=True)
class Part:
    """Some of the heads that a query asks for."""

    kind: Kind
    descending: bool
    """By the value that its kind is ordered by; ties by session id, ascending."""
    after: tuple[Any, str] | None
    """Such a value and a session id behind which it begins."""


def has_parts(query: HeadQuery) -> bool:
    if query.sort_field == "duration":
        return True
    few = any(getattr(query, name) not in ("", False, None) for name in SELECTIVE)
    return query.sort_field in COUNTED and not few


def parts_of(query: HeadQuery) -> Iterator[Part]:
    return _of_durations(query) if query.sort_field == "duration" else _of_counts(query)


def _of_durations(query: HeadQuery) -> Iterator[Part]:
    if query.after is None:
        ended = lasting = unstarted = None
    else:
        value, session_id = query.after
        ended, lasting, unstarted = None, None, (None, session_id)
        if value is not None:
            since = query.until_when - timedelta(microseconds=value)
            ended, lasting, unstarted = (value, session_id), (since, session_id), None
    # None is the lowest value: what has not started comes last in descending order, first in ascending.
    if not (unstarted and query.descending):
        if _may_be(query, ENDED):
            yield Part(Kind.ENDED, query.descending, ended)
        if _may_be(query, NOT_ENDED):
            yield Part(Kind.LASTING, not query.descending, lasting)
    if not (ended and not query.descending):
        yield Part(Kind.UNSTARTED, False, unstarted)


def _of_counts(query: HeadQuery) -> Iterator[Part]:
    for kind, statuses in ((Kind.AT_REST, AT_REST), (Kind.AT_WORK, HELD)):
        if _may_be(query, statuses):
            yield Part(kind, query.descending, query.after)


def _may_be(query: HeadQuery, statuses: Collection[str]) -> bool:
    return not query.statuses or any(status in statuses for status in map(str, query.statuses))


def asked_by_status(query: HeadQuery, part: Part) -> HeadQuery:
    """The query, with the statuses by which this part is found."""
    if part.kind not in FEW:
        return replace(query, statuses=())
    few = set(map(str, FEW[part.kind]))
    return replace(query, statuses=few.intersection(map(str, query.statuses or few)))


def compared_statuses(query: HeadQuery, part: Part) -> list[str]:
    """Those that are compared on the way, where it has to be one of them."""
    return [] if part.kind in FEW else sorted(map(str, query.statuses))


def merged(heads: Iterable[Head], query: HeadQuery) -> list[Head]:
    """The page, of the first heads of each part."""
    found = sorted(heads, key=lambda head: head.session_id)
    found.sort(key=lambda head: _order(query.sort_value(head)), reverse=query.descending)
    return found[: query.limit]


def _order(value: int | None) -> tuple[bool, int]:
    return value is not None, value or 0
