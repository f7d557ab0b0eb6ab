"""Sessions by name, for the command palette."""

from __future__ import annotations

from django.http import HttpRequest, JsonResponse
from django.urls import path, reverse
from django.views.decorators.http import require_safe

from marsys_dashboard.address import text_of
from marsys_dashboard.listing import Asked, Found, find
from marsys_dashboard.permissions import require
from state_core.words import STATUSES

MOST = 8


@require_safe
@require("view")
async def sessions_by_name(request: HttpRequest) -> JsonResponse:
    """``?q=``: part of a name, title or workflow. The newest of those that match."""
    text = text_of(request.GET, "q")
    found = (await find(Asked(text=text, sort="-updated_at"))).rows if text else []
    return JsonResponse({"ok": True, "sessions": [_entry(each) for each in found[:MOST]]})


def _entry(found: Found) -> dict[str, str]:
    head = found.head
    return {
        "id": head.session_id,
        "name": head.title or head.session_id,
        "store": found.store,
        "status": STATUSES[head.status].label,
        "href": reverse("session", args=[found.store, head.session_id]),
    }


urlpatterns = [path("sessions/named.json", sessions_by_name, name="sessions-by-name")]
