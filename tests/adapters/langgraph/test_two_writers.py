"""Two runs that go on from the same checkpoint: one gets an error, and nothing forks silently."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypedDict

import pytest
from langgraph.graph import START, StateGraph

from state_core import StorageBackend
from state_core.adapters.langgraph import StateCoreSaver
from state_core.exceptions import ConflictError
from state_core.manager import StateManager
from tests.adapters.langgraph.graphs import config


class Sum(TypedDict, total=False):
    number: int
    answer: str


def meeting(storage: StorageBackend, parties: int = 2) -> tuple[list[Any], threading.Barrier]:
    """The same graph with savers of their own, as in several processes; their nodes wait for each other."""
    barrier = threading.Barrier(parties)

    def meet(state: Sum) -> Sum:
        barrier.wait(timeout=20)
        return {"number": state["number"] + 1}

    def graph() -> Any:
        builder = StateGraph(Sum)
        builder.add_node("meet", meet)
        builder.add_edge(START, "meet")
        return builder.compile(checkpointer=StateCoreSaver(StateManager(storage)))

    return [graph() for _ in range(parties)], barrier


def both(calls: list[Any]) -> tuple[list[Any], list[BaseException]]:
    with ThreadPoolExecutor(len(calls)) as pool:
        futures = [pool.submit(call) for call in calls]
    errors = [error for future in futures if (error := future.exception())]
    return [future.result() for future in futures if not future.exception()], errors


def roots(graph: Any) -> int:
    return sum(found.parent_config is None for found in graph.checkpointer.list(config()))


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_of_two_first_runs_of_a_thread_one_gets_an_error(storage: StorageBackend, durability: str) -> None:
    graphs, barrier = meeting(storage)

    def run(graph: Any, number: int) -> Any:
        try:
            return graph.invoke({"number": number}, config(), durability=durability)
        except ConflictError:
            barrier.abort()
            raise

    results, errors = both([lambda: run(graphs[0], 10), lambda: run(graphs[1], 20)])
    assert [type(error) for error in errors if not isinstance(error, threading.BrokenBarrierError)] == [
        ConflictError
    ]
    assert len(results) + len(errors) == 2
    assert roots(graphs[0]) == 1


def test_of_two_runs_that_go_on_from_the_same_checkpoint_one_gets_an_error(storage: StorageBackend) -> None:
    graphs, _barrier = meeting(storage, 1)
    graph = graphs[0]
    graph.invoke({"number": 1}, config(), durability="sync")
    latest = graph.get_state(config()).config["configurable"]["checkpoint_id"]
    for number, place in enumerate((config(), config(checkpoint_id=latest))):
        slow, fast = StateCoreSaver(StateManager(storage)), StateCoreSaver(StateManager(storage))
        read, other = slow.get_tuple(place), fast.get_tuple(place)
        assert read is not None and other is not None
        next_one = {**other.checkpoint, "id": f"{other.checkpoint['id']}-{number}"}
        fast.put(other.config, next_one, {"source": "loop", "step": 9}, {})  # type: ignore[arg-type]
        with pytest.raises(ConflictError):
            slow.put_writes(read.config, [("number", 5)], "task")
        with pytest.raises(ConflictError):
            slow.put(read.config, {**next_one, "id": "f" * 36}, {"source": "loop", "step": 9}, {})  # type: ignore[arg-type]


def test_a_person_who_updates_the_state_under_a_run_stops_the_run(storage: StorageBackend) -> None:
    entered, updated = threading.Event(), threading.Event()

    def work(state: Sum) -> Sum:
        entered.set()
        assert updated.wait(20)
        return {"number": state["number"] + 1}

    builder = StateGraph(Sum)
    builder.add_node("work", work)
    builder.add_edge(START, "work")
    mine = builder.compile(checkpointer=StateCoreSaver(StateManager(storage)))
    theirs = builder.compile(checkpointer=StateCoreSaver(StateManager(storage)))
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(mine.invoke, {"number": 1}, config(), durability="sync")
        assert entered.wait(20)
        theirs.update_state(config(), {"number": 100})
        updated.set()
        with pytest.raises(ConflictError):
            run.result()
    assert theirs.get_state(config()).values["number"] == 100


def test_one_after_another_both_may_go_on_from_an_old_checkpoint(storage: StorageBackend) -> None:
    builder = StateGraph(Sum)
    builder.add_node("add", lambda state: {"number": state["number"] + 1})
    builder.add_edge(START, "add")
    graphs = [builder.compile(checkpointer=StateCoreSaver(StateManager(storage))) for _ in range(2)]
    graphs[0].invoke({"number": 1}, config())
    old = graphs[0].get_state(config()).config["configurable"]["checkpoint_id"]
    sums = [
        graph.invoke({"number": number}, config(checkpoint_id=old))["number"]
        for graph, number in zip(graphs, (10, 20), strict=True)
    ]
    assert sums == [11, 21]
    assert graphs[0].get_state(config()).values["number"] == 21
