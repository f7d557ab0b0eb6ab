"""The page of a session, the panels that it fetches, and its state as files."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.urls import path
from django.views.decorators.http import require_safe

from marsys_dashboard import charts, converters, family, panels  # noqa: F401 - converters are named in addresses
from marsys_dashboard.actions import toolbar_context
from marsys_dashboard.feed import feed
from marsys_dashboard.frames import header_values
from marsys_dashboard.managers import manager
from marsys_dashboard.pages import json_file, page
from marsys_dashboard.permissions import permissions_of, require
from state_core.managers import why_unreadable
from state_core.records import ENDED, check_id

TABS = {
    "graph": "Timeline & graph",
    "steps": "Steps",
    "messages": "Messages",
    "checkpoints": "Checkpoints",
    "state": "State",
    "log": "Log",
    "lineage": "Lineage",
}
PANELS = {**panels.PANELS, "lineage": family.lineage}


@require_safe
@require("view")
async def session(request: HttpRequest, store: str, session_id: str) -> HttpResponse:
    chosen = manager(store)
    outline = await feed.cache.outline(store, chosen, check_id(session_id))
    head = await chosen.storage.head(session_id)
    asked = request.GET.get("tab", "")
    view = panels.View(store, chosen, session_id, head, outline, _choice(request))
    tab = asked if asked in TABS else "graph"
    permissions = await permissions_of(request.user)
    unreadable = await why_unreadable(chosen, session_id)
    context = {
        **header_values(store, head, outline.document),
        **view.context,
        **toolbar_context(store, head, permissions, unreadable),
        "unreadable": unreadable,
        "section": "sessions",
        "seq": outline.seq,
        "live": outline.document["status"] not in ENDED,
        "tabs": TABS,
        "tab": tab,
        "may": " ".join(sorted(permissions)),
        "panel_html": await _panel_html(view, tab),
        "questions": await panels.questions(view),
        "checkpoints": await panels.checkpoints(view),
        **await panels.side(view),
    }
    return await page(request, "session/session.html", context)


async def _panel_html(view: panels.View, tab: str) -> str:
    """The charts are drawn by the browser; every other tab is there at first paint."""
    if tab not in PANELS:
        return ""
    return render_to_string(f"session/panels/{tab}.html", {**view.context, **await PANELS[tab](view)})


def _choice(request: HttpRequest) -> panels.Choice:
    before = request.GET.get("before", "")
    return panels.Choice(
        branch=request.GET.get("branch", "")[:128],
        step=request.GET.get("step", "")[:128],
        before=int(before) if before.isdecimal() and len(before) < 16 else None,
        everything=request.GET.get("all") == "1",
        at=request.GET.get("at", "")[:40],
    )


@require_safe
@require("view")
async def panel(request: HttpRequest, store: str, session_id: str, name: str) -> HttpResponse:
    """A part of the page as HTML, with the seq that it is at in the header ``X-Seq``."""
    make = PANELS.get(name)
    if make is None:
        raise Http404(f"There is no panel {name!r}.")
    chosen = manager(store)
    outline = await feed.cache.outline(store, chosen, check_id(session_id))
    head = await chosen.storage.head(session_id)
    view = panels.View(store, chosen, session_id, head, outline, _choice(request))
    context = {**view.context, **await make(view)}
    response = await page(request, f"session/panels/{name}.html", context)
    response.headers["X-Seq"] = str(outline.seq)
    return response


# Files


@require_safe
@require("view")
async def state_json(request: HttpRequest, store: str, session_id: str) -> HttpResponse:
    state = await manager(store).get_session_state(check_id(session_id))
    return json_file(state.to_document(), f"{session_id}-{state.seq}.json")


@require_safe
@require("view")
async def visualization_json(request: HttpRequest, store: str, session_id: str) -> HttpResponse:
    state = await manager(store).get_session_state(check_id(session_id))
    return json_file(state.to_visualization_format(), f"{session_id}-{state.seq}-visualization.json")


@require_safe
@require("view")
async def content_json(request: HttpRequest, store: str, session_id: str, seq: int) -> HttpResponse:
    """What one event changed."""
    events = await manager(store).log.read(check_id(session_id), after=seq - 1, before=seq + 1) if seq else []
    if not events:
        raise Http404(f"Session {session_id} has no event {seq}.")
    return json_file(events[0].changes, f"{session_id}-event-{seq}.json")


_HERE = "sessions/<store:store>/<session_id:session_id>"

urlpatterns = [
    path(f"{_HERE}/", session, name="session"),
    path(f"{_HERE}/panels/<slug:name>/", panel, name="panel"),
    path(f"{_HERE}/charts.json", charts.view, name="charts"),
    path(f"{_HERE}/state.json", state_json, name="state-json"),
    path(f"{_HERE}/visualization.json", visualization_json, name="visualization-json"),
    path(f"{_HERE}/events/<int:seq>.json", content_json, name="event-json"),
]
