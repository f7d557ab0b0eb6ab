"""What is in a session: its state, branches, steps and messages, now or as of an event or a checkpoint."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Any
from urllib.parse import urlencode

import orjson
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from ninja import Query, Router

from marsys_dashboard.api.content_schemas import Branches, Messages, State, Step, Steps
from marsys_dashboard.api.schemas import LARGEST, OF_SESSION
from marsys_dashboard.contents import Contents, Unread, messages_in, read_contents, step_values, whole_step
from marsys_dashboard.managers import manager
from marsys_dashboard.outlines import CARRYING_KINDS, Outline, Place, StepKey
from marsys_dashboard.rows import MESSAGES_OF_EVENT
from marsys_dashboard.travel import asked_place, outline_at
from state_core.events import EventKind
from state_core.exceptions import NotFound, TooLarge
from state_core.manager import StateManager
from state_core.records import Document, Head

router = Router(tags=["Contents"])

LARGEST_STATE = 64_000_000
"""Bytes of a state that is told as a whole."""

At = Annotated[str, Query(description="An event's number, or a checkpoint's id; the present without it.")]
Before = Annotated[
    int | None, Query(ge=1, le=LARGEST, description="Only what began before this event; see `earlier`.")
]
OfBranch = Annotated[str, Query(max_length=128, description="Of this branch alone.")]
Page = Annotated[int, Query(ge=1, le=50, description="At most so many.")]


@dataclass(frozen=True)
class Looked:
    """A session as of the event that was asked for."""

    store: str
    manager: StateManager
    head: Head
    outline: Outline

    def href(self, name: str, **query: Any) -> str:
        """Without what was not asked for."""
        path = reverse(f"api:{name}", args=[self.store, self.head.session_id])
        return f"{path}?{urlencode({key: value for key, value in query.items() if value})}"

    async def read(self, places: Iterable[Place]) -> Contents:
        return await read_contents(self.manager, self.head.session_id, places)


async def _look(request: HttpRequest, store: str, session_id: str) -> Looked:
    of_store = manager(store)
    head = await of_store.get_head(session_id)
    at = await asked_place(request, of_store, head)
    return Looked(store, of_store, head, await outline_at(store, of_store, head, at))


@router.get(
    f"{OF_SESSION}/state",
    response=State,
    operation_id="get_state",
    summary="The whole state",
    url_name="state",
)
async def state(request: HttpRequest, store: str, session_id: str, at: At = "") -> HttpResponse:
    """Of a state that is too large to be told as a whole, ask for branches, steps and messages instead."""
    of_store = manager(store)
    head = await of_store.get_head(session_id)
    place = await asked_place(request, of_store, head)
    if head.counts["state_bytes"] > LARGEST_STATE:
        size, most = head.counts["state_bytes"] / 1e6, LARGEST_STATE / 1e6
        raise TooLarge(
            f"This state takes {size:.1f} MB; up to {most:.0f} MB are told as a whole. Ask for its branches, "
            "steps and messages instead."
        )
    found = await of_store.get_session_state(session_id, place)
    return HttpResponse(
        orjson.dumps(found.to_document()),
        content_type="application/json",
        headers={"Cache-Control": "private, no-store"},
    )


@router.get(
    f"{OF_SESSION}/branches",
    response=Branches,
    operation_id="list_branches",
    summary="Branches, without what is in them",
    url_name="branches",
)
async def branches(
    request: HttpRequest,
    store: str,
    session_id: str,
    at: At = "",
    after: Annotated[int, Query(ge=0, le=LARGEST, description="How many to leave out; see `next`.")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000, description="At most so many.")] = 200,
) -> dict[str, Any]:
    looked = await _look(request, store, session_id)
    known = looked.outline.document["branches"]
    upto = after + limit
    return {
        "branches": [_branch(branch) for branch in islice(known.values(), after, upto)],
        "seq": looked.outline.seq,
        "next": looked.href("branches", at=at, after=upto, limit=limit) if len(known) > upto else None,
    }


def _branch(branch: Document) -> dict[str, Any]:
    return {**branch, "steps": len(branch["steps"]), "messages": branch["message_count"]}


# Steps


@router.get(
    f"{OF_SESSION}/steps",
    response=Steps,
    operation_id="list_steps",
    summary="The newest steps, with what is short of their content",
    url_name="steps",
)
async def steps(
    request: HttpRequest,
    store: str,
    session_id: str,
    at: At = "",
    branch: OfBranch = "",
    active: Annotated[bool, Query(description="Only those under way.")] = False,
    before: Before = None,
    limit: Page = 50,
) -> dict[str, Any]:
    looked = await _look(request, store, session_id)
    outline = looked.outline
    keys = outline.newest_steps(branch_id=branch, active=active, before=before, limit=limit + 1)
    shown = keys[-limit:]
    contents = await looked.read(place for key in shown for place in outline.steps[key])
    asked = {"at": at, "branch": branch, "active": "true" if active else "", "limit": limit}
    is_more = len(keys) > limit
    return {
        "steps": [_step(looked, key, contents) for key in shown],
        "seq": outline.seq,
        "earlier": looked.href("steps", **asked, before=outline.began(shown[0])) if is_more else None,
    }


@router.get(
    f"{OF_SESSION}/steps/{{session_id:branch_id}}/{{path:step_id}}",
    response=Step,
    operation_id="get_step",
    summary="One step, with all of its content",
    url_name="step",
)
async def step(
    request: HttpRequest, store: str, session_id: str, branch_id: str, step_id: str, at: At = ""
) -> dict[str, Any]:
    looked = await _look(request, store, session_id)
    key = (branch_id, step_id)
    if looked.outline.step(key) is None:
        raise NotFound(f"Branch {branch_id!r} has no step {step_id[:128]!r}. List what is there under steps.")
    whole = await whole_step(looked.manager, session_id, looked.outline, key)
    return _told_step(looked, key, whole, whole.get("unread", ""))


def _step(looked: Looked, key: StepKey, contents: Contents) -> dict[str, Any]:
    values, why = step_values(contents, looked.outline.steps.get(key, ()), key)
    return _told_step(looked, key, {**(looked.outline.step(key) or {}), **values}, why)


def _told_step(looked: Looked, key: StepKey, found: Document, note: str) -> dict[str, Any]:
    args = [looked.store, looked.head.session_id, *key]
    return {**found, "branch_id": key[0], "note": note, "url": reverse("api:step", args=args)}


# Messages


@router.get(
    f"{OF_SESSION}/messages",
    response=Messages,
    operation_id="list_messages",
    summary="The newest messages",
    url_name="messages",
)
async def messages(
    request: HttpRequest,
    store: str,
    session_id: str,
    at: At = "",
    branch: OfBranch = "",
    agent: Annotated[str, Query(max_length=128, description="Of this agent alone.")] = "",
    before: Before = None,
    limit: Page = 50,
) -> dict[str, Any]:
    """`limit` counts events; one may have brought several messages."""
    looked = await _look(request, store, session_id)
    places = looked.outline.newest_messages(branch_id=branch, agent=agent, before=before, limit=limit + 1)
    shown = places[-limit:]
    contents = await looked.read(place for place in shown if place.kind not in CARRYING_KINDS)
    asked = {"at": at, "branch": branch, "agent": agent, "limit": limit}
    return {
        "messages": [
            message
            for place in shown
            for message in _messages(looked.outline, place, contents)
            if not agent or message["agent"] in (agent, "")
        ],
        "seq": looked.outline.seq,
        "earlier": looked.href("messages", **asked, before=shown[0].seq) if len(places) > limit else None,
    }


def _messages(outline: Outline, place: Place, contents: Contents) -> list[dict[str, Any]]:
    if place.kind in CARRYING_KINDS:
        return _carried(outline, place)
    content = contents.get(place.seq)
    if content is None or isinstance(content, Unread):
        return [_message(place, {}, note=content.why if content else "not there any more")]
    if place.kind == EventKind.MEMORY_REWRITTEN:
        return [_message(place, {"agent": content.agent, "created_at": content.at}, note="memory rewritten")]
    given = {"agent": content.agent, "created_at": content.at}
    return [_message(place, {**given, **message}) for message in messages_in(content)]


def _carried(outline: Outline, place: Place) -> list[dict[str, Any]]:
    """What a fork or a compaction brought; of many, the last."""
    memory = outline.document["branches"][place.branch_id]["memory"]
    left_out = len(memory) - MESSAGES_OF_EVENT
    note = f"{left_out} earlier ones came with the same event; ask for the state to read them"
    return [
        *([_message(place, {}, note=note)] if left_out > 0 else []),
        *(_message(place, message) for message in memory[-MESSAGES_OF_EVENT:]),
    ]


def _message(place: Place, message: Mapping[str, Any], note: str = "") -> dict[str, Any]:
    return {
        "seq": place.seq,
        "branch_id": place.branch_id,
        **{name: str(message.get(name) or "") for name in ("agent", "role", "name")},
        "content": message.get("content"),
        "created_at": message.get("created_at"),
        "note": note,
    }
