"""The parts of a session's page: each reads what it shows and no more."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from marsys_dashboard import checkpoint_windows
from marsys_dashboard.contents import (
    SHOWN,
    SHOWN_AT_MOST,
    Text,
    Unread,
    as_text,
    messages_in,
    read_contents,
    read_one,
    whole_step,
)
from marsys_dashboard.frames import header_values
from marsys_dashboard.outlines import MESSAGE_KINDS, Outline, Place, StepKey
from marsys_dashboard.rows import Row, checkpoint_row, log_row, message_rows, question_row, step_row
from state_core.changes import json_size
from state_core.exceptions import DamagedError, EncryptionKeyError
from state_core.fold import open_questions
from state_core.manager import StateManager
from state_core.orchestra.agents import handed_on
from state_core.records import ENDED, Document, Head, parse_time

WINDOW = 50
"""Rows of one window: first paint shows the newest, "load earlier" the one before."""
SIDE_MESSAGES = 20
MOST_AGENTS = 200
"""Agents that can be chosen from."""
MOST_QUESTIONS = 20
"""Open questions that stand over the page at once."""
STATE_VALUES = 500
"""Values of the state that one page lists."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What of the session is asked for."""

    branch: str = ""
    step: str = ""
    agent: str = ""
    """Whose messages are to be shown."""
    before: int | None = None
    around: int | None = None
    """An event that is to be in the window of messages."""
    everything: bool = False
    text: str = ""
    """What is searched for."""
    active: bool = False
    """Only steps that are under way?"""
    message: str = ""
    """An event and the number of a message in it, as ``412-0``."""
    checkpoint: str = ""
    """One that is to be in the window of checkpoints."""
    aside: bool = False
    """Is the list the short one that stands beside the charts?"""


@dataclass(frozen=True, slots=True)
class View:
    store: str
    manager: StateManager
    session_id: str
    head: Head
    outline: Outline
    choice: Choice = field(default_factory=Choice)
    at: int | None = None
    """The event as of which everything is shown; None for the present."""
    now: int = 0
    """The last event that there is."""

    @property
    def document(self) -> Document:
        return self.outline.document

    @property
    def branch(self) -> Document | None:
        found: Document | None = self.document["branches"].get(self.choice.branch)
        return found

    @property
    def context(self) -> dict[str, Any]:
        return {
            "store": self.store,
            "session_id": self.session_id,
            "head": self.head,
            "status": self.document["status"],
            "choice": self.choice,
            "at": self.at,
            "at_time": parse_time(self.document["updated_at"]),
            "branch": self.branch,
        }


def _window(rows: list[Row], earlier: bool) -> dict[str, Any]:
    """``earlier``: is there a window before this one? It ends before event ``before``."""
    return {"rows": rows, "earlier": earlier, "before": int(rows[0].place) if rows else 0}


async def steps(view: View) -> dict[str, Any]:
    """The newest; where a step is selected that is older than those, the ones around it."""
    keys, earlier, later = _steps_in_sight(view)
    return {**_window(await _step_rows(view, keys), earlier), "later": later}


def _steps_in_sight(view: View) -> tuple[list[StepKey], bool, bool]:
    choice, outline = view.choice, view.outline
    keys = outline.newest_steps(
        branch_id=choice.branch, active=choice.active, before=choice.before, limit=WINDOW + 1
    )
    newest, selected = keys[-WINDOW:], _selected_step(view)
    if choice.active or choice.before or selected in newest or selected not in outline.steps:
        return newest, len(keys) > WINDOW, False
    return outline.steps_around(selected, branch_id=choice.branch, limit=WINDOW)


async def _step_rows(view: View, keys: Iterable[StepKey]) -> list[Row]:
    chosen = list(keys)
    places = [place for key in chosen for place in view.outline.steps[key]]
    contents = await read_contents(view.manager, view.session_id, places, view.choice.branch)
    return [step_row(view.outline, key, contents) for key in chosen]


