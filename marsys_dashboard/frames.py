"""Frames: what a browser is told of a session, encoded once for everybody who watches it.

A frame says "these are the events after ``after``, up to ``seq``". Its rows show the present state of
whatever those events touched, so that applying one twice, or late, does no harm. Where they touched more than
a page keeps, the newest rows are in it, and how many are not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from django.template.loader import render_to_string

from marsys_dashboard.contents import Contents
from marsys_dashboard.outlines import MESSAGE_KINDS, QUESTION_KINDS, STEP_KINDS, Outline, Place, StepKey
from marsys_dashboard.rows import Row, checkpoint_row, log_row, message_rows, question_row, step_row
from marsys_dashboard.standing import standing
from state_core.events import EventKind, Header
from state_core.fold import open_questions
from state_core.records import Checkpoint, Document, Head, show_time, utc_now

CHECKPOINT_KINDS = frozenset(
    {
        EventKind.CHECKPOINT_CREATED,
        EventKind.CHECKPOINT_RENAMED,
        EventKind.CHECKPOINT_PINNED,
        EventKind.CHECKPOINT_DELETED,
    }
)
NEWEST_ROWS = 80
"""Rows of one list in a frame at most, as many as a page keeps; besides them, those of steps that had begun
before."""
BACKWARDS = frozenset({EventKind.SESSION_RESTORED, EventKind.SESSION_SAVED})
"""After these a page asks for its panels anew: rows that it shows may not count any more."""


@dataclass(frozen=True, slots=True)
class Frame:
    """``text`` is JSON, ready to be sent; ``after`` and ``seq`` say where it fits."""

    after: int
    seq: int
    text: str
    status: str = ""
    """Of the session at ``seq``."""


@dataclass(frozen=True, slots=True)
class Beat:
    """What a frame is made of."""

    store: str
    head: Head
    outline: Outline
    events: Sequence[Header]
    contents: Contents
    checkpoints: Sequence[Checkpoint]
    """Of the session now; needed only where the events touch them."""


def encode(value: Mapping[str, Any]) -> str:
    return orjson.dumps(value, default=str).decode()


def session_frame(beat: Beat, after: int, seq: int) -> Frame:
    document = beat.outline.document
    shown = shown_of(beat.events)
    message = {
        "type": "frame",
        "store": beat.store,
        "session": beat.head.session_id,
        "after": after,
        "seq": seq,
        "last": beat.outline.seq,
        "at": show_time(utc_now()),
        "reset": any(event.kind in BACKWARDS for event in beat.events),
        "status": document["status"],
        "head": head_values(beat.head, document),
        "header_html": header_html(beat.store, beat.head, document),
        "events": [event_values(event) for event in beat.events],
        "rows": _rows(beat, shown),
        "omitted": shown.omitted,
    }
    return Frame(after, seq, encode(message), document["status"])


def header_html(store: str, head: Head, document: Document) -> str:
    return render_to_string("session/_standing.html", header_values(store, head, document))


def header_values(store: str, head: Head, document: Document) -> dict[str, Any]:
    return {
        "store": store,
        "head": head,
        "counts": head.counts,
        "status": document["status"],
        "standing": standing(document, head),
    }


def head_values(head: Head, document: Document) -> dict[str, Any]:
    """The head as JSON; the status is the outline's, so that it fits the frame's seq."""
    return {
        "status": document["status"],
        "reason": head.reason,
        "error": head.error,
        "title": head.title,
        "workflow": head.workflow,
        "agents": head.agents,
        "owner": head.owner,
        "lease_expires_at": show_time(head.lease_expires_at),
        "created_at": show_time(head.created_at),
        "started_at": show_time(head.started_at),
        "ended_at": show_time(head.ended_at),
        "updated_at": show_time(head.updated_at),
        "counts": head.counts,
    }


def event_values(event: Header) -> dict[str, Any]:
    return {
        "seq": event.seq,
        "kind": str(event.kind),
        "at": show_time(event.at),
        "actor": event.actor,
        "branch": event.branch_id,
        "step": event.step_id,
        "agent": event.agent,
        "status": event.status,
        "duration": event.duration,
        "data": dict(event.data),
    }


@dataclass(frozen=True, slots=True)
class Shown:
    """What of a frame's events has a row in it."""

    steps: list[StepKey]
    messages: list[Header]
    log: Sequence[Header]
    checkpoints: list[str]
    """Ids."""
    omitted: dict[str, int]
    """List → how many more rows its events touched."""


def shown_of(events: Sequence[Header]) -> Shown:
    begun = {_step_key(event) for event in events if event.kind == EventKind.STEP_STARTED}
    touched = dict.fromkeys(_step_key(event) for event in events if event.kind in STEP_KINDS)
    before = [key for key in touched if key not in begun]
    steps = [key for key in touched if key in begun]
    messages = [event for event in events if event.kind in MESSAGE_KINDS]
    made, others = _checkpoint_ids(events)
    found = {"steps": len(steps), "messages": len(messages), "log": len(events), "checkpoints": len(made)}
    return Shown(
        [*before, *steps[-NEWEST_ROWS:]],
        messages[-NEWEST_ROWS:],
        events[-NEWEST_ROWS:],
        [*others, *made[-NEWEST_ROWS:]],
        {name: count - NEWEST_ROWS for name, count in found.items() if count > NEWEST_ROWS},
    )


