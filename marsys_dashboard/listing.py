"""The list of sessions: what its address asks for, and the heads of all stores that answer it."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.http import QueryDict

from marsys_dashboard.address import text_of
from marsys_dashboard.managers import StoreNotFound, manager, store_names
from marsys_dashboard.spans import read_moment, read_span
from state_core.exceptions import InvalidValue, StorageError
from state_core.records import Head
from state_core.storage.base import HeadQuery
from state_core.words import STATUSES

PAGE_SIZE = 50
DEFAULT_SORT = "-created_at"
TIMES = frozenset({"updated_at", "created_at", "started_at"})
NUMBERS = frozenset({"steps", "state_bytes", "duration"})
TRAIL = 40
"""Pages that an address remembers the way back through."""
FURTHER = ("agent", "owner", "error", "since", "until", "longer", "shorter")
"""Filters beside status, text, tag, store and questions."""


@dataclass(frozen=True)
class Asked:
    """What the address asks for."""

    statuses: tuple[str, ...] = ()
    text: str = ""
    tag: str = ""
    store: str = ""
    questions: bool = False
    agent: str = ""
    owner: str = ""
    error: str = ""
    since: str = ""
    """As it was written: how long ago, or a moment."""
    until: str = ""
    longer: str = ""
    """It has lasted at least so long."""
    shorter: str = ""
    sort: str = DEFAULT_SORT
    trail: tuple[str, ...] = ()
    """Cursors of the pages behind this one, the first first; the last is where this page begins."""

    @property
    def is_filtered(self) -> bool:
        return bool(self.statuses or self.narrows_counts)

    @property
    def narrows_counts(self) -> bool:
        return bool(self.text or self.tag or self.store or self.questions or self.is_judged_by_store)

    @property
    def is_judged_by_store(self) -> bool:
        """Is there a filter that a page cannot compare its rows with?"""
        return any(getattr(self, name) for name in FURTHER)

    @property
    def is_newest_first(self) -> bool:
        """Does a session that is new belong at the top of this page?"""
        return self.sort == DEFAULT_SORT and not self.trail

    def stores(self) -> list[str]:
        if not self.store:
            return store_names()
        if self.store not in store_names():
            raise StoreNotFound(self.store)
        return [self.store]

    def head_query(self) -> HeadQuery:
        query = HeadQuery(
            statuses=self.statuses,
            text=self.text,
            tag=self.tag,
            questions=self.questions,
            agent=self.agent,
            owner=self.owner,
            error=self.error,
            since=read_moment(self.since) if self.since else None,
            until=read_moment(self.until) if self.until else None,
            min_duration=read_span(self.longer) if self.longer else None,
            max_duration=read_span(self.shorter) if self.shorter else None,
            sort=self.sort,
            limit=PAGE_SIZE + 1,
        )
        return at_cursor(query, self.trail[-1]) if self.trail else query


def read_address(get: QueryDict) -> Asked:
    """Raises InvalidValue for what no link of the dashboard says."""
    statuses = tuple(dict.fromkeys(get.getlist("status")))
    unknown = [status for status in statuses if status not in STATUSES]
    if unknown:
        raise InvalidValue(f"{unknown[0][:40]!r} is no status. Choose from {', '.join(STATUSES)}.")
    asked = Asked(
        statuses=statuses,
        text=text_of(get, "q"),
        tag=text_of(get, "tag"),
        **{name: text_of(get, name) for name in FURTHER},
        store=get.get("store", ""),
        questions=get.get("questions") == "1",
        sort=get.get("sort") or DEFAULT_SORT,
        trail=tuple(filter(None, get.getlist("after")))[-TRAIL:],
    )
    asked.head_query()
    return asked


def href(asked: Asked, **changes: Any) -> str:
    """The address of the list as it is asked for, with changes. What is not chosen is not in it."""
    values = {
        "status": asked.statuses,
        "q": asked.text,
        "tag": asked.tag,
        "store": asked.store,
        "questions": "1" if asked.questions else "",
        **{name: getattr(asked, name) for name in FURTHER},
        "sort": "" if asked.sort == DEFAULT_SORT else asked.sort,
        "trail": asked.trail,
        **changes,
    }
    values["after"] = values.pop("trail")
    query = urlencode({name: value for name, value in values.items() if value}, doseq=True)
    return f"?{query}" if query else "?"


def write_cursor(head: Head, query: HeadQuery) -> str:
    """What lasts goes on lasting: a page behind one that is sorted by duration is as of the same moment."""
    value, session_id = query.cursor(head)
    parts = [value, session_id, *([query.as_of] if query.as_of else [])]
    text = json.dumps(parts, separators=(",", ":"), default=datetime.isoformat)
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def at_cursor(query: HeadQuery, text: str) -> HeadQuery:
    """The page that begins there. Raises InvalidValue."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        value, session_id, *moments = json.loads(raw)
        if len(moments) != (query.as_of is not None):
            raise ValueError("a cursor of another sorting")
        moment = _aware(datetime.fromisoformat(moments[0])) if moments else None
        after = _typed(value, query.sort_field), _of_type(session_id, str)
        return replace(query, after=after, as_of=moment)
    except (binascii.Error, ValueError, TypeError, RecursionError) as error:
        raise InvalidValue(
            "This link to a further page cannot be read, or belongs to another sorting. "
            "Go to the first page instead."
        ) from error


