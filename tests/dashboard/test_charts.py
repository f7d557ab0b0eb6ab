"""The branch graph and the timeline as the server computes them."""

from __future__ import annotations

import itertools
import random
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import plotly.graph_objects as go
import pytest

from marsys_dashboard.charts import charts, graph_figure, pauses, timeline_figure
from marsys_dashboard.columns import boxes_and_edges, lanes_and_bars, numbered
from marsys_dashboard.graph_layout import COLUMN_GAP, NODE_HEIGHT, Graph, branch_graph
from state_core.events import Event
from state_core.fold import empty_document, fold
from state_core.records import Checkpoint, Document

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


def event(kind: str, second: float = 0, **header: Any) -> Event:
    return Event(kind=kind, at=START + timedelta(seconds=second), **header)


def opened(branch: str, *parents: str, name: str = "", status: str = "running") -> Event:
    data = {"name": name or branch, "parents": list(parents)}
    return event("branch.opened", branch_id=branch, status=status, data=data)


def document_of(*events: Event) -> Document:
    return fold(empty_document("s"), events)


def tree(branches: int, arity: int) -> Document:
    return document_of(*(opened(f"b{i}", *([f"b{(i - 1) // arity}"] if i else [])) for i in range(branches)))


def random_graph(branches: int, seed: int) -> Document:
    choose = random.Random(seed)
    names = [f"b{i}" for i in range(branches)]
    return document_of(
        *(
            opened(name, *choose.sample(names[max(0, i - 30) : i], min(i, choose.choice((1, 1, 1, 2, 3)))))
            for i, name in enumerate(names)
        )
    )


FAN = document_of(
    opened("plan"),
    *(opened(f"r{i}", "plan") for i in range(4)),
    opened("join", *(f"r{i}" for i in range(4)), status="waiting"),
    opened("report", "join", "plan", status="pending"),
)
DOCUMENTS = {
    "nothing": document_of(),
    "one": document_of(opened("only")),
    "fan": FAN,
    "two roots": document_of(opened("a"), opened("b"), opened("c", "b")),
    "tree": tree(400, 3),
    "random": random_graph(300, seed=7),
    "too entangled for layers": random_graph(900, seed=3),
}


@pytest.fixture(params=DOCUMENTS, name="document")
def _document(request: pytest.FixtureRequest) -> Document:
    return DOCUMENTS[request.param]


def overlaps(graph: Graph) -> list[tuple[str, str]]:
    by_column: dict[float, list[Any]] = {}
    for node in graph.nodes:
        by_column.setdefault(node.x, []).append(node)
    found = []
    for column in by_column.values():
        ordered = sorted(column, key=lambda node: node.y)
        found += [(a.id, b.id) for a, b in itertools.pairwise(ordered) if b.y - a.y < NODE_HEIGHT + 4]
    return found


# The graph


def test_parents_stand_left_of_their_children(document: Document) -> None:
    graph = branch_graph(document, grouped=False)
    nodes = {node.id: node for node in graph.nodes}
    for source, target in graph.edges:
        right_edge = nodes[source].x + nodes[source].width / 2
        assert right_edge + COLUMN_GAP <= nodes[target].x - nodes[target].width / 2


def test_no_two_boxes_lie_on_one_another(document: Document) -> None:
    assert overlaps(branch_graph(document, grouped=False)) == []


def test_the_same_session_is_always_laid_out_in_the_same_way(document: Document) -> None:
    assert branch_graph(document) == branch_graph(document)


def test_boxes_and_edges_are_told_by_numbers(document: Document) -> None:
    graph = branch_graph(document)
    numbers = numbered(document["branches"])
    told = boxes_and_edges(graph, numbers)
    ids = list(numbers)
    assert [[ids[lane] for lane in lanes] for lanes in told["of"]] == [node.members for node in graph.nodes]
    edges = zip(told["edges"][::2], told["edges"][1::2], strict=True)
    assert [tuple(graph.nodes[end].id for end in edge) for edge in edges] == graph.edges


