"""The page of a session, the panels that it fetches, and its state as files."""

from __future__ import annotations

from io import BytesIO

from django.http import Http404, HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.urls import path
from django.views.decorators.http import require_safe

from marsys_dashboard import charts, family, flags, panels, proposal_views, search, travel
from marsys_dashboard.actions import toolbar_context
from marsys_dashboard.converters import OF_SESSION
from marsys_dashboard.departed import departed
from marsys_dashboard.frames import header_values
from marsys_dashboard.managers import manager
from marsys_dashboard.pages import json_file, page
from marsys_dashboard.permissions import permissions_of, require
from state_core.bundles import write_bundle
from state_core.exceptions import SessionNotFound
from state_core.managers import why_unreadable
from state_core.records import ENDED, SessionState, check_id

TABS = {
    "graph": "Timeline & graph",
    "steps": "Steps",
    "messages": "Messages",
    "checkpoints": "Checkpoints",
    "state": "State",
    "log": "Log",
    "lineage": "Lineage",
    "search": "Search",
}
PANELS = {
    **panels.PANELS,
    "lineage": family.lineage,
    "travel": travel.place,
    "flags": flags.flags,
    "search": search.search,
}


@require_safe
@require("view")
async def session(request: HttpRequest, store: str, session_id: str) -> HttpResponse:
    asked = request.GET.get("tab", "")
    tab = asked if asked in TABS else "graph"
    try:
        view = await _view(request, store, session_id, at_a_glance=tab == "graph")
    except SessionNotFound as error:
        return await departed(request, store, error)
    chosen, outline = view.manager, view.outline
    head = await chosen.storage.head(session_id)
    permissions = await permissions_of(request.user)
    unreadable = await why_unreadable(chosen, session_id)
    context = {
        **header_values(store, view.head, outline.document),
        **view.context,
        **await travel.place(view),
        **toolbar_context(store, head, permissions, unreadable),
        "unreadable": unreadable,
        "section": "sessions",
        "seq": outline.seq if view.at is None else view.now,
        "live": outline.document["status"] not in ENDED,
        "tabs": TABS,
        "tab": tab,
        "may": " ".join(sorted(permissions)),
        "panel_html": await _panel_html(view, tab),
        "questions": await panels.questions(view),
        **await proposal_views.of_session(request, store, session_id),
        **await panels.side(view),
    }
    return await page(request, "session/session.html", context)


async def _panel_html(view: panels.View, tab: str) -> str:
    """The charts are drawn by the browser; every other tab is there at first paint."""
    if tab not in PANELS:
        return ""
    return render_to_string(f"session/panels/{tab}.html", {**view.context, **await PANELS[tab](view)})


def _number(request: HttpRequest, name: str) -> int | None:
    value = request.GET.get(name, "")
    return int(value) if value.isdecimal() and len(value) < 16 else None


def _choice(request: HttpRequest) -> panels.Choice:
    return panels.Choice(
        branch=request.GET.get("branch", "")[:128],
        step=request.GET.get("step", "")[:128],
        agent=request.GET.get("agent", "")[:128],
        before=_number(request, "before"),
        around=_number(request, "around"),
        text=request.GET.get("q", "")[: search.LONGEST],
        everything=request.GET.get("all") == "1",
        active=request.GET.get("active") == "1",
        message=request.GET.get("message", "")[:40],
        checkpoint=request.GET.get("checkpoint", "")[:128],
        aside=request.GET.get("aside") == "1",
    )


async def _view(
    request: HttpRequest, store: str, session_id: str, *, at_a_glance: bool = False
) -> panels.View:
    """The session now or, with ``?at=``, as of an event.

    ``at_a_glance``: what stands beside the charts is enough, where the log would take long to be folded."""
    chosen = manager(store)
    head = await chosen.get_head(check_id(session_id))
    at = await travel.asked_place(request, chosen, head)
    choice = _choice(request)
    outline = None
    if at_a_glance and at is None and choice == panels.Choice(active=choice.active):
        outline = await travel.at_a_glance(store, chosen, head)
    outline = outline or await travel.outline_at(store, chosen, head, at)
    now = head.last_seq if at is not None else outline.seq
    if at is not None:
        head = travel.head_at(head, outline.document)
    return panels.View(store, chosen, session_id, head, outline, choice, at, now)


@require_safe
@require("view")
async def panel(request: HttpRequest, store: str, session_id: str, name: str) -> HttpResponse:
    """A part of the page as HTML, with the seq that it is at in the header ``X-Seq``."""
    make = PANELS.get(name)
    if make is None:
        raise Http404(f"There is no panel {name!r}.")
    view = await _view(request, store, session_id)
    context = {**view.context, **await make(view)}
    response = await page(request, f"session/panels/{name}.html", context)
    response.headers["X-Seq"] = str(view.outline.seq)
    return response


# Files


@require_safe
@require("view")
async def state_json(request: HttpRequest, store: str, session_id: str) -> HttpResponse:
    state = await _state(request, store, session_id)
    return json_file(state.to_document(), f"{session_id}-{state.seq}.json")


@require_safe
@require("view")
async def visualization_json(request: HttpRequest, store: str, session_id: str) -> HttpResponse:
    state = await _state(request, store, session_id)
    return json_file(state.to_visualization_format(), f"{session_id}-{state.seq}-visualization.json")


async def _state(request: HttpRequest, store: str, session_id: str) -> SessionState:
    chosen = manager(store)
    head = await chosen.get_head(check_id(session_id))
    return await chosen.get_session_state(session_id, await travel.asked_place(request, chosen, head))


@require_safe
@require("view")
async def content_json(request: HttpRequest, store: str, session_id: str, seq: int) -> HttpResponse:
    """What one event changed."""
    events = await manager(store).log.read(check_id(session_id), after=seq - 1, before=seq + 1) if seq else []
    if not events:
        raise Http404(f"Session {session_id} has no event {seq}.")
    return json_file(events[0].changes, f"{session_id}-event-{seq}.json")


@require_safe
@require("view")
async def bundle(request: HttpRequest, store: str, session_id: str) -> HttpResponse:
    """The whole session as one file, what looks like a secret masked; see `state_core.bundles`."""
    file = BytesIO()
    await write_bundle(manager(store), session_id, file)
    response = HttpResponse(file.getvalue(), content_type="application/gzip")
    name = f"{session_id.replace(':', '_')}.jsonl.gz"
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    response.headers["Cache-Control"] = "private, no-store"
    return response


urlpatterns = [
    path(f"{OF_SESSION}/", session, name="session"),
    path(f"{OF_SESSION}/panels/<slug:name>/", panel, name="panel"),
    path(f"{OF_SESSION}/charts.json", charts.view, name="charts"),
    path(f"{OF_SESSION}/session.jsonl.gz", bundle, name="session-bundle"),
    path(f"{OF_SESSION}/state.json", state_json, name="state-json"),
    path(f"{OF_SESSION}/visualization.json", visualization_json, name="visualization-json"),
    path(f"{OF_SESSION}/events/<int:seq>.json", content_json, name="event-json"),
]