async def messages(view: View, limit: int = WINDOW) -> dict[str, Any]:
    shown, earlier, later = _messages_in_sight(view, limit)
    own = [place for place in shown if place.kind in MESSAGE_KINDS]
    contents = await read_contents(view.manager, view.session_id, own, view.choice.branch)
    rows = [row for place in shown for row in message_rows(view.outline, place, contents.get(place.seq))]
    if view.choice.agent:
        rows = [row for row in rows if view.choice.agent in (row.values["agent"], "") or row.values["note"]]
    return {**_window(rows, earlier), "later": later}


async def conversations(view: View) -> dict[str, Any]:
    """The messages of all, of a branch, or of an agent."""
    return {**await messages(view), "agents": sorted(view.outline.message_agents().items())[:MOST_AGENTS]}


def _messages_in_sight(view: View, limit: int) -> tuple[list[Place], bool, bool]:
    choice, outline = view.choice, view.outline
    if choice.around:
        return outline.messages_around(
            choice.around, branch_id=choice.branch, agent=choice.agent, limit=limit
        )
    places = outline.newest_messages(
        branch_id=choice.branch, agent=choice.agent, before=choice.before, limit=limit + 1
    )
    return places[-limit:], len(places) > limit, False


async def log(view: View) -> dict[str, Any]:
    """The whole log, whatever was restored since: it is the record of what happened."""
    before = min(view.choice.before or view.outline.seq + 1, view.outline.seq + 1)
    events = await view.manager.log.read(
        view.session_id,
        before=before,
        limit=WINDOW + 1,
        branch_id=view.choice.branch or None,
        bodies=False,
        newest_first=True,
    )
    return _window(
        [log_row(view.outline, event) for event in reversed(events[:WINDOW])], len(events) > WINDOW
    )


async def checkpoints(view: View) -> dict[str, Any]:
    """Newest first, whatever event is looked at."""
    found = await view.manager.list_checkpoints(view.session_id)
    shown = checkpoint_windows.window(
        found,
        before=view.choice.before,
        around=view.choice.checkpoint,
        limit=checkpoint_windows.SIDE if view.choice.aside else checkpoint_windows.WINDOW,
    )
    rows = [checkpoint_row(checkpoint) for checkpoint in shown.checkpoints]
    return {
        "rows": rows,
        "earlier": shown.before is not None,
        "before": shown.before,
        "later": shown.is_later,
        "marks": checkpoint_windows.marks(found),
    }


async def questions(view: View) -> dict[str, Any]:
    """The open ones; of very many, those that have waited longest."""
    if view.document["status"] in ENDED:
        return {"rows": [], "more": 0}
    waiting = open_questions(view.document)
    still_open = {question["question_id"]: question for question in waiting[:MOST_QUESTIONS]}
    asked = {i: place for i, place in view.outline.questions.items() if i in still_open}
    contents = await read_contents(view.manager, view.session_id, asked.values())
    rows = [
        question_row(view.outline, question, contents.get(asked[i].seq) if i in asked else None)
        for i, question in still_open.items()
    ]
    return {"rows": rows, "more": len(waiting) - len(rows)}


# The inspector


async def side(view: View) -> dict[str, Any]:
    """Inspector and conversation of what is selected, and the newest checkpoints."""
    short = replace(view, choice=replace(view.choice, aside=True, before=None))
    return {
        "inspected": await inspector(view),
        "conversation": await conversation(view),
        "checkpoints": await checkpoints(short),
    }


async def inspector(view: View) -> dict[str, Any]:
    key = _selected_step(view)
    step = view.outline.step(key) if key else None
    if key is None or step is None:
        return {"branch": view.branch, "facts": _branch_facts(view.branch)}
    limit = SHOWN_AT_MOST if view.choice.everything else SHOWN
    try:
        whole = await whole_step(view.manager, view.session_id, view.outline, key)
        note = whole.get("unread", "")
    except (EncryptionKeyError, DamagedError) as error:
        whole, note = step, str(error)
    return {
        "branch": view.document["branches"][key[0]],
        "step": step,
        "started_at": parse_time(step["started_at"]),
        "note": note,
        "seqs": [place.seq for place in view.outline.steps.get(key, [])],
        "values": [
            ("Error", "error", as_text(whole.get("error"), limit)),
            ("Input", "input", as_text(whole.get("input"), limit)),
            _output(whole.get("output"), limit),
        ],
        "metadata": as_text(whole.get("metadata") or None, limit),
    }


