"""The branch graph and the timeline: what the browser needs to draw them, computed from an outline.

The browser draws with plotly and folds live frames into this picture; the figures here fix which traces
and axes there are (one for all words of a kind, never one per step) and hold no data. Colours and words are
the browser's. Times are milliseconds since 1970, places in the graph are CSS pixels.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Collection, Iterable, Sequence
from functools import partial

import orjson
from django.http import HttpRequest, HttpResponse, HttpResponseNotModified

from marsys_dashboard.columns import boxes_and_edges, lanes_and_bars, milliseconds, numbered
from marsys_dashboard.graph_layout import NAME_LENGTH, branch_graph
from marsys_dashboard.managers import manager
from marsys_dashboard.permissions import require
from marsys_dashboard.travel import asked_place, outline_at
from state_core.events import EventKind, Header
from state_core.log import Range
from state_core.records import Checkpoint, Document, Head, utc_now

MOST_UNFOLDED = 100
"""Groups that one picture shows member by member."""

HOLDS = {
    EventKind.SESSION_PAUSED: "paused",
    EventKind.SESSION_INTERRUPTED: "interrupted",
    EventKind.SESSION_RESTORED: "restored",
    EventKind.SESSION_FORKED: "forked",
}
ENDS_HOLD = frozenset(
    {
        EventKind.SESSION_STARTED,
        EventKind.SESSION_RESUMED,
        EventKind.SESSION_COMPLETED,
        EventKind.SESSION_FAILED,
        EventKind.SESSION_CANCELLED,
    }
)
HOLD_KINDS = frozenset(HOLDS) | ENDS_HOLD


def pauses(events: Iterable[Header]) -> list[Document]:
    """The times in which nobody was at work, from events of `HOLD_KINDS`; the last may be without an end."""
    found: list[Document] = []
    for event in events:
        open_one = found[-1] if found and found[-1]["end"] is None else None
        if event.kind in HOLDS and not open_one:
            found.append({"start": milliseconds(event.at), "end": None, "why": HOLDS[EventKind(event.kind)]})
        elif event.kind in ENDS_HOLD and open_one:
            open_one["end"] = milliseconds(event.at)
    return found


TURNS = {EventKind.SESSION_RESTORED: "restored", EventKind.SESSION_FORKED: "forked"}


def turns(events: Iterable[Header]) -> list[Document]:
    """Where the session was put back to an earlier place, or began as a fork of another."""
    return [
        {"at": milliseconds(event.at), "what": TURNS[EventKind(event.kind)], "to": event.data.get("to")}
        for event in events
        if event.kind in TURNS
    ]


def that_count(events: Iterable[Header], line: Iterable[Range]) -> list[Header]:
    """Without those that a restore has set aside."""
    spans = list(line)
    return [event for event in events if any(span.after < event.seq <= span.upto for span in spans)]


def checkpoint_mark(place: Checkpoint) -> Document:
    return {
        "id": place.id,
        "name": place.name[:NAME_LENGTH],
        "seq": place.seq,
        "kind": str(place.kind),
        "at": milliseconds(place.created_at),
    }


def charts(
    document: Document,
    checkpoints: Iterable[Checkpoint] = (),
    holds: Sequence[Header] = (),
    *,
    grouped: bool = True,
    unfolded: Collection[str] = (),
) -> Document:
    """Everything that both charts show of a session at ``document["seq"]``."""
    branches = document["branches"]
    graph = branch_graph(document, grouped=grouped, unfolded=unfolded)
    return {
        "session_id": document["session_id"],
        "seq": document["seq"],
        "status": document["status"],
        "ended": milliseconds(document["ended_at"]),
        "graph": {**boxes_and_edges(graph, numbered(branches)), "figure": graph_figure()},
        "timeline": {**lanes_and_bars(branches), "figure": timeline_figure()},
        "checkpoints": [checkpoint_mark(place) for place in checkpoints],
        "pauses": pauses(holds),
        "turns": turns(holds),
    }


# Figures: the only place in Python that knows plotly's words

_QUIET_AXIS = {"showgrid": False, "zeroline": False, "showline": False, "ticks": ""}
_HIDDEN_AXIS = {**_QUIET_AXIS, "showticklabels": False}
_QUIET_LAYOUT = {
    "uirevision": "constant",
    "showlegend": False,
    "dragmode": "pan",
    "hovermode": False,
    "paper_bgcolor": "rgba(0,0,0,0)",
    "plot_bgcolor": "rgba(0,0,0,0)",
}


def graph_figure() -> Document:
    """Titles of boxes, and what stands under them. Boxes, edges and points are shapes of the browser's."""
    layout = {
        **_QUIET_LAYOUT,
        "xaxis": _HIDDEN_AXIS,
        "yaxis": {**_HIDDEN_AXIS, "autorange": False},
        "margin": {"l": 0, "r": 0, "t": 0, "b": 0},
    }
    return {"data": [_words("titles", weight=600), _words("details")], "layout": layout}


