"""Search inside a session: messages, inputs, outputs, errors, questions and answers, the newest first.

Content is read from the log, opened with the store's key where it is encrypted, and compared without regard
to case. A search is bounded: it says where it stopped, and goes on from there when asked.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Any

from marsys_dashboard.contents import READ_BYTES, Unread, open_or_say_why
from marsys_dashboard.outlines import STEP_KINDS
from marsys_dashboard.panels import View
from state_core.events import Event, EventKind, EventRecord

KINDS = STEP_KINDS | {
    EventKind.MESSAGE_ADDED,
    EventKind.MEMORY_REWRITTEN,
    EventKind.INPUT_REQUESTED,
    EventKind.INPUT_ANSWERED,
    EventKind.SESSION_FORKED,
}
PAGE = 500
"""Events read at once."""
MOST_HITS = 50
MOST_EVENTS = 20_000
MOST_SECONDS = 2.0
LONGEST = 200
"""Characters of what is searched for."""
AROUND = 70
"""Characters that are shown on either side of a hit."""
FIRST_VALUES = 3
"""Of an object, that are told beside its name."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A value that holds what is searched for, and where it stands."""

    seq: int
    at: Any
    what: str
    """``message``, ``input``, ``output``, ``error``, ``question`` …"""
    branch_id: str
    branch_name: str
    step_id: str
    agent: str
    before: str
    found: str
    after: str
    counts: bool
    """Is it still part of the session, or was it set aside by a restore?"""


@dataclass
class Search:
    """What was found so far."""

    text: str
    hits: list[Hit] = field(default_factory=list)
    events: int = 0
    """Looked through."""
    unread: int = 0
    """Events whose content could not be read here, or is too large to be looked through."""
    why_unread: str = ""
    reached: int = 0
    """The oldest event that was looked at."""
    stopped: bool = False
    """There are older ones: it can go on before ``reached``."""

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        return re.compile(re.escape(self.text), re.IGNORECASE)


async def search(view: View) -> dict[str, Any]:
    text = view.choice.text.strip()
    if not text:
        return {"search": None, "text": ""}
    found = Search(text)
    deadline = time.monotonic() + MOST_SECONDS
    before = min(view.choice.before or view.outline.seq + 1, view.outline.seq + 1)
    while True:
        records = await view.manager.storage.read_events(
            view.session_id, before=before, limit=PAGE + 1, kinds=KINDS, newest_first=True
        )
        are_older = _look_through(view, records, found)
        is_much = found.events >= MOST_EVENTS or time.monotonic() > deadline
        if not are_older or is_much or len(found.hits) >= MOST_HITS:
            found.stopped = are_older
            return {"search": found, "text": text}
        before = found.reached


def _look_through(view: View, records: Sequence[EventRecord], found: Search) -> bool:
    """A page, until enough is found; are there older ones behind it?"""
    for number, record in enumerate(records[:PAGE], start=1):
        _look(view, record, found)
        if len(found.hits) >= MOST_HITS:
            return number < len(records)
    return len(records) > PAGE


def _look(view: View, record: EventRecord, found: Search) -> None:
    found.events += 1
    found.reached = record.seq
    event = Unread("too large to be searched") if abs(record.size) > READ_BYTES else _opened(view, record)
    if isinstance(event, Unread):
        found.unread += 1
        found.why_unread = event.why
        return
    for value in _values(event):
        hit = _hit(view, event, value, found.pattern)
        if hit:
            found.hits.append(hit)


def _opened(view: View, record: EventRecord) -> Event | Unread:
    return open_or_say_why(view.manager, view.session_id, record)


@dataclass(frozen=True, slots=True)
class Content:
    """Something that an event adds, and of what it is."""

    what: str
    value: Any
    branch_id: str
    step_id: str
    agent: str


def _values(event: Event) -> Iterator[Content]:
    here = event.branch_id, event.step_id, event.agent
    for operation, path, *rest in event.changes:
        if operation == "append":
            yield from _messages(rest[0], *here)
        elif operation == "set" and not path:
            yield from _carried(rest[0])
        elif operation == "set" and path[0] == "questions":
            yield Content("answer" if event.kind == EventKind.INPUT_ANSWERED else "question", rest[0], *here)
        elif operation == "set":
            yield Content(str(path[-1]), rest[0], *here)


def _messages(items: Sequence[Any], branch_id: str, step_id: str, agent: str) -> Iterator[Content]:
    for item in items:
        if isinstance(item, Mapping):
            yield Content("message", item.get("content"), branch_id, step_id, item.get("agent") or agent)


def _carried(state: Mapping[str, Any]) -> Iterator[Content]:
    """A fork begins with all that its origin held."""
    for branch_id, branch in state.get("branches", {}).items():
        yield from _messages(branch["memory"], branch_id, "", "")
        for step_id, step in branch["steps"].items():
            for name in ("input", "output", "error"):
                yield Content(name, step[name], branch_id, step_id, step["agent"] or "")


def _hit(view: View, event: Event, content: Content, pattern: re.Pattern[str]) -> Hit | None:
    """The first place in it; a value is shown once however often it holds the text."""
    branch = view.document["branches"].get(content.branch_id) or {}
    for text in _texts(content.value):
        place = pattern.search(text)
        if place:
            return Hit(
                seq=event.seq,
                at=event.at,
                what=content.what,
                branch_id=content.branch_id,
                branch_name=branch.get("name") or content.branch_id,
                step_id=content.step_id,
                agent=content.agent,
                before=_before(text, place.start()),
                found=place[0],
                after=_after(text, place.end()),
                counts=_counts(view, event),
            )
    return None


def _before(text: str, place: int) -> str:
    start = max(0, place - AROUND)
    return ("…" if start else "") + text[start:place]


def _after(text: str, place: int) -> str:
    end = place + AROUND
    return text[place:end] + ("…" if len(text) > end else "")


def _texts(value: Any) -> Iterator[str]:
    """Every text in a value; a name with what is called so."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            told = _told(inner)
            yield f"{name}: {told}" if told else str(name)
            if isinstance(inner, Mapping | list):
                yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
    elif value is not None and not isinstance(value, bool):
        yield str(value)


def _told(value: Any) -> str:
    """A text as it is, the beginning of an object, nothing of a list, anything else as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return ""
    if not isinstance(value, Mapping):
        return json.dumps(value)
    simple = ((name, inner) for name, inner in value.items() if not isinstance(inner, Mapping | list))
    return ", ".join(f"{name}: {_told(inner)[:AROUND]}" for name, inner in islice(simple, FIRST_VALUES))


def _counts(view: View, event: Event) -> bool:
    if event.step_id and event.kind in STEP_KINDS:
        return (event.branch_id, event.step_id) in view.outline.steps
    if event.kind == EventKind.MESSAGE_ADDED:
        return view.outline.has_message(event.seq)
    return not event.branch_id or event.branch_id in view.document["branches"]
