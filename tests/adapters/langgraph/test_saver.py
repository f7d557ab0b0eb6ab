"""State read back is what was put, object for object, whatever was done to the thread in between."""

from __future__ import annotations

import asyncio
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.channels.delta import DeltaChannel
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.graph import START, StateGraph
from langgraph.types import Command

from state_core import MemoryStorageBackend, StateManager, StorageBackend, new_encryption_key
from state_core.adapters.langgraph import StateCoreSaver
from state_core.exceptions import DamagedError, InvalidValue, SessionNotFound
from tests.adapters.langgraph.graphs import Compared, config, survey, talk


@pytest.fixture
def saver(storage: StorageBackend) -> StateCoreSaver:
    return StateCoreSaver(storage)


def say(graph: Any, text: str, **more: str) -> Any:
    return graph.invoke({"messages": [HumanMessage(text)]}, config(**more), durability="sync")


def test_a_conversation_with_removals_and_edits_is_equal_at_every_checkpoint(saver: StateCoreSaver) -> None:
    both = Compared(saver)
    graph = talk(both)
    for text in ("hello", "and then?", "forget", "edit", "bye"):
        say(graph, text)
    history = list(graph.get_state_history(config()))
    assert len(history) == 15
    assert len(history[0].values["messages"]) == 9
    again = Compared(StateCoreSaver(saver.state_manager))
    again.storage, again.writes, again.blobs = both.storage, both.writes, both.blobs
    assert len(list(again.list(config()))) == 15, "read anew from the log"


def test_subgraphs_fan_out_and_an_interrupt_are_equal(saver: StateCoreSaver) -> None:
    both = Compared(saver)
    graph = survey(both)
    asked = graph.invoke({"topic": "tides"}, config(), durability="sync")
    assert asked["__interrupt__"][0].value == {"question": "Publish?", "parts": 2}
    done = graph.invoke(Command(resume="yes"), config(), durability="sync")
    assert done["notes"] == {"topic": "tides", "plan": ["moon", "sun"], "said": "yes"}
    assert sorted(done["parts"]) == ["MOON", "SUN"]
    everywhere = list(both.list({"configurable": {"thread_id": "thread"}}))
    assert {found.config["configurable"]["checkpoint_ns"].partition(":")[0] for found in everywhere} == {
        "",
        "research",
    }


def test_going_on_from_an_older_checkpoint_forks_the_thread_and_leaves_the_other_line_as_it_was(
    saver: StateCoreSaver,
) -> None:
    both = Compared(saver)
    graph = talk(both)
    for text in ("one", "two", "three"):
        say(graph, text)
    old = next(s for s in graph.get_state_history(config()) if len(s.values.get("messages", ())) == 2)
    graph.invoke({"messages": [HumanMessage("other")]}, old.config, durability="sync")
    assert [m.content for m in graph.get_state(config()).values["messages"] if m.type == "human"] == [
        "one",
        "other",
    ]
    graph.update_state(old.config, {"messages": [AIMessage("by hand")]})
    say(graph, "four")
    assert max(len(s.values.get("messages", ())) for s in graph.get_state_history(config())) == 6


def test_pending_writes_come_in_the_order_in_which_tasks_are_applied_and_are_not_written_twice(
    saver: StateCoreSaver,
) -> None:
    place = saver.put(config(checkpoint_ns=""), empty_checkpoint(), {"source": "loop", "step": 0}, {})
    saver.put_writes(place, [("a", 1), ("b", [1, 2])], "task-1", "~b")
    saver.put_writes(place, [("a", 2)], "task-2", "~a")
    saver.put_writes(place, [("a", 3)], "task-1", "~b")
    saver.put_writes(place, [("__error__", "first")], "task-3", "")
    saver.put_writes(place, [("__error__", "second")], "task-3", "")
    found = saver.get_tuple(place)
    assert found is not None
    assert found.pending_writes == [
        ("task-3", "__error__", "second"),
        ("task-2", "a", 2),
        ("task-1", "a", 1),
        ("task-1", "b", [1, 2]),
    ]


def test_writes_may_come_before_their_checkpoint(saver: StateCoreSaver) -> None:
    checkpoint = empty_checkpoint()
    saver.put_writes(config(checkpoint_ns="", checkpoint_id=checkpoint["id"]), [("a", 1)], "task", "")
    assert saver.get_tuple(config()) is None
    saver.put(config(checkpoint_ns=""), checkpoint, {"source": "loop", "step": 0}, {})
    found = saver.get_tuple(config())
    assert found is not None
    assert found.pending_writes == [("task", "a", 1)]


