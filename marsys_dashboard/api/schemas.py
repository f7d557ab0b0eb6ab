"""What the HTTP API takes and answers. Times are ISO 8601 with their offset, durations seconds."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.urls import reverse
from ninja import Field, Schema
from pydantic import AwareDatetime

from marsys_dashboard.acts import Availability, permission_of
from marsys_dashboard.forms import LONGEST_REASON
from marsys_dashboard.listing import DEFAULT_SORT
from marsys_dashboard.permissions import PERMISSIONS
from state_core.events import Event
from state_core.records import Checkpoint, Head, Question, SessionStatus
from state_core.storage.base import SORTS

LARGEST = 10**15 - 1
"""Of numbers of events: beyond it not every language has each of them as a number of JSON."""
OF_SESSION = "sessions/{store:store}/{session_id:session_id}"
"""Where the addresses of one session begin."""


def one_of(values: Iterable[str]) -> dict[str, Any]:
    """For the document: what else is refused by a sentence of its own."""
    return {"enum": list(map(str, values))}


class Problem(Schema):
    """What went wrong (RFC 9457)."""

    type: str = Field(description="Address of what this status means here.")
    title: str
    status: int
    detail: str = Field(description="What is the matter, and what helps.")
    errors: list[dict[str, str]] | None = Field(
        None, description="Of a request that does not fit: `field` and `detail`, each."
    )


class Store(Schema):
    name: str
    url: str = Field(description="Its sessions.")


class Session(Schema):
    """A session without its history."""

    store: str
    session_id: str
    title: str
    workflow: str
    status: str
    seq: int = Field(description="Number of its last event.")
    first_seq: int = Field(description="Number of the first event that is kept.")
    tags: list[str]
    agents: list[str] = Field(description="At work now.")
    owner: str = Field(description="Who runs it, or empty.")
    reason: str
    error: str
    origin: str = Field(description="Of a fork: `<session id>@<seq>`.")
    created_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    updated_at: datetime | None
    duration: float = Field(description="From start to end, or to now while it lasts. Seconds.")
    counts: dict[str, int]
    url: str
    page: str = Field(description="Its page in the dashboard.")


class Sessions(Schema):
    sessions: list[Session]
    counts: dict[str, int] = Field(description="By status: those that match all but the statuses asked for.")
    questions: int = Field(description="Of these, how many have an open question.")
    problems: dict[str, str] = Field(description="Store → why its sessions are missing.")
    next: str | None = Field(description="Address of the next page.")


class SessionFilter(Schema):
    """The same words as in the address of the dashboard's list."""

    status: list[str] = Field(
        [],
        description="One or more statuses.",
        json_schema_extra={"items": {"type": "string", **one_of(SessionStatus)}},
    )
    q: str = Field("", description="Part of its id, title or workflow.")
    tag: str = Field("", description="One of its tags.")
    store: str = Field("", description="One store; all where it is left out.")
    questions: str = Field(
        "", description="`1`: only those with an open question.", json_schema_extra=one_of(["", "1"])
    )
    agent: str = Field("", description="At work now, or having begun a step.")
    owner: str = Field("", description="Who runs it.")
    error: str = Field("", description="Part of its error.")
    since: str = Field("", description="Last event since: `24h`, `7d`, or a moment (ISO 8601).")
    until: str = Field("", description="Last event before.")
    longer: str = Field("", description="Has lasted at least so long: `90s`, `2h`.")
    shorter: str = Field("", description="Has lasted at most so long.")
    sort: str = Field(
        DEFAULT_SORT,
        description="A field; with `-` before it, descending.",
        json_schema_extra=one_of(f"{order}{field}" for field in SORTS for order in ("", "-")),
    )
    after: str = Field("", description="Where the page begins, from `next` of the one before.")


class Act(Schema):
    """Something that can be done to a session, and whether this caller can have it done now."""

    verb: str
    title: str
    allowed: bool
    why_not: str
    permission: str
    reason_required: bool
    url: str


class SessionWithActs(Session):
    acts: list[Act]
    unreadable: str = Field(description="Why its content cannot be read here, or empty.")


class EventOut(Schema):
    """A fact in a session's log."""

    seq: int
    kind: str
    at: datetime
    actor: str
    branch_id: str
    step_id: str
    agent: str
    status: str = Field(description="Of its branch or step after it, where it has one.")
    duration: float | None
    size: int = Field(description="By how many bytes the content of the state grew.")
    data: dict[str, Any]
    changes: list[list[Any]] | None = Field(None, description="What it changed, where that was asked for.")


