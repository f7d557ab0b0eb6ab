"""The usual topologies, ready made. Each is an ordinary `Topology`: nodes and what they stand after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from state_core.exceptions import TopologyError
from state_core.orchestra.topology import Node, Topology

GATHER = "gather"


class PatternConfig:
    """Makes topologies. ``name`` is the workflow's, for lists."""

    @staticmethod
    def pipeline(
        stages: Sequence[Mapping[str, Any]],
        parallel_within_stage: bool = True,
        *,
        name: str = "",
    ) -> Topology:
        """Stages one after another: ``[{"name": "collect", "agents": ["Collector"]}, …]``.

        Several agents of a stage work at the same time, each on the response of the stage before, and
        join in the next stage. With ``parallel_within_stage=False`` they work one after another, as
        stages of their own. A stage may also have ``on_error``, ``step_timeout``, ``max_attempts``.
        """
        nodes: list[Node] = []
        for number, stage in enumerate(stages, 1):
            for options in _stage_nodes(stage, number, parallel_within_stage):
                nodes.append(_node({**options, "after": [nodes[-1].name] if nodes else []}))
        return Topology(nodes, name)

    @staticmethod
    def fan_out(source: str, workers: Sequence[str], join: str | None = None, *, name: str = "") -> Topology:
        """The source's response goes to all workers at the same time, their responses to ``join``."""
        nodes = [Node(source, [source])]
        nodes += [Node(unique, [worker], [source]) for unique, worker in _unique(workers, {source, join})]
        if join is not None:
            joining = join if join != source else f"{join}.{GATHER}"
            nodes.append(Node(joining, [join], [node.name for node in nodes[1:]]))
        return Topology(nodes, name)

    @staticmethod
    def hub_and_spoke(
        hub: str,
        spokes: Sequence[str],
        parallel_spokes: bool = True,
        reflexive: bool = True,
        *,
        name: str = "",
    ) -> Topology:
        """The hub hands out work to its spokes and, when ``reflexive``, gathers their responses.

        With ``parallel_spokes=False`` the spokes work one after another, and each is given the hub's
        response and those of the spokes before it.
        """
        nodes = [Node(hub, [hub])]
        for unique, spoke in _unique(spokes, {hub}):
            after = [hub] if parallel_spokes else [node.name for node in nodes]
            nodes.append(Node(unique, [spoke], after))
        if reflexive:
            nodes.append(Node(f"{hub}.{GATHER}", [hub], [node.name for node in nodes[1:]]))
        return Topology(nodes, name)

    @staticmethod
    def hierarchical(
        tree: Mapping[str, Sequence[str]] | None = None,
        root: str | None = None,
        levels: Sequence[Sequence[str]] | None = None,
        *,
        reflexive: bool = True,
        name: str = "",
    ) -> Topology:
        """A manager's response goes down to those under it; when ``reflexive``, their responses come
        back up to it, level by level, up to the root.

        ``tree``: ``{"Manager": ["LeadA", "LeadB"], "LeadA": ["Worker1"]}``. Or ``root`` and ``levels``:
        each level stands after the whole level above it, and nothing comes back up.
        """
        if tree:
            return _Tree(tree, root).topology(reflexive, name)
        if not levels and not root:
            raise TopologyError("A hierarchy needs a tree, or a root and levels.")
        stages = [[root]] if root else []
        listed = [*stages, *(list(level) for level in levels or [])]
        return PatternConfig.pipeline(
            [{"name": f"level-{depth}", "agents": level} for depth, level in enumerate(listed, 1)], name=name
        )


def _stage_nodes(stage: Mapping[str, Any], number: int, parallel: bool) -> list[dict[str, Any]]:
    if not isinstance(stage, Mapping) or not stage.get("agents"):
        raise TopologyError(f"Stage {number} is {stage!r}; a stage is {{'name': …, 'agents': […]}}.")
    agents = [stage["agents"]] if isinstance(stage["agents"], str) else list(stage["agents"])
    named = {**stage, "name": stage.get("name") or f"stage-{number}", "agents": agents}
    if parallel or len(agents) == 1:
        return [named]
    return [
        {**named, "name": f"{named['name']}.{unique}", "agents": [agent]} for unique, agent in _unique(agents)
    ]


def _node(options: dict[str, Any]) -> Node:
    try:
        return Node(**options)
    except TypeError as error:
        raise TopologyError(f"Stage {options.get('name')!r}: {error}.") from error


def _unique(agents: Sequence[str], taken: set[str | None] | None = None) -> list[tuple[str, str]]:
    """(a name that nothing else has, the agent), for each."""
    seen = set(taken or ())
    pairs = []
    for agent in agents:
        name, number = agent, 1
        while name in seen:
            number += 1
            name = f"{agent}-{number}"
        seen.add(name)
        pairs.append((name, agent))
    return pairs


class _Tree:
    """Who stands under whom."""

    def __init__(self, tree: Mapping[str, Sequence[str]], root: str | None) -> None:
        self.children = {parent: _listed(children) for parent, children in tree.items()}
        self.root = root or self._only_root()
        self.nodes: list[Node] = []

    def _only_root(self) -> str:
        below = {child for children in self.children.values() for child in children}
        roots = [name for name in self.children if name not in below]
        if len(roots) != 1:
            found = ", ".join(map(repr, roots)) or "none"
            raise TopologyError(f"A tree has one root; this one has {found}. Name it with root=….")
        return roots[0]

    def topology(self, reflexive: bool, name: str) -> Topology:
        self._refuse_circles(self.root, ())
        self._down(self.root, [])
        if reflexive:
            self._up(self.root)
        return Topology(self.nodes, name)

    def _refuse_circles(self, name: str, above: tuple[str, ...]) -> None:
        if name in above:
            raise TopologyError(f"The tree goes in a circle: {' → '.join((*above, name))}.")
        for child in self.children.get(name, ()):
            self._refuse_circles(child, (*above, name))

    def _down(self, name: str, after: list[str]) -> None:
        self.nodes.append(Node(name, [name], after))
        for child in self.children.get(name, ()):
            self._down(child, [name])

    def _up(self, name: str) -> str:
        """The node that has the responses of everything under ``name``."""
        children = self.children.get(name)
        if not children:
            return name
        below = [self._up(child) for child in children]
        self.nodes.append(Node(f"{name}.{GATHER}", [name], below))
        return f"{name}.{GATHER}"


def _listed(children: Any) -> list[str]:
    return [children] if isinstance(children, str) else list(children)
