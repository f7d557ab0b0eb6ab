"""Sorting by duration where an index does it: what ended keeps its duration, and of what still lasts the
earliest begun has lasted longest. Each of the two is read in the order of its own index, then merged."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any

from state_core.records import ENDED, Head, SessionStatus
from state_core.storage.base import HeadQuery

NOT_ENDED = frozenset(SessionStatus) - ENDED


class Kind(StrEnum):
    ENDED = "ended"
    """Ordered by how long it took, in microseconds."""
    LASTING = "lasting"
    """Ordered by when it started."""
    UNSTARTED = "unstarted"
    """Ordered by session id alone."""


@dataclass(frozen=True)
class Part:
    """Some of the heads that a query asks for."""

    kind: Kind
    descending: bool
    """By the value that its kind is ordered by; ties by session id, ascending."""
    after: tuple[Any, str] | None
    """Such a value and a session id behind which it begins."""


def parts_of(query: HeadQuery) -> Iterator[Part]:
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


def _may_be(query: HeadQuery, statuses: Collection[str]) -> bool:
    return not query.statuses or any(status in statuses for status in map(str, query.statuses))


def merged(heads: Iterable[Head], query: HeadQuery) -> list[Head]:
    """The page, of the first heads of each part."""
    found = sorted(heads, key=lambda head: head.session_id)
    found.sort(key=lambda head: _order(query.sort_value(head)), reverse=query.descending)
    return found[: query.limit]


def _order(value: int | None) -> tuple[bool, int]:
    return value is not None, value or 0
