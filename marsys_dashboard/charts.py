"""The branch graph and the timeline: what the browser needs to draw them, computed from an outline.

The browser draws with plotly and folds live frames into this picture; the figures here fix which traces
and axes there are (one trace per status, never one per step) and hold no data. Colours and words are the
browser's. Times are milliseconds since 1970, places in the graph are CSS pixels.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import igraph
import orjson
from django.http import HttpRequest, HttpResponse, HttpResponseNotModified

from marsys_dashboard.managers import manager
from marsys_dashboard.outlines import OutlineCache
from marsys_dashboard.permissions import require
from state_core.events import EventKind, Header
from state_core.records import BranchStatus, Checkpoint, Document, Head, parse_time, utc_now

NAME_LENGTH = 120
"""Longer names are cut: they are drawn into boxes."""

NODE_HEIGHT = 40
ROW = 50
COLUMN_GAP = 60
NODE_WIDTHS = (104, 190)
CHARACTER = 7
"""Pixels per character of a node's label, and a little more."""
LABEL_PADDING = 38

SUGIYAMA_LIMIT = 20_000
"""Edges, counted once per layer that they cross. A layered layout above it is too slow; a tree is not."""
WEBGL_FROM = 300
"""Nodes from which points and edges are drawn by WebGL."""
GROUP_FROM = 12
"""So many siblings with the same parents and the same children are shown as one node …"""
GROUPING_FROM = 40
"""… once there are this many branches."""

BAR_STATUSES = ("completed", "failed", "running", "waiting", "paused")
"""What a bar of the timeline can look like: a step in a branch that waits is drawn as waiting, one that was
left when the session was held as paused."""


@dataclass
class Node:
    """A box of the graph: a branch, or a group of siblings."""

    id: str
    name: str
    members: list[str]
    parents: list[str]
    layer: int = 0
    x: float = 0.0
    """Of its centre."""
    y: float = 0.0
    width: int = NODE_WIDTHS[0]

    def to_json(self) -> Document:
        grouped = {"members": self.members} if len(self.members) > 1 else {}
        return {"id": self.id, "name": self.name, "x": self.x, "y": self.y, "w": self.width, **grouped}


@dataclass
class Graph:
    nodes: list[Node]
    """In the order in which their branches were opened."""
    edges: list[tuple[str, str]]
    width: float = 0.0
    height: float = 0.0
    groups: int = 0

    def to_json(self) -> Document:
        return {
            "nodes": [node.to_json() for node in self.nodes],
            "edges": self.edges,
            "width": self.width,
            "height": self.height,
            "groups": self.groups,
            "figure": graph_figure(webgl=len(self.nodes) > WEBGL_FROM),
        }


def milliseconds(value: str | datetime | None) -> int | None:
    moment = parse_time(value)
    return round(moment.timestamp() * 1000) if moment else None


# The graph


def branch_graph(document: Document, *, grouped: bool = True) -> Graph:
    """The branches that really ran, laid out from left to right: every parent is left of its children."""
    nodes = _nodes(document["branches"], grouped)
    edges = [(parent, node.id) for node in nodes for parent in node.parents]
    graph = Graph(nodes, edges, groups=sum(len(node.members) > 1 for node in nodes))
    _set_layers(nodes)
    _place(graph)
    return graph


def _nodes(branches: Mapping[str, Document], grouped: bool) -> list[Node]:
    parents = _known_parents(branches)
    group_of = _groups(parents) if grouped and len(branches) > GROUPING_FROM else {}
    nodes: dict[str, Node] = {}
    for branch_id, branch in branches.items():
        node_id = group_of.get(branch_id, branch_id)
        if node_id in nodes:
            nodes[node_id].members.append(branch_id)
            continue
        above = list(dict.fromkeys(group_of.get(p, p) for p in parents[branch_id]))
        nodes[node_id] = Node(node_id, str(branch["name"])[:NAME_LENGTH], [branch_id], above)
    return list(nodes.values())


def _known_parents(branches: Mapping[str, Document]) -> dict[str, list[str]]:
    """Only parents that were opened before their child, so that nothing can go in circles."""
    known: dict[str, list[str]] = {}
    for branch_id, branch in branches.items():
        known[branch_id] = [parent for parent in branch["parent_ids"] if parent in known]
    return known


def _groups(parents: Mapping[str, list[str]]) -> dict[str, str]:
    """branch id → group id, for large families of siblings that lead to the same places."""
    children: dict[str, list[str]] = defaultdict(list)
    for branch_id, above in parents.items():
        for parent in above:
            children[parent].append(branch_id)
    families: dict[tuple[Any, Any], list[str]] = defaultdict(list)
    for branch_id, above in parents.items():
        if above:
            families[tuple(above), tuple(children[branch_id])].append(branch_id)
    large = (family for family in families.values() if len(family) >= GROUP_FROM)
    return {branch_id: f"group of {family[0]}" for family in large for branch_id in family}


