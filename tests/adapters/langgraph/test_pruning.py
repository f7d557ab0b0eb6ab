"""Deleted checkpoints give back their room, and what stays is what it was, for everybody."""

from __future__ import annotations

from typing import Any

import pytest
from langgraph.types import Command

from state_core import StateManager, StorageBackend
from state_core.adapters.langgraph import StateCoreSaver
from state_core.exceptions import ConflictError
from state_core.sync import shared
from tests.adapters.langgraph.graphs import config, survey, talk

TURNS = 25


@pytest.fixture
def saver(storage: StorageBackend) -> StateCoreSaver:
    return StateCoreSaver(storage)


def said(graph: Any, thread_id: str = "thread") -> list[str]:
    return [message.content for message in graph.get_state(config(thread_id)).values["messages"]]


def speak(graph: Any, turns: int = TURNS, thread_id: str = "thread", **more: Any) -> None:
    for number in range(turns):
        graph.invoke({"messages": [("user", f"{number} {'words ' * 40}")]}, {**config(thread_id), **more})


def stored(saver: StateCoreSaver) -> int:
    counts: dict[str, int] = saver.state_manager.sync.get_head("thread").counts
    return counts["stored_bytes"]


def everything(saver: StateCoreSaver) -> list[Any]:
    return [
        (
            found.config["configurable"]["checkpoint_id"],
            found.checkpoint,
            found.metadata,
            found.pending_writes,
        )
        for found in saver.list(config())
    ]


def test_pruning_gives_back_the_room_and_the_conversation_goes_on_for_everybody(
    saver: StateCoreSaver, storage: StorageBackend
) -> None:
    elsewhere = StateCoreSaver(storage)
    graph = talk(saver)
    speak(graph)
    graph.invoke({"messages": [("user", "edit")]}, config())
    before, latest = stored(saver), everything(elsewhere)[:1]
    saver.prune(["thread"])
    head = saver.state_manager.sync.get_head("thread")
    assert (head.first_seq, head.event_count) == (head.last_seq, 1)
    assert stored(saver) < before * 0.6
    for reader in (saver, elsewhere, StateCoreSaver(storage)):
        assert everything(reader) == latest
    for number, writer in enumerate((elsewhere, saver, StateCoreSaver(storage)), start=1):
        speak(talk(writer), turns=1)
        for reader in (saver, elsewhere, StateCoreSaver(storage)):
            assert len(said(talk(reader))) == 2 * (TURNS + 1 + number)
            assert said(talk(reader)) == said(graph)
    state = saver.state_manager.sync.get_session_state("thread")
    assert [message.content for message in state.branches[0].memory] == said(graph)


def test_what_was_removed_from_the_conversation_is_gone_from_the_store(
    saver: StateCoreSaver, storage: StorageBackend
) -> None:
    graph = talk(saver)
    graph.invoke({"messages": [("user", "first")]}, config())
    graph.invoke({"messages": [("user", "forget")]}, config())
    held = _items(saver)
    saver.prune(["thread"])
    assert _items(saver) < held
    assert _items(StateCoreSaver(storage)) == _items(saver)
    graph.invoke({"messages": [("user", "first")]}, config())
    assert said(talk(StateCoreSaver(storage))) == said(graph)


def _items(saver: StateCoreSaver) -> int:
    thread = shared.run(saver.threads.read("thread"))
    assert thread
    return len(list(thread.items.pairs()))


def test_deleting_the_checkpoints_of_runs_leaves_the_others_as_they_were(
    saver: StateCoreSaver, storage: StorageBackend
) -> None:
    graph = talk(saver)
    for run in ("run-1", "run-2", "run-3"):
        speak(graph, turns=3, metadata={"run_id": run})
    wanted = [one for one in everything(saver) if one[2].get("run_id") != "run-2"]
    saver.delete_for_runs(["run-2"])
    assert saver.state_manager.sync.get_head("thread").first_seq > 1
    assert everything(saver) == everything(StateCoreSaver(storage)) == wanted
    oldest = wanted[-1][0]
    graph.invoke({"messages": [("user", "again")]}, config(checkpoint_id=oldest))
    assert len(said(talk(StateCoreSaver(storage)))) == len(said(graph)) <= 4


def test_a_thread_that_waits_for_a_person_is_pruned_with_its_question(
    saver: StateCoreSaver, storage: StorageBackend
) -> None:
    survey(saver).invoke({"topic": "tides"}, config())
    saver.prune(["thread"])
    graph = survey(StateCoreSaver(storage))
    assert len(graph.get_state(config()).interrupts) == 1
    graph.invoke(Command(resume="yes"), config())
    assert saver.state_manager.sync.get_head("thread").status == "completed"


def test_a_run_that_goes_on_from_what_was_deleted_meanwhile_is_told(
    saver: StateCoreSaver, storage: StorageBackend
) -> None:
    elsewhere = StateCoreSaver(storage)
    speak(talk(saver), turns=3)
    old = elsewhere.get_tuple(list(elsewhere.list(config()))[-1].config)
    assert old
    saver.prune(["thread"])
    checkpoint = {**old.checkpoint, "id": "1" * 32}
    for writer in (elsewhere, StateCoreSaver(storage)):
        with pytest.raises(ConflictError):
            writer.put(old.config, checkpoint, {"source": "loop", "step": 1, "parents": {}}, {})


def test_a_copy_of_a_pruned_thread_goes_its_own_way(saver: StateCoreSaver, storage: StorageBackend) -> None:
    graph = talk(saver)
    speak(graph, turns=4)
    saver.prune(["thread"])
    saver.copy_thread("thread", "copy")
    speak(graph, turns=1)
    speak(graph, turns=2, thread_id="copy")
    fresh = talk(StateCoreSaver(storage))
    assert (len(said(fresh)), len(said(fresh, "copy"))) == (10, 12)


def test_a_checkpoint_of_ours_keeps_what_was_before_it_was_pruned(
    saver: StateCoreSaver, storage: StorageBackend
) -> None:
    graph = talk(saver)
    speak(graph, turns=3)
    place = saver.state_manager.sync.create_checkpoint("thread", "three turns")
    then = everything(saver)
    speak(graph, turns=3)
    saver.prune(["thread"])
    assert len(everything(saver)) == 1
    StateManager(storage).sync.restore_checkpoint(place)
    assert everything(saver) == everything(StateCoreSaver(storage)) == then
