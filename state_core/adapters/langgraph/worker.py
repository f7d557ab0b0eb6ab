"""A worker for graphs: goes on with threads that somebody resumed, or whose process fell silent."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from langgraph.graph import StateGraph
from langgraph.pregel import Pregel

from state_core.adapters.langgraph.running import run_session
from state_core.adapters.langgraph.saver import StateCoreSaver
from state_core.adapters.langgraph.threads import TAG
from state_core.exceptions import ConfigurationError
from state_core.manager import StateManager
from state_core.records import Head, SessionStatus
from state_core.rounds import GoOn, Worker
from state_core.sync import shared


class GraphWorker(Worker):
    """Takes up resumed and interrupted sessions of these graphs, by the workflow that stands in them.

    ``graphs``: compiled with savers on one store. ``poll``, ``concurrency``, ``max_recoveries``: see
    `Worker`. Raises ConfigurationError where the graphs have several stores, or none of ours.
    """

    statuses = (SessionStatus.RESUMING, SessionStatus.INTERRUPTED)
    tag = TAG

    def __init__(
        self,
        graphs: Mapping[str, Any],
        *,
        poll: float = 0.5,
        concurrency: int = 4,
        max_recoveries: int = 3,
    ) -> None:
        manager = _manager_of(graphs)
        super().__init__(manager, poll=poll, concurrency=concurrency, max_recoveries=max_recoveries)
        self.graphs = dict(graphs)

    def way_on(self, head: Head, metadata: Mapping[str, Any]) -> GoOn | None:
        graph = self.graphs.get(head.workflow)
        if graph is None or "resume" in head.refuses:
            return None

        async def go_on(noted: Mapping[str, Any]) -> None:
            threads = graph.checkpointer.threads
            thread = await asyncio.wrap_future(shared.submit(threads.read_session(head.session_id)))
            await run_session(
                graph,
                thread_id=thread.thread_id if thread else head.session_id,
                workflow=head.workflow,
                metadata=noted,
                statuses=self.statuses,
            )

        return go_on


Graph = Pregel[Any, Any, Any, Any] | StateGraph[Any, Any, Any, Any]
"""Compiled, or as it was built."""


def graphs_in(name: str, found: Any) -> dict[str, Graph]:
    """Workflow → graph, where this is a graph, a builder (by its ``name``), or a mapping of such."""
    if isinstance(found, Mapping):
        are_graphs = all(isinstance(value, Pregel | StateGraph) for value in found.values())
        return dict(found) if are_graphs else {}
    if isinstance(found, Pregel):
        return {found.get_name(): found}
    return {name: found} if isinstance(found, StateGraph) else {}


def graph_workers(
    graphs: Mapping[str, Graph], managers: Sequence[StateManager], **options: Any
) -> list[GraphWorker]:
    """One for each store: a graph with a saver of ours is worked on in the saver's store, any other in each
    of those of ``managers``. ``options``: those of `GraphWorker`. Raises ConfigurationError for a graph with
    somebody else's checkpointer."""
    by_store: dict[int, dict[str, Any]] = {}
    unbound = {name: graph for name, graph in graphs.items() if not getattr(graph, "checkpointer", None)}
    for name in graphs.keys() - unbound.keys():
        store = _manager_of({name: graphs[name]}).storage
        by_store.setdefault(id(store), {})[name] = graphs[name]
    for manager in managers if unbound else ():
        saver = StateCoreSaver(manager)
        there = by_store.setdefault(id(manager.storage), {})
        there.update({name: _bound(graph, name, saver) for name, graph in unbound.items()})
    return [GraphWorker(found, **options) for found in by_store.values()]


def _bound(graph: Graph, name: str, saver: StateCoreSaver) -> Any:
    if isinstance(graph, StateGraph):
        return graph.compile(checkpointer=saver, name=name)
    return graph.copy({"checkpointer": saver})


def _manager_of(graphs: Mapping[str, Any]) -> StateManager:
    savers = [graph.checkpointer for graph in graphs.values()]
    foreign = [name for name, graph in graphs.items() if not isinstance(graph.checkpointer, StateCoreSaver)]
    if foreign or not savers:
        raise ConfigurationError(
            "A GraphWorker needs graphs that were compiled with a StateCoreSaver"
            + (f"; {foreign[0]!r} was not" if foreign else "")
            + ". Compile it with `builder.compile(checkpointer=StateCoreSaver(storage))`."
        )
    managers = {id(saver.state_manager.storage): saver.state_manager for saver in savers}
    if len(managers) > 1:
        raise ConfigurationError("The graphs of a GraphWorker need one store; start a worker for each store.")
    manager: StateManager = savers[0].state_manager
    return manager