def _set_layers(nodes: Sequence[Node]) -> None:
    """A node's layer is the longest way to it."""
    layers: dict[str, int] = {}
    for node in nodes:
        node.layer = max((layers[parent] + 1 for parent in node.parents), default=0)
        layers[node.id] = node.layer


def _place(graph: Graph) -> None:
    if not graph.nodes:
        return
    rows = _rows(graph)
    top = min(rows)
    columns = _columns(graph.nodes)
    for node, row in zip(graph.nodes, rows, strict=True):
        left, node.width = columns[node.layer]
        node.x = left + node.width / 2
        node.y = round((row - top) * ROW + NODE_HEIGHT / 2, 2)
    graph.width = max(left + width for left, width in columns.values())
    graph.height = max(node.y for node in graph.nodes) + NODE_HEIGHT / 2


def _columns(nodes: Sequence[Node]) -> dict[int, tuple[int, int]]:
    """layer → left edge and width, as wide as the longest name in it asks for."""
    widths: dict[int, int] = defaultdict(lambda: NODE_WIDTHS[0])
    for node in nodes:
        wanted = len(node.name) * CHARACTER + LABEL_PADDING + (44 if len(node.members) > 1 else 0)
        widths[node.layer] = max(widths[node.layer], min(wanted, NODE_WIDTHS[1]))
    columns: dict[int, tuple[int, int]] = {}
    left = 0
    for layer in sorted(widths):
        columns[layer] = (left, widths[layer])
        left += widths[layer] + COLUMN_GAP
    return columns


def _rows(graph: Graph) -> list[float]:
    """Each node's row, as igraph sees it: at least one apart from its neighbours in the same layer."""
    numbers = {node.id: number for number, node in enumerate(graph.nodes)}
    layers = [node.layer for node in graph.nodes]
    edges = [(numbers[source], numbers[target]) for source, target in graph.edges]
    crossed = sum(layers[target] - layers[source] for source, target in edges)
    if crossed > SUGIYAMA_LIMIT:
        return _tree_rows(graph.nodes, numbers)
    laid = igraph.Graph(n=len(layers), edges=edges, directed=True)
    return [x for x, _ in laid.layout_sugiyama(layers=layers, hgap=1, vgap=1, maxiter=24)]


def _tree_rows(nodes: Sequence[Node], numbers: Mapping[str, int]) -> list[float]:
    """Of a tree in which each node hangs on that parent which sets its layer."""
    layers = [node.layer for node in nodes]
    roots = [number for number, node in enumerate(nodes) if not node.parents]
    edges = []
    for number, node in enumerate(nodes):
        if node.parents:
            last = max((numbers[parent] for parent in node.parents), key=lambda parent: layers[parent])
            edges.append((last, number))
    tree = igraph.Graph(n=len(nodes), edges=edges, directed=True)
    return [x for x, _ in tree.layout_reingold_tilford(mode="out", root=roots)]


# The timeline


def timeline(document: Document) -> Document:
    """Lanes (branches, in the order of their opening) and bars (their steps), the bars as columns."""
    lanes, bars = [], _Columns()
    for number, branch in enumerate(document["branches"].values()):
        lanes.append(_lane(branch))
        for step in branch["steps"].values():
            bars.add(number, step)
    return {"lanes": lanes, "bars": bars.to_json(), "figure": timeline_figure()}


def _lane(branch: Document) -> Document:
    return {
        "id": branch["branch_id"],
        "name": str(branch["name"])[:NAME_LENGTH],
        "type": branch["branch_type"],
        "status": branch["status"],
        "agent": branch["agent"],
        "parents": branch["parent_ids"],
        "joined": branch["joined_ids"],
        "opened": milliseconds(branch["opened_at"]),
        "ended": milliseconds(branch["ended_at"]),
    }


class _Columns:
    """Thousands of steps cost a third of the bytes as columns, agents' names being said once."""

    def __init__(self) -> None:
        self.agents: dict[str, int] = {}
        self.rows: list[tuple[Any, ...]] = []

    def add(self, lane: int, step: Document) -> None:
        name = str(step["agent"] or "")[:NAME_LENGTH]
        agent = self.agents.setdefault(name, len(self.agents))
        times = milliseconds(step["started_at"]), milliseconds(step["ended_at"])
        self.rows.append((lane, step["step_id"], agent, step["status"], step["attempt"], *times))

    def to_json(self) -> Document:
        names = ("lane", "step", "agent", "status", "attempt", "start", "end")
        columns = list(zip(*self.rows, strict=True)) or [()] * len(names)
        return {"agents": list(self.agents), **dict(zip(names, columns, strict=True))}


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
    holds: Iterable[Header] = (),
    *,
    grouped: bool = True,
) -> Document:
    """Everything that both charts show of a session at ``document["seq"]``."""
    return {
        "session_id": document["session_id"],
        "seq": document["seq"],
        "status": document["status"],
        "ended": milliseconds(document["ended_at"]),
        "graph": branch_graph(document, grouped=grouped).to_json(),
        "timeline": timeline(document),
        "checkpoints": [checkpoint_mark(place) for place in checkpoints],
        "pauses": pauses(holds),
    }