def _typed(value: Any, sort_field: str) -> Any:
    if value is None:
        return None
    if sort_field in TIMES:
        return _aware(datetime.fromisoformat(value))
    return _of_type(value, int if sort_field in NUMBERS else str)


def _aware(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError("a time without a zone")
    return moment


def _of_type(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError(f"{value!r} is no {kind.__name__}")
    return value


@dataclass(frozen=True)
class Found:
    store: str
    head: Head


@dataclass
class Listing:
    """A page of the list."""

    asked: Asked
    rows: list[Found] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    """Sessions that match all but the chosen statuses, per status."""
    questions: int = 0
    """Of these, how many have an open question."""
    next_trail: tuple[str, ...] | None = None
    problems: dict[str, StorageError] = field(default_factory=dict)
    """Store → why it is missing from this page."""

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def shown_total(self) -> int:
        """How many sessions this page is one of the pages of."""
        chosen = self.asked.statuses
        return sum(n for status, n in self.counts.items() if not chosen or status in chosen)


async def find(asked: Asked) -> Listing:
    """The page. A store that cannot be reached is told of; where none can, its error is raised."""
    query = asked.head_query()
    listing, answers = await _gather(asked, lambda store: _page(store, query))
    found = [Found(store, head) for store, heads in answers for head in heads]
    _fill(listing, in_order(found, query), query)
    return listing


async def count(asked: Asked) -> Listing:
    """Only the counts of the page."""
    listing, _ = await _gather(asked, _no_page)
    return listing


async def _page(store: str, query: HeadQuery) -> list[Head]:
    return await manager(store).storage.heads(query)


async def _no_page(store: str) -> list[Head]:
    return []


async def _gather(
    asked: Asked, page_of: Callable[[str], Awaitable[list[Head]]]
) -> tuple[Listing, list[tuple[str, list[Head]]]]:
    query = asked.head_query()
    names = asked.stores()
    answers = await asyncio.gather(*(_ask(name, query, page_of) for name in names), return_exceptions=True)
    listing = Listing(asked)
    pages: list[tuple[str, list[Head]]] = []
    for name, answer in zip(names, answers, strict=True):
        if isinstance(answer, StorageError):
            listing.problems[name] = answer
        elif isinstance(answer, BaseException):
            raise answer
        else:
            pages.append((name, answer.heads))
            listing.counts = dict(Counter(listing.counts) + Counter(answer.counts))
            listing.questions += answer.questions
    if listing.problems and not pages:
        raise next(iter(listing.problems.values()))
    return listing, pages


@dataclass(frozen=True)
class _Answer:
    heads: list[Head]
    counts: Mapping[str, int]
    questions: int


async def _ask(store: str, query: HeadQuery, page_of: Callable[[str], Awaitable[list[Head]]]) -> _Answer:
    storage = manager(store).storage
    heads, counts, questions = await asyncio.gather(
        page_of(store),
        storage.count_by_status(query),
        storage.count_by_status(replace(query, questions=True)),
    )
    return _Answer(heads, counts, sum(questions.values()))


def in_order(found: Iterable[Found], query: HeadQuery) -> list[Found]:
    """As each store orders: by the value, None lowest, ties by session id, ascending."""
    ordered = sorted(found, key=lambda row: (row.head.session_id, row.store))
    ordered.sort(key=lambda row: _order(query.sort_value(row.head)), reverse=query.descending)
    return ordered


def _order(value: Any) -> tuple[bool, Any]:
    return (value is not None, value if value is not None else 0)


def _fill(listing: Listing, ordered: list[Found], query: HeadQuery) -> None:
    end = _end_of_page(ordered, query)
    listing.rows = ordered[:end]
    if len(ordered) > end:
        listing.next_trail = (*listing.asked.trail, write_cursor(ordered[end - 1].head, query))


def _end_of_page(ordered: list[Found], query: HeadQuery) -> int:
    """A page does not part sessions of one id and value in two stores: a cursor could not tell them apart."""
    end = min(PAGE_SIZE, len(ordered))
    while 0 < end < len(ordered) and query.cursor(ordered[end].head) == query.cursor(ordered[end - 1].head):
        end += 1
    return end
