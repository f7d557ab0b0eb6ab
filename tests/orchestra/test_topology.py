from __future__ import annotations

import json

import pytest

from state_core.exceptions import TopologyError
from state_core.orchestra import Node, PatternConfig, Topology
from state_core.orchestra.topology import LONGEST_BRANCH_ID, branch_id_of


def after(topology: Topology) -> dict[str, tuple[str, ...]]:
    return {node.name: tuple(node.after) for node in topology.nodes}


def test_a_topology_survives_json() -> None:
    topology = Topology(
        [
            Node("a", ["A"], on_error="continue", step_timeout=2.5),
            Node("b", ["B", "C"], ["a"], max_attempts=3),
        ],
        name="flow",
    )
    assert Topology.from_dict(json.loads(json.dumps(topology.to_dict()))) == topology


@pytest.mark.parametrize(
    ("nodes", "says"),
    [
        ([], "at least one node"),
        ([Node("a", ["A"]), Node("a", ["B"])], "Two nodes have the same name: 'a'"),
        ([Node("a b", ["A"]), Node("a-b", ["B"])], "Two branches have the same name"),
        ([Node("b", ["B"], ["a"])], "'b' stands after 'a', which is not there"),
        ([Node("a", ["A"], ["b"]), Node("b", ["B"], ["a"])], "circle"),
        ([Node("a", ["A"], ["a"])], "circle: a → a"),
        ([{"name": "a", "agents": ["A"], "afterwards": []}], "afterwards"),
        (["a"], "not a node"),
    ],
)
def test_a_wrong_topology_is_refused_with_a_remedy(nodes: list[object], says: str) -> None:
    with pytest.raises(TopologyError, match=says):
        Topology(nodes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"agents": []}, "no agents"),
        ({"agents": [""]}, "is not a name"),
        ({"name": " "}, "name is text"),
        ({"on_error": "ignore"}, "choose 'fail' or 'continue'"),
        ({"step_timeout": 0}, "more than 0"),
        ({"max_attempts": -1}, "more than 0"),
    ],
)
def test_a_wrong_node_is_refused(options: dict[str, object], says: str) -> None:
    with pytest.raises(TopologyError, match=says):
        Node(**{"name": "n", "agents": ["A"], **options})  # type: ignore[arg-type]


def test_something_else_is_not_a_topology() -> None:
    with pytest.raises(TopologyError, match="A list is not a topology"):
        Topology.of([])  # type: ignore[arg-type]
    with pytest.raises(TopologyError, match="'nodes'"):
        Topology.from_dict({"agents": []})


def test_a_node_of_several_agents_is_a_branch_for_each() -> None:
    topology = Topology([Node("read", ["R", "R", "S"]), Node("join", ["J"], ["read"])])
    lines = topology.lines()
    assert [line.name for line in lines] == ["read.R", "read.R-2", "read.S", "join"]
    assert lines[-1].parents == ("read.R", "read.R-2", "read.S")
    assert [line.branch_id for line in topology.sinks(2)] == ["join.r2"]


def test_lines_come_behind_their_parents_whatever_the_order_of_nodes() -> None:
    topology = Topology([Node("c", ["C"], ["b"]), Node("b", ["B"], ["a"]), Node("a", ["A"])])
    assert [line.branch_id for line in topology.lines()] == ["a", "b", "c"]


def test_any_name_becomes_an_id() -> None:
    assert branch_id_of("Plan the trip") == "Plan-the-trip"
    assert branch_id_of("…") != branch_id_of("?!")
    long = branch_id_of("x" * 500)
    assert len(long) == LONGEST_BRANCH_ID
    assert long != branch_id_of("x" * 501)


def test_a_pipeline_joins_its_parallel_stages() -> None:
    topology = PatternConfig.pipeline([{"name": "a", "agents": ["A"]}, {"name": "b", "agents": ["B", "C"]}])
    assert after(topology) == {"a": (), "b": ("a",)}


def test_a_stage_can_run_its_agents_one_after_another() -> None:
    topology = PatternConfig.pipeline([{"name": "a", "agents": ["A", "B"]}], parallel_within_stage=False)
    assert after(topology) == {"a.A": (), "a.B": ("a.A",)}


@pytest.mark.parametrize("stage", [{"name": "a"}, "a", {"name": "a", "agents": ["A"], "colour": "red"}])
def test_a_wrong_stage_is_refused(stage: object) -> None:
    with pytest.raises(TopologyError, match="tage"):
        PatternConfig.pipeline([stage])  # type: ignore[list-item]


def test_fan_out_and_join() -> None:
    topology = PatternConfig.fan_out("S", ["W", "W"], "J")
    assert after(topology) == {"S": (), "W": ("S",), "W-2": ("S",), "J": ("W", "W-2")}


def test_the_source_may_join_what_it_fanned_out() -> None:
    assert "S.gather" in after(PatternConfig.fan_out("S", ["W"], "S"))


def test_the_hub_gathers() -> None:
    topology = PatternConfig.hub_and_spoke("H", ["A", "B"])
    assert after(topology) == {"H": (), "A": ("H",), "B": ("H",), "H.gather": ("A", "B")}


def test_spokes_can_work_one_after_another() -> None:
    topology = PatternConfig.hub_and_spoke("H", ["A", "B"], parallel_spokes=False, reflexive=False)
    assert after(topology) == {"H": (), "A": ("H",), "B": ("H", "A")}


def test_a_hierarchy_goes_down_and_comes_back_up() -> None:
    topology = PatternConfig.hierarchical(tree={"M": ["L", "K"], "L": ["W1", "W2"]})
    assert after(topology) == {
        "M": (),
        "L": ("M",),
        "W1": ("L",),
        "W2": ("L",),
        "K": ("M",),
        "L.gather": ("W1", "W2"),
        "M.gather": ("L.gather", "K"),
    }


def test_a_hierarchy_of_levels() -> None:
    topology = PatternConfig.hierarchical(root="M", levels=[["A", "B"], ["C"]])
    assert [line.name for line in topology.lines()] == ["level-1", "level-2.A", "level-2.B", "level-3"]


@pytest.mark.parametrize("tree", [{"A": ["B"], "B": ["A"]}, {"A": ["B"], "C": ["D"]}, {}])
def test_a_tree_has_one_root_and_no_circle(tree: dict[str, list[str]]) -> None:
    with pytest.raises(TopologyError):
        PatternConfig.hierarchical(tree=tree)


def test_a_tree_below_its_named_root_has_no_circle() -> None:
    with pytest.raises(TopologyError, match="A → B → A"):
        PatternConfig.hierarchical(tree={"A": ["B"], "B": ["A"]}, root="A")
