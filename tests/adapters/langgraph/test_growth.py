"""What a thread takes grows with what is said in it, and reading it stays quick."""

from __future__ import annotations

import random
import string
import time
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages

from state_core import FileStorageBackend, MemoryStorageBackend, StorageBackend
from state_core.adapters.langgraph import StateCoreSaver
from state_core.copying import copy_session
from tests.adapters.langgraph.graphs import config

TURNS = 400
MOST_BYTES = 1_500_000


class Talk(TypedDict):
    messages: Annotated[list[AnyMessage], add_messages]


def converse(saver: StateCoreSaver, turns: int) -> Any:
    """A short question and a kilobyte of answer a turn, of letters and digits that nothing makes shorter."""
    chosen = random.Random(1)
    letters = string.ascii_letters + string.digits

    def chat(state: Talk) -> dict[str, Any]:
        return {"messages": [AIMessage("".join(chosen.choices(letters, k=1024)))]}

    builder = StateGraph(Talk)
    builder.add_node("chat", chat)
    builder.add_edge(START, "chat")
    graph = builder.compile(checkpointer=saver)
    for turn in range(turns):
        question = HumanMessage(f"Question {turn}: what next?")
        graph.invoke({"messages": [question]}, config(), durability="sync")
    return graph


@pytest.fixture(scope="module")
def talked() -> StorageBackend:
    """A store in memory with the whole conversation."""
    store = MemoryStorageBackend()
    graph = converse(StateCoreSaver(store), TURNS)
    assert len(graph.get_state(config()).values["messages"]) == 2 * TURNS
    return store


async def test_four_hundred_turns_take_a_megabyte_and_a_half(
    talked: StorageBackend, storage: StorageBackend
) -> None:
    await copy_session(talked, storage, "thread")
    assert (await storage.head("thread")).counts["stored_bytes"] <= MOST_BYTES


async def test_so_do_the_files_of_a_database_and_of_a_folder(
    talked: StorageBackend, sqlite_store: StorageBackend, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    binary = FileStorageBackend(folder / "binary", use_json=False)
    readable = FileStorageBackend(folder / "readable")
    for store in (sqlite_store, binary, readable):
        await copy_session(talked, store, "thread")
        await store.close()
    assert (tmp_path / "state.db").stat().st_size <= MOST_BYTES
    assert size_of(folder / "binary" / "sessions") <= MOST_BYTES
    assert size_of(folder / "readable" / "sessions") <= MOST_BYTES


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_twenty_of_twelve_hundred_checkpoints_are_listed_at_once(talked: StorageBackend) -> None:
    """In a small part of the time that all of them take."""
    saver = StateCoreSaver(talked)
    of_all = min(seconds_of(saver, 3 * TURNS) for _ in range(3))
    of_twenty = min(seconds_of(saver, 20) for _ in range(9))
    assert of_twenty <= of_all / 5


def seconds_of(saver: StateCoreSaver, limit: int) -> float:
    began = time.process_time()
    assert len(list(saver.list(config(), limit=limit))) == limit
    return time.process_time() - began


async def test_a_turn_writes_as_much_after_four_hundred_as_at_the_beginning(talked: StorageBackend) -> None:
    sizes = [len(event.body) for event in await talked.read_events("thread")]
    tenth = len(sizes) // 10
    assert sum(sizes[-tenth:]) < 1.1 * sum(sizes[tenth : 2 * tenth])
