"""Which agents work, and who after whom: plain data, checked when it is made.

    Topology([Node("collect", ["Collector"]), Node("report", ["Reporter"], after=["collect"])])

A node with several agents runs them at the same time, a branch each. A node that stands after several
branches joins them.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from typing import Any

from state_core.exceptions import TopologyError

FAIL, CONTINUE = "fail", "continue"

LONGEST_BRANCH_ID = 110
"""Leaves room for the step's number within the 128 characters of an id."""


def branch_id_of(name: str) -> str:
    """A name as an id: ``"Plan the trip"`` → ``Plan-the-trip``; a long or unusual one ends with its hash."""
    slug = re.sub(r"[^A-Za-z0-9_.:-]+", "-", name).strip("-.")
    if slug and len(slug) <= LONGEST_BRANCH_ID:
        return slug
    digest = hashlib.blake2b(name.encode(), digest_size=5).hexdigest()
    return f"{slug[: LONGEST_BRANCH_ID - 11]}-{digest}".lstrip("-")


@dataclass(frozen=True)
class Node:
    """A place in a topology."""

    name: str
    agents: Sequence[str]
    """Names of agents; each is a branch of its own."""
    after: Sequence[str] = ()
    """Names of the nodes that must have completed before."""
    on_error: str = FAIL
    """``"fail"``: a failed branch fails the session. ``"continue"``: the others go on without it."""
    step_timeout: float | None = None
    """Seconds; None: that of the orchestra."""
    max_attempts: int | None = None
    """Attempts per step; None: that of the orchestra."""

    def __post_init__(self) -> None:
        for field in ("agents", "after"):
            object.__setattr__(self, field, _names(getattr(self, field), f"{field} of node {self.name!r}"))
        self._check()

    def _check(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip():
            raise TopologyError(f"A node's name is text, not {self.name!r}.")
        if not self.agents:
            raise TopologyError(f"Node {self.name!r} has no agents; name at least one.")
        if self.on_error not in {FAIL, CONTINUE}:
            raise TopologyError(
                f"on_error of node {self.name!r} is {self.on_error!r}; choose 'fail' or 'continue'."
            )
        for field in ("step_timeout", "max_attempts"):
            value = getattr(self, field)
            if value is not None and not value > 0:
                raise TopologyError(f"{field} of node {self.name!r} is {value!r}; it must be more than 0.")

    @property
    def branch_names(self) -> list[str]:
        """The node's name, or ``node.Agent`` for each of several."""
        if len(self.agents) == 1:
            return [self.name]
        seen: Counter[str] = Counter()
        names = []
        for agent in self.agents:
            seen[agent] += 1
            names.append(f"{self.name}.{agent}" + (f"-{seen[agent]}" if seen[agent] > 1 else ""))
        return names


def _names(value: Any, what: str) -> tuple[str, ...]:
    names = (value,) if isinstance(value, str) else tuple(value or ())
    for name in names:
        if not isinstance(name, str) or not name.strip():
            raise TopologyError(f"{what}: {name!r} is not a name.")
    return names


@dataclass(frozen=True)
class Line:
    """A branch that is to run: what a topology is made into."""

    branch_id: str
    name: str
    agent: str
    node: Node
    parents: tuple[str, ...]
    """Ids of the branches that it stands after."""

    @property
    def is_optional(self) -> bool:
        return self.node.on_error == CONTINUE


@dataclass(frozen=True)
class Topology:
    """Nodes and their order. Raises TopologyError for a hole, a circle, or a name twice."""

    nodes: Sequence[Node]
    name: str = ""
    """Of the workflow; sessions can be listed by it."""

    def __post_init__(self) -> None:
        nodes = tuple(node if isinstance(node, Node) else _node(node) for node in self.nodes)
        object.__setattr__(self, "nodes", nodes)
        _check_names(nodes)
        _check_order(nodes)

    @classmethod
    def of(cls, value: Topology | Mapping[str, Any]) -> Topology:
        """Itself, or what `to_dict` made of it."""
        if isinstance(value, Topology):
            return value
        if isinstance(value, Mapping):
            return cls.from_dict(value)
        raise TopologyError(f"A {type(value).__name__} is not a topology; use Topology or PatternConfig.")

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Topology:
        unknown = set(document) - {"nodes", "name"}
        if unknown or not isinstance(document.get("nodes"), Sequence):
            raise TopologyError(
                "A topology's dict has 'nodes' (a list) and 'name'"
                + (f", not {', '.join(sorted(map(repr, unknown)))}." if unknown else ".")
            )
        return cls(document["nodes"], document.get("name", ""))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON, without what is left at its default."""
        return {"name": self.name, "nodes": [_node_document(node) for node in self.nodes]}

    @property
    def agents(self) -> set[str]:
        return {agent for node in self.nodes for agent in node.agents}

    @cached_property
    def _order(self) -> list[Node]:
        by_name = {node.name: node for node in self.nodes}
        graph = {node.name: node.after for node in self.nodes}
        return [by_name[name] for name in TopologicalSorter(graph).static_order()]

    def lines(self, round: int = 1) -> list[Line]:
        """Its branches, each behind its parents. From round 2 on their ids end with ``.r2``, ``.r3`` …"""
        suffix = f".r{round}" if round > 1 else ""
        ids = {node.name: [branch_id_of(name) + suffix for name in node.branch_names] for node in self.nodes}
        return [
            Line(branch_id, name, agent, node, tuple(i for before in node.after for i in ids[before]))
            for node in self._order
            for branch_id, name, agent in zip(ids[node.name], node.branch_names, node.agents, strict=True)
        ]

    def sinks(self, round: int = 1) -> list[Line]:
        """The branches that nothing stands after: their responses are the final one."""
        lines = self.lines(round)
        inner = {parent for line in lines for parent in line.parents}
        return [line for line in lines if line.branch_id not in inner]


def _node(document: Any) -> Node:
    try:
        return Node(**document)
    except TypeError as error:
        known = ", ".join(Node.__dataclass_fields__)
        raise TopologyError(f"{document!r} is not a node: {error}. A node has {known}.") from error


def _node_document(node: Node) -> dict[str, Any]:
    listed = {**asdict(node), "agents": list(node.agents), "after": list(node.after)}
    return {k: v for k, v in listed.items() if v not in (None, [], FAIL)}


def _check_names(nodes: Sequence[Node]) -> None:
    if not nodes:
        raise TopologyError("A topology needs at least one node.")
    _refuse_doubles((node.name for node in nodes), "nodes")
    _refuse_doubles((branch_id_of(name) for node in nodes for name in node.branch_names), "branches")


def _refuse_doubles(names: Iterable[str], what: str) -> None:
    doubles = [name for name, times in Counter(names).items() if times > 1]
    if doubles:
        shown = ", ".join(map(repr, doubles))
        raise TopologyError(f"Two {what} have the same name: {shown}. Give each its own.")


def _check_order(nodes: Sequence[Node]) -> None:
    names = {node.name for node in nodes}
    for node in nodes:
        missing = [name for name in node.after if name not in names]
        if missing:
            raise TopologyError(
                f"Node {node.name!r} stands after {missing[0]!r}, which is not there. "
                f"Nodes: {', '.join(sorted(names))}."
            )
    try:
        TopologicalSorter({node.name: node.after for node in nodes}).prepare()
    except CycleError as error:
        circle = " → ".join(reversed(error.args[1]))
        raise TopologyError(
            f"The topology goes in a circle: {circle}. Let an agent return Again or Handoff to repeat work."
        ) from error
