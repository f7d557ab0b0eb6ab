"""LangGraph with its checkpointers and a plain list channel: one node, invoked once a turn."""

from __future__ import annotations

import operator
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from itertools import islice
from typing import Annotated, Any, TypedDict

from benchmarks.machine import Place, texts
from benchmarks.peers import PeerMissing


class State(TypedDict):
    messages: Annotated[list[str], operator.add]


async def postgresql(place: Place, turns: int) -> tuple[int, float]:
    saver = _load("langgraph.checkpoint.postgres").PostgresSaver
    with saver.from_conn_string(place.url) as checkpointer:
        checkpointer.setup()
        seconds = _converse(checkpointer, turns)
    return place.stored_bytes(), seconds


async def sqlite(place: Place, turns: int) -> tuple[int, float]:
    saver = _load("langgraph.checkpoint.sqlite").SqliteSaver
    with saver.from_conn_string(str(place.folder / "peer.sqlite3")) as checkpointer:
        seconds = _converse(checkpointer, turns)
    return place.stored_bytes(), seconds


def _load(name: str) -> Any:
    try:
        import_module("langgraph.graph")
        return import_module(name)
    except ImportError as error:
        raise PeerMissing(f"LangGraph is not installed ({error}): pip install -e '.[bench]'.") from error


def _converse(checkpointer: Any, turns: int) -> float:
    graph = _graph(checkpointer)
    thread = {"configurable": {"thread_id": "growth"}}
    began = time.perf_counter()
    for text in islice(texts(), turns):
        graph.invoke({"messages": [text]}, thread, durability="sync")
    return time.perf_counter() - began


def _graph(checkpointer: Any) -> Any:
    module = import_module("langgraph.graph")
    builder = module.StateGraph(State)
    builder.add_node("agent", lambda state: {})
    builder.add_edge(module.START, "agent")
    return builder.compile(checkpointer=checkpointer)


# A conversation, with any saver


def our_saver(place: Place) -> AbstractContextManager[Any]:
    saver: AbstractContextManager[Any] = _load("state_core.adapters.langgraph").StateCoreSaver.from_url(
        place.url
    )
    return saver


@contextmanager
def postgresql_saver(place: Place) -> Iterator[Any]:
    saver = _load("langgraph.checkpoint.postgres").PostgresSaver
    with saver.from_conn_string(place.url) as checkpointer:
        checkpointer.setup()
        yield checkpointer


@contextmanager
def sqlite_saver(place: Place) -> Iterator[Any]:
    saver = _load("langgraph.checkpoint.sqlite").SqliteSaver
    with saver.from_conn_string(str(place.folder / "peer.sqlite3")) as checkpointer:
        yield checkpointer


def talk(checkpointer: Any, answers: Iterator[str]) -> Any:
    """A graph with the framework's own state for messages, that gives these answers."""
    module = import_module("langgraph.graph")
    builder = module.StateGraph(module.MessagesState)
    builder.add_node("chat", lambda state: {"messages": [("ai", next(answers))]})
    builder.add_edge(module.START, "chat")
    return builder.compile(checkpointer=checkpointer)
