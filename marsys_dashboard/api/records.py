"""Checkpoints, questions, lineage, and who did what."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlencode

from django.http import HttpRequest
from django.urls import reverse
from ninja import Query, Router

from marsys_dashboard import activity, activity_views, needs
from marsys_dashboard.acts import ALL, questions_for
from marsys_dashboard.api.content_schemas import (
    Activities,
    ActivityFilter,
    Checkpoints,
    LineageOut,
    WaitingQuestions,
)
from marsys_dashboard.api.schemas import LARGEST, OF_SESSION, checkpoint_of, question_of
from marsys_dashboard.checkpoint_windows import newest_first
from marsys_dashboard.managers import manager
from state_core.lineage import Relative
from state_core.records import Question

router = Router(tags=["Checkpoints, questions, activity"])


@router.get(
    f"{OF_SESSION}/checkpoints",
    response=Checkpoints,
    operation_id="list_checkpoints",
    summary="The newest checkpoints",
    url_name="checkpoints",
)
async def checkpoints(
    request: HttpRequest,
    store: str,
    session_id: str,
    before: Annotated[
        int | None, Query(ge=1, le=LARGEST, description="Only those at events before this one.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=500, description="At most so many.")] = 100,
) -> dict[str, Any]:
    of_store = manager(store)
    await of_store.get_head(session_id)
    known = newest_first(await of_store.list_checkpoints(session_id))
    found = [checkpoint for checkpoint in known if before is None or checkpoint.seq < before]
    # Those of one event are not parted: the next page could not tell where to begin.
    last = found[:limit][-1].seq if found else 0
    shown = [checkpoint for checkpoint in found if checkpoint.seq >= last]
    query = urlencode({"before": last, "limit": limit})
    path = reverse("api:checkpoints", args=[store, session_id])
    return {
        "checkpoints": [checkpoint_of(checkpoint) for checkpoint in shown],
        "earlier": f"{path}?{query}" if len(found) > len(shown) else None,
    }


@router.get(
    f"{OF_SESSION}/questions",
    response=WaitingQuestions,
    operation_id="list_questions_of_session",
    summary="The open questions of a session",
    url_name="session-questions",
    by_alias=True,
)
async def questions(request: HttpRequest, store: str, session_id: str) -> dict[str, Any]:
    of_store = manager(store)
    await of_store.get_head(session_id)
    found = await questions_for(ALL["answer"], of_store, session_id)
    return {
        "questions": [_waiting(store, session_id, question) for question in found],
        "more": False,
        "problems": {},
    }


@router.get(
    "questions",
    response=WaitingQuestions,
    operation_id="list_questions",
    summary="The open questions of all sessions",
    url_name="questions",
    by_alias=True,
)
async def all_questions(request: HttpRequest) -> dict[str, Any]:
    """What *Needs you* shows."""
    found = await needs.find()
    return {
        "questions": [
            _waiting(each.store, each.head.session_id, each.question, each.note) for each in found.questions
        ],
        "more": found.more_questions,
        "problems": found.problems,
    }


def _waiting(store: str, session_id: str, question: Question, note: str = "") -> dict[str, Any]:
    return {
        **question_of(question),
        "store": store,
        "session_id": session_id,
        "note": note,
        "answer_url": reverse("api:act", args=[store, session_id, "answer"]),
    }


@router.get(
    f"{OF_SESSION}/lineage",
    response=LineageOut,
    operation_id="get_lineage",
    summary="Where a session comes from, its forks, and when it was restored",
    url_name="lineage",
)
async def lineage(request: HttpRequest, store: str, session_id: str) -> dict[str, Any]:
    found = await manager(store).lineage(session_id)
    return {
        "origins": [_relative(each) for each in found.origins],
        "forks": [_relative(each) for each in found.forks],
        "restores": found.restores,
        "is_cut": found.is_cut,
    }


def _relative(relative: Relative) -> dict[str, Any]:
    names = ("session_id", "seq", "generation", "at", "actor", "reason")
    status = str(relative.head.status) if relative.head else None
    return {**{name: getattr(relative, name) for name in names}, "status": status}


@router.get(
    "activity",
    response=Activities,
    operation_id="list_activity",
    summary="Who did what to which session, when and why",
    url_name="activity",
)
async def activities(request: HttpRequest, asked: Query[ActivityFilter]) -> dict[str, Any]:
    """A hundred at once. It is gathered from the logs as it is asked for."""
    words = activity_views.read_address(request.GET)
    found = await activity_views.window(words, activity.BUDGET)
    following = reverse("api:activity") + words.href(before=found.next)
    return {
        "activity": [activity_views.values_of(entry) for entry in found.entries],
        "behind": sorted(found.gathered.behind),
        "problems": found.gathered.problems,
        "next": following if found.next else None,
    }