def test_the_same_put_again_changes_nothing(saver: StateCoreSaver) -> None:
    first, second = empty_checkpoint(), empty_checkpoint()
    first["channel_values"], first["channel_versions"] = {"a": [1]}, {"a": 1}
    place = saver.put(config(checkpoint_ns=""), first, {"source": "loop", "step": 0}, {"a": 1})
    second_place = saver.put(place, second, {"source": "loop", "step": 1}, {})
    saver.put(config(checkpoint_ns=""), first, {"source": "loop", "step": 0}, {"a": 1})
    latest, old = saver.get_tuple(config()), saver.get_tuple(place)
    assert latest is not None and latest.config["configurable"]["checkpoint_id"] == second["id"]
    assert old is not None and old.checkpoint["channel_values"] == {"a": [1]}
    assert [found.checkpoint["id"] for found in saver.list(config())] == [second["id"], first["id"]]
    assert second_place["configurable"]["checkpoint_id"] == second["id"]


def test_values_of_every_kind_come_back_as_they_were(saver: StateCoreSaver) -> None:
    values: dict[str, Any] = {
        "nothing": None,
        "bytes": b"\x00\xff" * 40,
        "deep": {"a": [1, {"b": [1, 2]}], "when": datetime(2026, 1, 2, tzinfo=UTC)},
        "ids": [
            uuid.UUID(int=7),
            {1, 2},
            frozenset({3}),
            2**60,
            float("inf"),
            "\ud83d".encode("utf-16-le", "surrogatepass"),
        ],
        "numbers": {1: "one", 2: "two"},
        "text": "zero \x00 and ☃",
        "long": ["x" * 500, "x" * 499 + "y", ["x" * 500]],
        "empty": [],
        "none": {},
    }
    checkpoint = empty_checkpoint()
    checkpoint["channel_values"] = values
    versions: dict[str, Any] = dict.fromkeys(values, "~1.5")
    checkpoint["channel_versions"] = versions
    metadata: Any = {"source": "loop", "step": 0, "by": {"a": [1.5]}}
    saver.put(config(checkpoint_ns=""), checkpoint, metadata, versions)
    found = StateCoreSaver(saver.state_manager).get_tuple(config())
    assert found is not None
    assert found.checkpoint["channel_values"] == values
    assert found.checkpoint["channel_versions"] == checkpoint["channel_versions"]
    assert found.metadata == metadata


def joined(state: list[Any], writes: list[Any]) -> list[Any]:
    return state + [item for write in writes for item in write]


def test_a_channel_that_keeps_its_writes_alone_is_rebuilt_from_them(saver: StateCoreSaver) -> None:
    class Delta(TypedDict):
        said: Annotated[list[str], DeltaChannel(joined, snapshot_frequency=4)]

    builder = StateGraph(Delta)
    builder.add_node("echo", lambda state: {"said": [f"{state['said'][-1]}!"]})
    builder.add_edge(START, "echo")
    both = Compared(saver)
    graph = builder.compile(checkpointer=both)
    for number in range(5):
        graph.invoke({"said": [str(number)]}, config(), durability="sync")
    expected = [said for number in range(5) for said in (str(number), f"{number}!")]
    assert graph.get_state(config()).values["said"] == expected
    saver.prune(["thread"])
    assert len(list(saver.list(config()))) == 1
    assert builder.compile(checkpointer=saver).get_state(config()).values["said"] == expected


def test_many_threads_and_loops_put_at_once(saver: StateCoreSaver) -> None:
    graph = talk(saver)

    async def several(first: int) -> None:
        texts = [f"{first}-{n}" for n in range(3)]
        await asyncio.gather(
            *(graph.ainvoke({"messages": [HumanMessage(t)]}, config(f"loop-{t}")) for t in texts)
        )

    with ThreadPoolExecutor(6) as pool:
        done = [pool.submit(say, graph, "hello", thread_id=f"t{n}") for n in range(7)]
        done += [pool.submit(asyncio.run, several(n)) for n in range(2)]
    for future in done:
        future.result()
    assert len({found.config["configurable"]["thread_id"] for found in saver.list(None)}) == 13
    assert all(len(graph.get_state(config(f"t{n}")).values["messages"]) == 2 for n in range(7))


async def test_the_asynchronous_methods_say_the_same(saver: StateCoreSaver) -> None:
    graph = survey(saver)
    await graph.ainvoke({"topic": "tides"}, config())
    await graph.ainvoke(Command(resume="yes"), config())
    there = [found async for found in saver.alist(config())]
    assert [found.checkpoint for found in there] == [found.checkpoint for found in saver.list(config())]
    assert (await saver.aget(config())) == saver.get(config())


