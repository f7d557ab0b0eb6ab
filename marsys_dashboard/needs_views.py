"""The inbox: what waits for a person, answered in place."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from django.views.decorators.http import require_safe

from marsys_dashboard import answer_links, needs, proposals
from marsys_dashboard.actions import FRAGMENT
from marsys_dashboard.failures import wants_json
from marsys_dashboard.needs_watch import needs_watch
from marsys_dashboard.pages import page
from marsys_dashboard.permissions import permissions_of, require
from marsys_dashboard.proposal_views import cards
from state_core.records import show_time


@require_safe
@require("view")
async def inbox(request: HttpRequest) -> HttpResponse:
    found, proposed = await needs.find(), await proposals.find()
    if wants_json(request):
        return JsonResponse(_as_json(found, proposed))
    context = {
        "section": "needs",
        "needs": found,
        "problems": {**found.problems, **proposed.problems},
        "proposals": await cards(request, proposed),
        "more_proposals": proposed.more,
        "may": await permissions_of(request.user),
        "days": needs.FAILED_FOR.days,
        "most": needs.MOST,
        "may_share": bool(answer_links.lasting()),
        "show_store": len(needs.store_names()) > 1,
    }
    template = "needs/_inbox.html" if FRAGMENT in request.headers else "needs/needs.html"
    return await page(request, template, context)


def _as_json(found: needs.Needs, proposed: proposals.Found) -> dict[str, Any]:
    return {
        "ok": True,
        "questions": [
            {
                "store": waiting.store,
                "session_id": waiting.head.session_id,
                **waiting.question.to_document(),
            }
            for waiting in found.questions
        ],
        "proposals": [
            {
                "id": waiting.proposal.pk,
                "store": waiting.proposal.store,
                "session_id": waiting.head.session_id,
                "seq": waiting.proposal.seq,
                "proposer": waiting.proposal.proposer,
                "reason": waiting.proposal.reason,
                "since": show_time(waiting.proposal.created_at),
                "moved": waiting.moved,
            }
            for waiting in proposed.waiting
        ],
        "left": [
            {
                "store": left.store,
                "session_id": left.head.session_id,
                "status": str(left.head.status),
                "since": show_time(left.head.updated_at),
            }
            for left in found.left
        ],
        "more": found.more_questions or found.more_left or proposed.more,
        "problems": {**found.problems, **proposed.problems},
    }


@require_safe
@require("view")
async def count(request: HttpRequest) -> JsonResponse:
    """For a page without a live line: the socket tells it the others."""
    found, more = await needs_watch.current()
    return JsonResponse({"count": found, "more": more})


def navigation(request: HttpRequest) -> dict[str, Any]:
    """A context processor: the count beside "Needs you", where this process knows it; the socket tells it
    otherwise."""
    return {"needs_count": needs_watch.count or 0, "needs_more": needs_watch.more}


urlpatterns = [
    path("needs-you/", inbox, name="needs"),
    path("needs-you/count/", count, name="needs-count"),
]
