"""The page of a session that is not there: who deleted it, when and why, where that is known."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse

from marsys_dashboard.activity import DELETED
from marsys_dashboard.failures import failure, wants_json
from marsys_dashboard.models import ActivityEntry
from marsys_dashboard.pages import page
from state_core.exceptions import SessionNotFound


async def departed(request: HttpRequest, store: str, error: SessionNotFound) -> HttpResponse:
    """404, with what the activity tells of a deletion from the dashboard or the admin."""
    if wants_json(request):
        return failure(request, 404, str(error))
    deletions = ActivityEntry.objects.filter(store=store, session_id=error.session_id, kind=DELETED)
    context = {
        "section": "sessions",
        "store": store,
        "session_id": error.session_id,
        "deletion": await deletions.order_by("-at").afirst(),
    }
    return await page(request, "session/departed.html", context, status=404)