# Figures: the only place in Python that knows plotly's words

SYMBOLS = {
    BranchStatus.PENDING: "circle-open",
    BranchStatus.RUNNING: "circle",
    BranchStatus.WAITING: "diamond",
    BranchStatus.PAUSED: "square",
    BranchStatus.COMPLETED: "circle",
    BranchStatus.FAILED: "x",
    BranchStatus.CANCELLED: "circle-x-open",
}
_QUIET_AXIS = {"showgrid": False, "zeroline": False, "showline": False, "ticks": ""}
_HIDDEN_AXIS = {**_QUIET_AXIS, "showticklabels": False}
_QUIET_LAYOUT = {
    "uirevision": "constant",
    "showlegend": False,
    "dragmode": "pan",
    "hovermode": "closest",
    "paper_bgcolor": "rgba(0,0,0,0)",
    "plot_bgcolor": "rgba(0,0,0,0)",
}


def graph_figure(*, webgl: bool = False) -> Document:
    """Edges walked, edges still ahead, and points: one trace per status."""
    kind = "scattergl" if webgl else "scatter"
    line = {"type": kind, "mode": "lines", "hoverinfo": "skip", "x": [], "y": []}
    edges = [
        {**line, "name": "walked", "line": {"width": 2}},
        {**line, "name": "ahead", "line": {"width": 2, "dash": "dash"}},
    ]
    points = [
        {
            "type": kind,
            "mode": "markers",
            "name": str(status),
            "marker": {"symbol": symbol, "size": 9},
            "hovertemplate": "%{text}<extra></extra>",
            "x": [],
            "y": [],
            "text": [],
        }
        for status, symbol in SYMBOLS.items()
    ]
    layout = {
        **_QUIET_LAYOUT,
        "xaxis": _HIDDEN_AXIS,
        "yaxis": {**_HIDDEN_AXIS, "autorange": False},
        "margin": {"l": 0, "r": 0, "t": 0, "b": 0},
    }
    return {"data": [*edges, *points], "layout": layout}


def timeline_figure() -> Document:
    """Bars in lanes, one trace per status, above a strip of checkpoints."""
    bars = [
        {
            "type": "bar",
            "orientation": "h",
            "name": status,
            "width": 0.5,
            "marker": {"cornerradius": 3, "line": {"width": 0}},
            "hovertemplate": "%{hovertext}<extra></extra>",
            "textposition": "inside",
            "insidetextanchor": "middle",
            "textangle": 0,
            "constraintext": "none",
            "base": [],
            "x": [],
            "y": [],
            "hovertext": [],
            "text": [],
        }
        for status in BAR_STATUSES
    ]
    marks = {
        "type": "scatter",
        "mode": "markers",
        "name": "checkpoints",
        "yaxis": "y2",
        "cliponaxis": False,
        "marker": {"symbol": "diamond", "size": 11},
        "hovertemplate": "%{text}<extra></extra>",
        "x": [],
        "y": [],
        "text": [],
    }
    layout = {
        **_QUIET_LAYOUT,
        "barmode": "overlay",
        "xaxis": {**_QUIET_AXIS, "anchor": "y2", "tickmode": "array"},
        "yaxis": {**_QUIET_AXIS, "fixedrange": True, "autorange": False, "tickmode": "array"},
        "yaxis2": {**_HIDDEN_AXIS, "fixedrange": True, "range": [-1, 1]},
    }
    return {"data": [*bars, marks], "layout": layout}


# The address that the browser asks


@require("view")
async def view(request: HttpRequest, store: str, session_id: str) -> HttpResponse:
    """JSON of `charts`, with the server's clock. ``?groups=open`` shows each of many siblings."""
    chosen = manager(store)
    grouped = request.GET.get("groups") != "open"
    head = await chosen.get_head(session_id)
    if request.headers.get("If-None-Match") == _etag(head, head.last_seq, grouped):
        return HttpResponseNotModified()
    outline = await _outlines.outline(store, chosen, session_id)
    checkpoints = await chosen.list_checkpoints(session_id)
    holds = await chosen.log.read(session_id, before=outline.seq + 1, kinds=HOLD_KINDS, bodies=False)
    body = await asyncio.to_thread(_encoded, outline.document, checkpoints, holds, grouped)
    response = HttpResponse(body, content_type="application/json")
    response.headers["ETag"] = _etag(head, outline.seq, grouped)
    response.headers["Cache-Control"] = "private, no-cache"
    return response


_outlines = OutlineCache(size=8)


def _encoded(
    document: Document, checkpoints: Sequence[Checkpoint], holds: Sequence[Header], grouped: bool
) -> bytes:
    picture = charts(document, checkpoints, holds, grouped=grouped)
    return orjson.dumps({**picture, "server_time": milliseconds(utc_now())})


def _etag(head: Head, seq: int, grouped: bool) -> str:
    """Of a session that may have been deleted and made anew under the same id."""
    return f'"{milliseconds(head.created_at)}-{seq}-{"grouped" if grouped else "open"}"'