def _checkpoint_ids(events: Sequence[Header]) -> tuple[list[str], list[str]]:
    """Of those that were made and are not deleted again, and of the others that events touch."""
    touched: dict[str, EventKind | str] = {}
    for event in events:
        if event.kind in CHECKPOINT_KINDS:
            for each in event.data.get("ids") or [event.data["id"]]:
                is_new = touched.get(each) == EventKind.CHECKPOINT_CREATED
                gone = event.kind == EventKind.CHECKPOINT_DELETED
                touched[each] = EventKind.CHECKPOINT_CREATED if is_new and not gone else event.kind
    made = [i for i, kind in touched.items() if kind == EventKind.CHECKPOINT_CREATED]
    return made, [i for i, kind in touched.items() if kind != EventKind.CHECKPOINT_CREATED]


def _step_key(event: Header) -> StepKey:
    return event.branch_id, event.step_id


def content_places(events: Sequence[Header]) -> list[Place]:
    """The events whose bodies a frame needs."""
    shown = shown_of(events)
    steps = set(shown.steps)
    needed = [
        event
        for event in events
        if event.kind in QUESTION_KINDS or (event.kind in STEP_KINDS and _step_key(event) in steps)
    ]
    return [Place(event.seq, event.kind, event.branch_id, event.size) for event in [*needed, *shown.messages]]


def _rows(beat: Beat, shown: Shown) -> dict[str, list[dict[str, Any]]]:
    return {
        "steps": [row.as_json() for row in _step_rows(beat, shown)],
        "messages": [row.as_json() for row in _message_rows(beat, shown)],
        "log": [log_row(beat.outline, event).as_json() for event in shown.log],
        "checkpoints": _checkpoints(beat, shown),
        "questions": _questions(beat),
    }


def _step_rows(beat: Beat, shown: Shown) -> list[Row]:
    return [step_row(beat.outline, key, beat.contents) for key in shown.steps if beat.outline.step(key)]


def _message_rows(beat: Beat, shown: Shown) -> list[Row]:
    return [
        row
        for event in shown.messages
        for row in message_rows(
            beat.outline,
            Place(event.seq, event.kind, event.branch_id, event.size),
            beat.contents.get(event.seq),
        )
    ]


def _checkpoints(beat: Beat, shown: Shown) -> list[dict[str, Any]]:
    """Those that the events touch; without HTML where they are gone."""
    present = {checkpoint.id: checkpoint for checkpoint in beat.checkpoints}
    return [
        checkpoint_row(present[i]).as_json() if i in present else {"key": i, "html": None}
        for i in shown.checkpoints
    ]


def _questions(beat: Beat) -> list[dict[str, Any]]:
    """Those that were asked or answered; without HTML where they are open no more."""
    touched = dict.fromkeys(e.data["question"] for e in beat.events if e.kind in QUESTION_KINDS)
    still_open = {question["question_id"]: question for question in open_questions(beat.outline.document)}
    return [_question(beat, i, still_open.get(i)) for i in touched]


def _question(beat: Beat, question_id: str, question: Document | None) -> dict[str, Any]:
    if question is None:
        return {"key": question_id, "html": None}
    place = beat.outline.questions[question_id]
    return question_row(beat.outline, question, beat.contents.get(place.seq)).as_json()


# What is not about events


def pulse(seq: int, status: str = "") -> str:
    """Says that the line is good, how far the session is, and how it stands there."""
    return encode({"type": "pulse", "seq": seq, "status": status, "at": show_time(utc_now())})


def store_away(message: str) -> str:
    return encode({"type": "store", "reachable": False, "message": message, "at": show_time(utc_now())})


def store_back() -> str:
    return encode({"type": "store", "reachable": True, "at": show_time(utc_now())})


def trouble(message: str) -> str:
    """What is wrong with this session alone."""
    return encode({"type": "trouble", "message": message, "at": show_time(utc_now())})


def gone() -> str:
    return encode(
        {
            "type": "gone",
            "message": "This session was deleted. Reload the page to see by whom.",
            "at": show_time(utc_now()),
        }
    )


def presence(people: Sequence[str], more: int) -> str:
    """Who looks at the session, and how many beside those."""
    return encode({"type": "presence", "people": people, "more": more, "at": show_time(utc_now())})


def needs(count: int, more: bool, proposals: str) -> str:
    """How much waits for a person, over all sessions. ``more``: and more than was counted. ``proposals``:
    another text as soon as other changes wait for approval."""
    told = {"type": "needs", "count": count, "more": more, "proposals": proposals}
    return encode({**told, "at": show_time(utc_now())})


LIST_BEGINS = '{"type":"list"'


def missed() -> str:
    """Something happened while the list rested."""
    return encode({"type": "missed", "at": show_time(utc_now())})


def list_frame(
    rows: Sequence[Mapping[str, Any]],
    counts: Mapping[str, int] | None = None,
    questions: int | None = None,
    *,
    gone: Sequence[Mapping[str, str]] = (),
) -> str:
    """``counts``: per status, where they were counted anew; ``questions``: how many of all sessions have an
    open one, then, too. ``gone``: sessions that were deleted."""
    return encode(
        {
            "type": "list",
            "rows": rows,
            "gone": gone,
            "counts": counts,
            "questions": questions,
            "at": show_time(utc_now()),
        }
    )