class Events(Schema):
    events: list[EventOut]
    seq: int = Field(description="Number of the session's last event.")
    first_seq: int = Field(description="Number of the first event that is kept.")
    status: str = Field(description="Of the session now.")
    next: str = Field(description="Address of what follows; it waits as this one did.")


class CheckpointOut(Schema):
    id: str
    name: str
    seq: int
    kind: str
    actor: str
    reason: str
    pinned: bool
    created_at: datetime
    size_bytes: int
    counts: dict[str, int]


class QuestionOut(Schema):
    question_id: str
    prompt: Any
    branch_id: str | None
    step_id: str | None
    agent: str | None
    answer_schema: dict[str, Any] | None = Field(
        None, alias="schema", description="JSON Schema that the answer must satisfy."
    )
    choices: list[Any] | None
    asked_at: datetime | None


class ActPreview(Act):
    """What will follow, and what is needed."""

    status: str
    becomes: str = Field(description="The statuses that follow, in words.")
    consequences: list[str]
    takes: list[str] = Field(description="Fields that may be sent.")
    needs: list[str] = Field(description="Those that must be sent.")
    checkpoints: list[CheckpointOut] = Field(description="That can be chosen; of many, the newest.")
    questions: list[QuestionOut] = Field(description="The open ones, the one that waits longest first.")


class Sent(Schema):
    """What is sent with an act. Each takes some of these; its preview says which."""

    model_config = {"extra": "forbid"}

    reason: str = Field("", max_length=LONGEST_REASON, description="Kept in the log.")
    name: str = Field("", description="Of the checkpoint that is saved.")
    checkpoint: str = Field("", description="Id of the one to restore, or to fork from.")
    question: str = Field("", description="Id of the one that is answered.")
    asked_at: AwareDatetime | None = Field(
        None, description="Its own: refuse with 409 where it was asked anew since."
    )
    answer: Any = Field(None, description="As the question's choices or schema ask for it.")
    context: dict[str, Any] = Field({}, description="Merged into the session's context when it is resumed.")
    edited: dict[str, Any] | None = Field(
        None, description="The whole context as it is to be when it is resumed; needs `expected_seq`."
    )
    seq: int | None = Field(
        None, ge=0, le=LARGEST, description="The event to fork from, where that is no checkpoint."
    )
    new_session_id: str = Field("", description="Of the fork; one is made where it is left out.")
    confirm: str = Field("", description="The session's id, to delete it.")
    expected_seq: int | None = Field(
        None,
        ge=0,
        le=LARGEST,
        description="Refuse with 409 where this is not the session's last event any more.",
    )


class ActDone(Schema):
    message: str
    session: Session | None = Field(
        description="As it stands now; of a fork, the new one; null where it is deleted."
    )


def session_of(store: str, head: Head) -> dict[str, Any]:
    args = [store, head.session_id]
    return {
        **{name: getattr(head, name) for name in Session.model_fields if hasattr(head, name)},
        "store": store,
        "status": str(head.status),
        "seq": head.last_seq,
        "duration": head.duration_seconds,
        "url": reverse("api:session", args=args),
        "page": reverse("session", args=args),
    }


def act_of(store: str, head: Head, act: Availability) -> dict[str, Any]:
    return {
        "verb": act.verb,
        "title": act.action.title.format(name="…"),
        "allowed": act.allowed,
        "why_not": act.why_not,
        "permission": PERMISSIONS[permission_of(act.action)],
        "reason_required": act.action.reason_required,
        "url": reverse("api:act", args=[store, head.session_id, act.verb]),
    }


def checkpoint_of(checkpoint: Checkpoint) -> dict[str, Any]:
    return {name: getattr(checkpoint, name) for name in CheckpointOut.model_fields} | {
        "kind": str(checkpoint.kind)
    }


def question_of(question: Question) -> dict[str, Any]:
    names = (name for name in QuestionOut.model_fields if name != "answer_schema")
    return {name: getattr(question, name) for name in names} | {"schema": question.schema}


def event_of(event: Event, *, with_changes: bool) -> dict[str, Any]:
    facts = {name: getattr(event, name) for name in EventOut.model_fields if name != "changes"}
    return {**facts, "kind": str(event.kind), "changes": event.changes if with_changes else None}
