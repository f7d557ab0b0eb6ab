"""Changed contexts that wait for another person's approval: proposed, read, decided."""

from __future__ import annotations

from typing import Annotated, Any

from django.http import Http404, HttpRequest
from django.urls import reverse
from ninja import Router
from ninja.errors import HttpError
from pydantic import WithJsonSchema

from marsys_dashboard import proposals
from marsys_dashboard.api.acts import DoesNotFit, given_of
from marsys_dashboard.api.callers import Caller
from marsys_dashboard.api.change_schemas import (
    Changes,
    Proposed,
    SentChange,
    SentDecision,
    WaitingChange,
)
from marsys_dashboard.api.schemas import OF_SESSION, ActDone, one_of, session_of
from marsys_dashboard.deciding import CONSEQUENCES, DECIDE, ReasonForm, needs_reason, to_decide
from marsys_dashboard.managers import manager
from marsys_dashboard.proposals import Found, Undecided
from marsys_dashboard.proposing import propose
from marsys_dashboard.subjects import subject_of

router = Router(tags=["Changes that wait for approval"])

Verb = Annotated[str, WithJsonSchema({"type": "string", **one_of(DECIDE)})]

OF_CHANGE = f"{OF_SESSION}/changes/{{int:number}}"


@router.get(
    "changes",
    response=Changes,
    operation_id="list_changes",
    summary="Changes of all sessions that wait for approval",
    url_name="changes",
)
async def all_changes(request: HttpRequest) -> dict[str, Any]:
    """What *Needs you* shows."""
    return _found(request.auth, await proposals.find())


@router.get(
    f"{OF_SESSION}/changes",
    response=Changes,
    operation_id="list_changes_of_session",
    summary="Changes of a session that wait for approval",
    url_name="session-changes",
)
async def changes(request: HttpRequest, store: str, session_id: str) -> dict[str, Any]:
    await manager(store).get_head(session_id)
    return _found(request.auth, await proposals.find(store=store, session_id=session_id))


@router.post(
    f"{OF_SESSION}/changes",
    response=Proposed,
    operation_id="propose_change",
    summary="Ask another person to approve a changed context before the session is resumed with it",
    url_name="propose-change",
)
async def propose_change(
    request: HttpRequest, store: str, session_id: str, sent: SentChange
) -> dict[str, Any]:
    """In the place of what this person has proposed for the session before."""
    caller: Caller = request.auth
    caller.need("operate")
    subject = await subject_of(store, session_id, "resume")
    if subject.refusal:
        raise HttpError(409, subject.refusal)
    done = await propose(subject.manager, subject.head, given_of(caller, subject, sent), caller.user)
    return {"message": done.message, "change": done.change}


@router.get(
    OF_CHANGE,
    response=WaitingChange,
    operation_id="get_change",
    summary="A change that waits for approval, all of it",
    url_name="change",
)
async def change(request: HttpRequest, store: str, session_id: str, number: int) -> dict[str, Any]:
    """409 where it was decided; its `detail` says by whom."""
    waiting = await to_decide(number, store, session_id)
    whole = waiting.change
    contents = {"values": whole.values, "before": whole.before} if whole else {}
    return {**_change_of(request.auth, waiting), **contents}


@router.post(
    f"{OF_CHANGE}/{{slug:verb}}",
    response=ActDone,
    operation_id="decide_change",
    summary="Approve, decline or withdraw a change",
    url_name="decide-change",
)
async def decide(
    request: HttpRequest, store: str, session_id: str, number: int, verb: Verb, sent: SentDecision
) -> dict[str, Any]:
    """`approve` resumes the session with it. 409 where somebody else decided, the session moved on, or it is
    for somebody else to decide."""
    caller: Caller = request.auth
    caller.need("operate")
    if verb not in DECIDE:
        raise Http404(f"Nothing is called {verb!r} here. Choose from {', '.join(DECIDE)}.")
    waiting = await to_decide(number, store, session_id)
    if why_not := waiting.why_not(verb, caller.user, caller.permissions):
        raise HttpError(409, why_not)
    form = ReasonForm(verb, {"reason": sent.reason})
    if not form.is_valid():
        raise DoesNotFit({name: str(errors[0]) for name, errors in form.errors.items()})
    done = await DECIDE[verb](waiting, caller.actor, form.cleaned_data["reason"])
    return {
        "message": done.message,
        "session": session_of(store, await manager(store).get_head(session_id)),
    }


def _found(caller: Caller, found: Found) -> dict[str, Any]:
    return {
        "changes": [_change_of(caller, waiting) for waiting in found.waiting],
        "more": found.more,
        "problems": found.problems,
    }


def _change_of(caller: Caller, waiting: Undecided) -> dict[str, Any]:
    proposal, change = waiting.proposal, waiting.change
    args = [proposal.store, proposal.session_id, proposal.pk]
    return {
        **waiting.facts,
        "sets": list(change.values) if change else [],
        "removes": change.removed if change else [],
        "note": waiting.note,
        "moved": waiting.moved,
        "decisions": [_decision_of(caller, waiting, verb, args) for verb in DECIDE],
        "url": reverse("api:change", args=args),
    }


def _decision_of(caller: Caller, waiting: Undecided, verb: str, args: list[Any]) -> dict[str, Any]:
    why_not = waiting.why_not(verb, caller.user, caller.permissions)
    return {
        "verb": verb,
        "allowed": not why_not,
        "why_not": why_not,
        "reason_required": needs_reason(verb),
        "consequences": list(CONSEQUENCES[verb]),
        "url": reverse("api:decide-change", args=[*args, verb]),
    }