def timeline_figure() -> Document:
    """Signs on bars, which are shapes; below them, checkpoints as points."""
    marks = {
        "type": "scatter",
        "mode": "markers",
        "name": "checkpoints",
        "yaxis": "y2",
        "cliponaxis": False,
        "marker": {"symbol": "diamond", "size": 11, "opacity": 1},
        "x": [],
        "y": [],
    }
    layout = {
        **_QUIET_LAYOUT,
        "xaxis": {**_QUIET_AXIS, "anchor": "y2", "tickmode": "array", "tickangle": 0},
        "yaxis": {**_QUIET_AXIS, "fixedrange": True, "autorange": False, "tickmode": "array"},
        "yaxis2": {**_HIDDEN_AXIS, "fixedrange": True, "range": [-1, 1]},
    }
    return {"data": [_words("signs", position="middle center", size=10), marks], "layout": layout}


def _words(name: str, *, position: str = "middle right", **font: int) -> Document:
    return {
        "type": "scatter",
        "mode": "text",
        "name": name,
        "textposition": position,
        "textfont": font,
        "x": [],
        "y": [],
        "text": [],
    }


# The address that the browser asks


@require("view")
async def view(request: HttpRequest, store: str, session_id: str) -> HttpResponse:
    """JSON of `charts`, with the server's clock. ``?groups=open`` shows each of many siblings,
    ``?unfolded=`` those of one group."""
    chosen = manager(store)
    grouped = request.GET.get("groups") != "open"
    unfolded = frozenset(request.GET.getlist("unfolded")[:MOST_UNFOLDED])
    head = await chosen.get_head(session_id)
    at = await asked_place(request, chosen, head)
    etag = partial(_etag, head, grouped=grouped, unfolded=unfolded, at=at)
    known = request.headers.get("If-None-Match", "").removeprefix("W/")  # it was compressed on its way
    if known == etag(at or head.last_seq):
        return HttpResponseNotModified()
    outline = await outline_at(store, chosen, head, at)
    checkpoints = [c for c in await chosen.list_checkpoints(session_id) if not at or c.seq <= at]
    holds = await chosen.log.read(session_id, before=outline.seq + 1, kinds=HOLD_KINDS, bodies=False)
    if head.counts["restores"]:
        holds = that_count(holds, await chosen.log.line(session_id, outline.seq))
    body = await asyncio.to_thread(_encoded, outline.document, checkpoints, holds, grouped, unfolded, at)
    response = HttpResponse(body, content_type="application/json")
    response.headers["ETag"] = etag(outline.seq)
    response.headers["Cache-Control"] = "private, no-cache"
    return response


def _encoded(
    document: Document,
    checkpoints: Sequence[Checkpoint],
    holds: Sequence[Header],
    grouped: bool,
    unfolded: Collection[str],
    at: int | None,
) -> bytes:
    """``at``: the event as of which it is asked for; then the clock stands at that event's moment."""
    picture = charts(document, checkpoints, holds, grouped=grouped, unfolded=unfolded)
    now = milliseconds(document["updated_at"] if at else utc_now())
    return orjson.dumps({**picture, "at": at, "server_time": now})


def _etag(head: Head, seq: int, *, grouped: bool, unfolded: Collection[str], at: int | None) -> str:
    """Of a session that may have been deleted and made anew under the same id."""
    what = ("grouped" if grouped else "open") + ("-past" if at else "")
    if unfolded:
        what += "-" + hashlib.blake2b("\n".join(sorted(unfolded)).encode(), digest_size=8).hexdigest()
    return f'"{milliseconds(head.created_at)}-{seq}-{what}"'