def test_every_box_lies_inside_the_picture(document: Document) -> None:
    graph = branch_graph(document, grouped=False)
    for node in graph.nodes:
        assert node.width / 2 <= node.x <= graph.width - node.width / 2
        assert NODE_HEIGHT / 2 <= node.y <= graph.height - NODE_HEIGHT / 2


def test_every_parent_of_a_join_has_its_edge() -> None:
    edges = branch_graph(FAN).edges
    assert [edge for edge in edges if edge[1] == "join"] == [(f"r{i}", "join") for i in range(4)]
    assert ("plan", "report") in edges


def fanned_out(*, closed: bool) -> Document:
    """One branch fans out at run time to three, waits for two of them, and another follows it."""
    events = [opened("analyse"), *(opened(f"r{i}", "analyse") for i in range(3))]
    for name in ("r0", "r1"):
        events.append(event("branch.completed", 5, branch_id=name, status="completed"))
        data = {"parent": name}
        events.append(event("branch.joined", 6, branch_id="analyse", status="running", data=data))
    if closed:
        events.append(event("branch.completed", 7, branch_id="analyse", status="completed"))
    data = {"name": "after", "parents": ["analyse"]}
    return document_of(*events, event("branch.opened", 8, branch_id="after", status="running", data=data))


def test_what_follows_a_fan_out_comes_after_the_branches_that_were_waited_for() -> None:
    edges = branch_graph(fanned_out(closed=True)).edges
    assert [source for source, target in edges if target == "after"] == ["r0", "r1"]
    assert [target for source, target in edges if source == "analyse"] == ["r0", "r1", "r2"]


def test_what_a_branch_opens_while_it_works_hangs_on_that_branch() -> None:
    edges = branch_graph(fanned_out(closed=False)).edges
    assert [source for source, target in edges if target == "after"] == ["analyse"]


def test_siblings_stand_in_the_order_of_their_opening() -> None:
    rows = {node.id: node.y for node in branch_graph(FAN).nodes}
    assert rows["r0"] < rows["r1"] < rows["r2"] < rows["r3"]


def test_an_entangled_graph_falls_back_to_a_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("marsys_dashboard.graph_layout.SUGIYAMA_LIMIT", 3)
    graph = branch_graph(FAN)
    assert overlaps(graph) == []
    assert len(graph.edges) == 10


def test_many_siblings_with_the_same_neighbours_are_one_box() -> None:
    names = [f"worker-{i}" for i in range(50)]
    document = document_of(
        opened("plan"), *(opened(name, "plan") for name in names), opened("report", *names)
    )
    graph = branch_graph(document)
    assert [node.members for node in graph.nodes] == [["plan"], names, ["report"]]
    assert graph.edges == [("plan", graph.nodes[1].id), (graph.nodes[1].id, "report")]
    assert len(branch_graph(document, grouped=False).nodes) == 52


def test_siblings_that_lead_to_different_places_stay_apart() -> None:
    pairs = [branch for i in range(30) for branch in (opened(f"a{i}", "plan"), opened(f"b{i}", f"a{i}"))]
    assert branch_graph(document_of(opened("plan"), *pairs)).groups == 0


@pytest.mark.parametrize("arity", [1, 2, 70], ids=["chain", "binary", "wide"])
def test_five_thousand_branches_are_laid_out_within_three_seconds(arity: int) -> None:
    document = tree(5000, arity)
    began = time.perf_counter()
    graph = branch_graph(document, grouped=False)
    assert time.perf_counter() - began < 3
    assert len(graph.nodes) == 5000


def test_parents_that_are_not_there_are_left_out() -> None:
    document = document_of(opened("a"), opened("b", "a"))
    document["branches"]["b"]["parent_ids"] = ["gone", "a", "b"]
    assert branch_graph(document).edges == [("a", "b")]


