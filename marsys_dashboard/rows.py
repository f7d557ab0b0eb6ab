"""What the rows of a session page show; the same for first paint, "load earlier" and live frames."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any
from zlib import crc32

from django.template.loader import render_to_string

from marsys_dashboard import logwords
from marsys_dashboard.choices import in_words
from marsys_dashboard.contents import (
    MESSAGE_PREVIEW,
    NOTHING,
    PREVIEW,
    Contents,
    Text,
    Unread,
    as_text,
    messages_in,
    question_values,
    step_values,
)
from marsys_dashboard.outlines import CARRYING_KINDS, Outline, Place, StepKey
from marsys_dashboard.structure import structure
from state_core.events import Event, EventKind, Header
from state_core.orchestra.agents import handed_on
from state_core.records import Checkpoint, Document, parse_time

HUES = 8
"""Colours that tell speakers apart; their names do, too."""
MESSAGES_OF_EVENT = 200
"""Rows for one event at most."""


@dataclass(frozen=True, slots=True)
class Row:
    """``key`` finds the row again, ``place`` says where it stands among the others."""

    kind: str
    key: str
    place: float
    values: dict[str, Any]

    def html(self) -> str:
        return render_to_string(f"session/rows/{self.kind}.html", {"row": self, **self.values})

    def as_json(self) -> dict[str, Any]:
        return {"key": self.key, "place": self.place, "html": self.html()}


def step_row(outline: Outline, key: StepKey, contents: Contents) -> Row:
    branch = outline.document["branches"][key[0]]
    step = branch["steps"][key[1]]
    places = outline.steps.get(key, [])
    values, why = step_values(contents, places, key)
    shown = {
        "branch_id": key[0],
        "branch_name": branch["name"],
        "step": step,
        "started_at": parse_time(step["started_at"]),
        "preview": _step_preview(step, values, why),
    }
    return Row("step", "/".join(key), outline.began(key), shown)


def _step_preview(step: Document, values: Document, why: str) -> Text:
    if step["error"]:
        return as_text(str(step["error"]), PREVIEW, flat=True)
    for name in ("output", "input"):
        value = values.get(name, step[name])
        if value is not None:
            return _given(value)
    return Text("", 0, note=why) if why else NOTHING


def _given(value: Any) -> Text:
    """Where a step handed on, to whom, and what."""
    handoff = handed_on(value)
    if handoff is None:
        return as_text(value, PREVIEW, flat=True)
    request, to = as_text(handoff.request, PREVIEW, flat=True), f"to {handoff.agent[:PREVIEW]}: "
    return replace(request, text=to + request.text, length=len(to) + request.length)


def message_rows(outline: Outline, place: Place, content: Event | Unread | None) -> list[Row]:
    """A row for each message that an event adds; one for a memory that was rewritten."""
    if place.kind in CARRYING_KINDS:
        return _listed(outline, place, outline.document["branches"][place.branch_id]["memory"])
    if not isinstance(content, Event):
        note = content.why if content else ""
        return [_message_row(outline, place, 0, {"role": "", "content": None}, note=note)]
    if place.kind == EventKind.MEMORY_REWRITTEN:
        return [_message_row(outline, place, 0, {"at": content.at}, rewritten=logwords.detail(content))]
    given = {"agent": content.agent, "at": content.at}
    return _listed(outline, place, [{**given, **message} for message in messages_in(content)])


def _listed(outline: Outline, place: Place, messages: list[Document]) -> list[Row]:
    """The last of many, and how many there are before them."""
    first = max(0, len(messages) - MESSAGES_OF_EVENT)
    rows = [
        _message_row(outline, place, index, message)
        for index, message in enumerate(messages[first:], start=first)
    ]
    if first:
        note = f"{first} earlier messages came with the same event; download the state to read them."
        rows.insert(0, _message_row(outline, place, first - 1, {}, note=note))
    return rows


def _message_row(
    outline: Outline, place: Place, index: int, message: Document, *, note: str = "", rewritten: str = ""
) -> Row:
    branch = outline.document["branches"].get(place.branch_id)
    who = message.get("agent") or message.get("name") or message.get("role") or ""
    values = {
        "seq": place.seq,
        "index": index,
        "branch_id": place.branch_id,
        "branch_name": branch["name"] if branch else "",
        "who": who,
        "agent": message.get("agent") or "",
        "initial": initial(who),
        "hue": crc32(who.encode("utf-8", "replace")) % HUES,
        "role": message.get("role", ""),
        "name": message.get("name") or "",
        "at": parse_time(message.get("created_at")) or message.get("at"),
        "content": as_text(message.get("content"), MESSAGE_PREVIEW),
        "structure": structure(message.get("content")),
        "size": place.size,
        "note": note,
        "rewritten": rewritten,
    }
    return Row("message", f"{place.seq}-{index}", place.seq + index / 1_000_000, values)


def initial(name: str) -> str:
    """``R`` of Researcher, ``R2`` of Researcher-2."""
    number = _NUMBER.search(name)
    return name[:1].upper() + (number[0] if number and len(name) > len(number[0]) else "")


_NUMBER = re.compile(r"\d{1,2}$")


def log_row(outline: Outline, event: Header) -> Row:
    values = {
        "event": event,
        "about": about(outline, event),
        "title": logwords.title(event.kind),
        "detail": logwords.detail(event),
        "tone": logwords.tone(event),
    }
    return Row("log", str(event.seq), event.seq, values)


def about(outline: Outline, event: Header) -> str:
    """Whose event it is: an agent's, or a branch's."""
    branch = outline.document["branches"].get(event.branch_id) or {}
    return event.agent or branch.get("name") or event.branch_id


def checkpoint_row(checkpoint: Checkpoint) -> Row:
    return Row("checkpoint", checkpoint.id, checkpoint.seq, {"checkpoint": checkpoint})


def question_row(outline: Outline, question: Document, content: Event | Unread | None) -> Row:
    values = question_values(content) if isinstance(content, Event) else {}
    branch = outline.document["branches"].get(question["branch_id"]) or {}
    shown = {
        "question": question,
        "asked_at": parse_time(question["asked_at"]),
        "branch_name": branch.get("name", ""),
        "prompt": as_text(values.get("prompt", question["prompt"]), MESSAGE_PREVIEW),
        "choices": in_words(values.get("choices") or question["choices"] or []),
        "note": content.why if isinstance(content, Unread) else "",
    }
    place = outline.questions.get(question["question_id"])
    return Row("question", question["question_id"], place.seq if place else 0, shown)
