"""Where the boxes of the branch graph stand. Places are CSS pixels; igraph knows the order of rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import igraph

from state_core.records import Document, parse_time

NAME_LENGTH = 120
"""Longer names are cut: they are drawn into boxes."""

NODE_HEIGHT = 40
ROW = 46
COLUMN_GAP = 60
NODE_WIDTHS = (128, 190)
CHARACTER = 7
"""Pixels per character of a node's label, and a little more."""
LABEL_PADDING = 38

SUGIYAMA_LIMIT = 20_000
"""Edges, counted once per layer that they cross. A layered layout above it is too slow; a tree is not."""
GROUP_FROM = 12
"""So many siblings with the same parents and the same children are shown as one node …"""
GROUPING_FROM = 40
"""… once there are this many branches."""


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


@dataclass
class Graph:
    nodes: list[Node]
    """In the order in which their branches were opened."""
    edges: list[tuple[str, str]]
    width: float = 0.0
    height: float = 0.0
    groups: int = 0


def branch_graph(document: Document, *, grouped: bool = True, unfolded: Collection[str] = ()) -> Graph:
    """The branches that really ran, laid out from left to right: every parent is left of its children.

    ``unfolded``: ids of groups whose members are shown one by one."""
    nodes = _nodes(document["branches"], grouped, unfolded)
    edges = [(parent, node.id) for node in nodes for parent in node.parents]
    graph = Graph(nodes, edges, groups=sum(len(node.members) > 1 for node in nodes))
    _set_layers(nodes)
    _place(graph)
    return graph


def _nodes(branches: Mapping[str, Document], grouped: bool, unfolded: Collection[str]) -> list[Node]:
    parents = _known_parents(branches)
    groups = _groups(parents) if grouped and len(branches) > GROUPING_FROM else {}
    group_of = {branch_id: group for branch_id, group in groups.items() if group not in unfolded}
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
        above = [parent for parent in branch["parent_ids"] if parent in known]
        ways = [way for parent in above for way in _ways(branches, known, parent, branch_id)]
        known[branch_id] = list(dict.fromkeys(ways))
    return known


def _ways(
    branches: Mapping[str, Document], known: Mapping[str, list[str]], parent: str, child: str
) -> list[str]:
    """From ``parent`` to what follows it: through the branches that it fanned out to and waited for."""
    if not _follows(branches[child], branches[parent]):
        return [parent]
    joined = branches[parent]["joined_ids"]
    return [other for other in joined if parent in known.get(other, ())] or [parent]


def _follows(child: Document, parent: Document) -> bool:
    """Was it opened when its parent had ended, rather than by its parent at work?"""
    opened, ended = parse_time(child["opened_at"]), parse_time(parent["ended_at"])
    return bool(opened and ended and opened >= ended)


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
    rows = _apart(graph.nodes, _rows(graph))
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


def _apart(nodes: Sequence[Node], rows: Sequence[float]) -> list[float]:
    """At least one row between neighbours in a layer, which igraph mostly but not always keeps."""
    apart = list(rows)
    below: dict[int, float] = {}
    for number in sorted(range(len(nodes)), key=lambda number: (rows[number], number)):
        layer = nodes[number].layer
        apart[number] = max(rows[number], below.get(layer, rows[number]))
        below[layer] = apart[number] + 1
    return apart


def _rows(graph: Graph) -> list[float]:
    numbers = {node.id: number for number, node in enumerate(graph.nodes)}
    if all(len(node.parents) < 2 for node in graph.nodes):
        return _tree_rows(graph.nodes, numbers)
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