def test_a_very_long_name_is_cut_and_its_box_stays_narrow() -> None:
    document = document_of(opened("a", name="<script>alert(1)</script>" * 500))
    assert len(branch_graph(document).nodes[0].name) == 120
    assert branch_graph(document).width == 190
    assert len(lanes_and_bars(document["branches"])["lanes"]["name"][0]) == 120


# The timeline


def test_steps_are_bars_in_the_lane_of_their_branch() -> None:
    step = {"branch_id": "b", "step_id": "b.1", "agent": "Reader"}
    document = document_of(
        opened("a"),
        opened("b"),
        event("step.started", 1, **step, status="running", data={"attempt": 1}),
        event("step.failed", 2, **step, status="failed", duration=1.0),
        event("step.retried", 3, **step, status="running", data={"attempt": 2, "previous": "failed"}),
    )
    shown = lanes_and_bars(document["branches"])
    names = shown["names"]
    assert shown["lanes"]["id"] == ["a", "b"]
    bars = shown["bars"]
    assert bars["count"] == [0, 1]
    start = round(START.timestamp() * 1000) + 3000
    assert [bars[key][0] for key in ("step", "start", "took")] == ["b.1", start, None]
    assert [names[bars[key][0]] for key in ("agent", "status")] == ["Reader", "running"]
    assert bars["again"] == {"0": 2}


def test_what_is_alike_is_said_once() -> None:
    shown = lanes_and_bars(tree(400, 3)["branches"])
    assert len(shown["names"]) == len(set(shown["names"])) < 10
    assert shown["lanes"]["name"] == [None] * 400
    later = shown["lanes"]["opened"][1:]
    assert max(later) < 10_000, "moments are told as steps from one to the next"


def test_a_pause_lasts_until_somebody_goes_on() -> None:
    events = [
        event("session.started", 0),
        event("session.paused", 10),
        event("session.restored", 20, data={"to": 1}),
        event("session.resumed", 30),
        event("session.interrupted", 40),
    ]
    zero = round(START.timestamp() * 1000)
    assert pauses(events) == [
        {"start": zero + 10_000, "end": zero + 30_000, "why": "paused"},
        {"start": zero + 40_000, "end": None, "why": "interrupted"},
    ]


def test_a_session_that_ends_ends_its_pause() -> None:
    assert pauses([event("session.paused", 1), event("session.cancelled", 5)])[0]["end"] is not None


def test_checkpoints_stand_where_they_were_made() -> None:
    place = Checkpoint("c1", "s", "before-merge", 3, START, size_bytes=10)
    assert charts(FAN, [place])["checkpoints"] == [
        {
            "id": "c1",
            "name": "before-merge",
            "seq": 3,
            "kind": "manual",
            "at": round(START.timestamp() * 1000),
        }
    ]


def test_the_whole_picture_is_json(document: Document) -> None:
    picture = orjson.loads(orjson.dumps(charts(document)))
    assert picture["seq"] == document["seq"]
    assert picture["timeline"]["lanes"]["id"] == list(document["branches"])


def test_no_content_of_the_session_is_in_the_picture() -> None:
    document = document_of(opened("a"))
    document["branches"]["a"]["memory"].append({"role": "user", "content": "secret words"})
    document["context"]["key"] = "secret words"
    assert b"secret words" not in orjson.dumps(charts(document))


# Figures


@pytest.mark.parametrize("figure", [graph_figure(), timeline_figure()], ids=["graph", "timeline"])
def test_plotly_accepts_the_figures(figure: Document) -> None:
    made = go.Figure(figure)
    assert made.layout.uirevision == "constant"
    assert len(made.data) == len(figure["data"])


def test_no_figure_has_a_trace_for_each_branch_or_step() -> None:
    assert [trace["name"] for trace in graph_figure()["data"]] == ["titles", "details"]
    assert [trace["name"] for trace in timeline_figure()["data"]] == ["signs", "checkpoints"]