def _output(value: Any, limit: int) -> tuple[str, str, Text]:
    handoff = handed_on(value)
    if handoff is None:
        return "Output", "output", as_text(value, limit)
    return f"Handed on to {handoff.agent}", "output", as_text(handoff.request, limit)


def _selected_step(view: View) -> StepKey | None:
    if not view.choice.step:
        return None
    if view.choice.branch:
        return view.choice.branch, view.choice.step
    return next((key for key in view.outline.steps if key[1] == view.choice.step), None)


def _branch_facts(branch: Document | None) -> Mapping[str, Any]:
    if branch is None:
        return {}
    listed = list(branch["steps"].values())
    return {
        "steps": len(listed),
        "failed": sum(step["status"] == "failed" for step in listed),
        "messages": branch["message_count"],
        "opened_at": parse_time(branch["opened_at"]),
        "ended_at": parse_time(branch["ended_at"]),
        "error": as_text(branch["error"], SHOWN),
    }


async def conversation(view: View) -> dict[str, Any]:
    """The messages of the selected branch; of the whole session where none is selected."""
    return {**await messages(view, SIDE_MESSAGES), "branch": view.branch}


async def message(view: View) -> dict[str, Any]:
    """One message, whole."""
    seq, _, index = view.choice.message.partition("-")
    if not (seq.isdecimal() and index.isdecimal()):
        return {"note": "There is no such message."}
    event = await read_one(view.manager, view.session_id, int(seq))
    if isinstance(event, Unread):
        return {"note": event.why}
    found = messages_in(event)[int(index) : int(index) + 1] if event else []
    if not found:
        return {"note": "There is no such message."}
    return {"seq": int(seq), "content": as_text(found[0].get("content"), SHOWN_AT_MOST)}


# The state


@dataclass(frozen=True, slots=True)
class Value:
    name: str
    size: int
    text: Text


async def state(view: View) -> dict[str, Any]:
    """Context, results, metadata and agents' memories, each value bounded."""
    try:
        document = await view.manager.log.document(view.session_id, view.outline.seq)
    except (EncryptionKeyError, DamagedError) as error:
        return {"note": str(error), "parts": []}
    limit = SHOWN_AT_MOST if view.choice.everything else SHOWN
    parts = (
        ("Context", "context", "None yet. What a program gives its session to know stands here."),
        ("Results", "intermediate_results", "None yet. What a program keeps of its findings stands here."),
        ("Metadata", "metadata", "None."),
        ("Agents' memories", "agent_memories", "None beside those of the branches, which Messages shows."),
    )
    return {
        "parts": [
            (label, _values(document[name], limit), len(document[name]), nothing)
            for label, name, nothing in parts
        ],
        "size": document["state_bytes"],
        "most": STATE_VALUES,
    }


def _values(values: Mapping[str, Any], limit: int) -> list[Value]:
    return [
        Value(name, json_size(value), as_text(value, limit))
        for name, value in list(values.items())[:STATE_VALUES]
    ]


async def standing(view: View) -> dict[str, Any]:
    return header_values(view.store, view.head, view.document)


async def _inspector_panel(view: View) -> dict[str, Any]:
    return {"inspected": await inspector(view)}


async def _conversation_panel(view: View) -> dict[str, Any]:
    return {"conversation": await conversation(view)}


PANELS: Mapping[str, Callable[[View], Awaitable[dict[str, Any]]]] = {
    "steps": steps,
    "messages": conversations,
    "log": log,
    "checkpoints": checkpoints,
    "questions": questions,
    "inspector": _inspector_panel,
    "conversation": _conversation_panel,
    "message": message,
    "state": state,
    "standing": standing,
}