def test_a_thread_id_of_any_letters_is_kept(saver: StateCoreSaver) -> None:
    name = "Ärger/mit ../ids und \N{SNOWMAN} " + "x" * 200
    say(talk(saver), "hello", thread_id=name)
    listed = list(StateCoreSaver(saver.state_manager).list(None))
    assert {found.config["configurable"]["thread_id"] for found in listed} == {name}
    saver.delete_thread(name)
    saver.delete_thread(name)
    assert list(saver.list(None)) == []


def test_a_late_write_does_not_bring_back_a_deleted_thread(saver: StateCoreSaver) -> None:
    place = saver.put(config(checkpoint_ns=""), empty_checkpoint(), {"source": "loop", "step": 0}, {})
    saver.delete_thread("thread")
    with pytest.raises(SessionNotFound):
        saver.put(place, empty_checkpoint(), {"source": "loop", "step": 1}, {})
    assert saver.get_tuple(config()) is None


def test_a_copy_goes_its_own_way(saver: StateCoreSaver) -> None:
    graph = survey(saver)
    graph.invoke({"topic": "tides"}, config())
    saver.copy_thread("thread", "copy")
    saver.copy_thread("nothing", "of it")
    graph.invoke(Command(resume="yes"), config("copy"))
    assert graph.get_state(config()).next == ("review",)
    assert graph.get_state(config("copy")).values["notes"]["said"] == "yes"


def test_a_restored_session_goes_on_from_there(saver: StateCoreSaver) -> None:
    graph = talk(saver)
    say(graph, "one")
    manager = saver.state_manager
    checkpoint_id = manager.sync.create_checkpoint("thread")
    say(graph, "two")
    manager.sync.restore_checkpoint(checkpoint_id)
    assert len(graph.get_state(config()).values["messages"]) == 2
    say(graph, "three")
    assert [m.content for m in graph.get_state(config()).values["messages"]][::2] == ["one", "three"]


def test_a_thread_is_not_compacted_since_no_state_carries_its_checkpoints(saver: StateCoreSaver) -> None:
    graph = talk(saver)
    for text in ("one", "two"):
        say(graph, text)
    manager = saver.state_manager.sync
    assert manager.compact_session("thread").events == 0
    again = talk(StateCoreSaver(saver.state_manager))
    assert len(list(again.get_state_history(config()))) == 6


@dataclass
class Mine:
    name: str


def test_a_class_of_ones_own_is_refused_when_it_is_put_unless_it_is_allowed(tmp_path: Path) -> None:
    checkpoint = empty_checkpoint()
    checkpoint["channel_values"], checkpoint["channel_versions"] = {"mine": [Mine("a")]}, {"mine": 1}

    def put(saver: StateCoreSaver) -> Any:
        return saver.put(config(checkpoint_ns=""), checkpoint, {"source": "loop", "step": 0}, {"mine": 1})

    with pytest.raises(InvalidValue, match=r"test_saver\.Mine.*allow=\[Mine\]"):
        put(StateCoreSaver(MemoryStorageBackend()))
    allowing = StateCoreSaver(MemoryStorageBackend(), allow=[Mine])
    found = allowing.get_tuple(put(allowing))
    assert found is not None
    assert found.checkpoint["channel_values"] == {"mine": [Mine("a")]}


def test_what_stands_in_an_encrypted_store_is_encrypted(tmp_path: Path) -> None:
    url, key = f"file:{tmp_path / 'state'}", new_encryption_key()
    saver = StateCoreSaver.from_url(url, encryption_key=key)
    say(talk(saver), "a secret plan")
    saver.close()
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"secret plan" not in written
    with StateCoreSaver.from_url(url, encryption_key=key) as again:
        assert talk(again).get_state(config()).values["messages"][0].content == "a secret plan"


async def test_a_record_that_does_not_fit_is_damage(saver: StateCoreSaver) -> None:
    from state_core.changes import keep_aside
    from state_core.events import Event

    manager: StateManager = saver.state_manager
    await manager.create_session("thread", tags=["langgraph"])
    bad = keep_aside({"t": "writes", "new": [[99, 5, 5, "x"]], "task": "t", "path": "", "writes": []})
    await manager.log.append("thread", [Event(kind="record.kept", changes=[bad])])
    with pytest.raises(DamagedError, match="LangGraph"):
        await saver.aget_tuple(config())


def test_unknown_strategies_and_a_bare_string_are_refused(saver: StateCoreSaver) -> None:
    with pytest.raises(ValueError, match="keep_latest, delete"):
        saver.prune(["a"], strategy="some")
    with pytest.raises(TypeError, match="list"):
        saver.prune("abc")
