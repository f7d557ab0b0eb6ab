"""Checkpoint databases of the framework's own savers, read into ours."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.types import Command

from state_core import MemoryStorageBackend
from state_core.adapters.langgraph import StateCoreSaver
from state_core.adapters.langgraph.importing import import_threads
from state_core.adapters.langgraph.source import opened
from tests.adapters.langgraph.graphs import config, survey, talk


def fill(theirs: Any) -> None:
    conversation = talk(theirs)
    for text in ("hello", "and then?", "forget", "bye"):
        conversation.invoke({"messages": [HumanMessage(text)]}, config("talk/1"), durability="sync")
    old = list(conversation.get_state_history(config("talk/1")))[4]
    conversation.invoke({"messages": [HumanMessage("other")]}, old.config, durability="sync")
    survey(theirs).invoke({"topic": "tides"}, config("survey"), durability="sync")


@pytest.fixture
def sqlite_source(tmp_path: Path) -> str:
    path = tmp_path / "theirs.sqlite"
    with SqliteSaver.from_conn_string(str(path)) as theirs:
        fill(theirs)
    return f"sqlite:///{path}"


@pytest.fixture
def postgres_source(empty_postgres_url: str) -> str:
    with PostgresSaver.from_conn_string(empty_postgres_url) as theirs:
        theirs.setup()
        fill(theirs)
    return empty_postgres_url


@pytest.fixture(params=["sqlite", "postgres"])
def source_url(request: pytest.FixtureRequest) -> str:
    found: str = request.getfixturevalue(f"{request.param}_source")
    return found


@pytest.fixture
def stored_in_files(settings: Any, tmp_path: Path) -> Iterator[str]:
    from state_core.storage import stores

    settings.STATE_STORES = {
        "default": {
            "BACKEND": "state_core.storage.FileStorageBackend",
            "OPTIONS": {"base_path": str(tmp_path / "state")},
        }
    }
    stores.forget()
    yield f"file:{tmp_path / 'state'}"
    stores.forget()


def test_every_checkpoint_is_the_same_and_the_graph_goes_on_here(source_url: str) -> None:
    saver = StateCoreSaver(MemoryStorageBackend())
    with opened(source_url, saver.serde) as source:
        results = import_threads(source, saver)
    assert [(r.thread_id, r.checkpoints, r.written, r.why) for r in results] == [
        ("survey", 12, 12, ""),
        ("talk/1", 15, 15, ""),
    ]
    graph = survey(saver)
    assert graph.invoke(Command(resume="yes"), config("survey"))["notes"]["said"] == "yes"
    said = [m.content for m in talk(saver).get_state(config("talk/1")).values["messages"]]
    assert said[-2] == "other"
    state = saver.state_manager.sync.get_session_state("survey")
    assert [step.agent for step in state.branches[0].steps[:4]] == ["plan", "research", "research", "review"]
    assert {len(branch.memory) for branch in state.branches[1:]} == {1}


def test_stopped_in_the_middle_it_goes_on_and_nothing_is_there_twice(sqlite_source: str) -> None:
    saver = StateCoreSaver(MemoryStorageBackend())

    class Stopped(Exception):
        pass

    def stop(progress: Any) -> None:
        if progress.checkpoints == 5:
            raise Stopped

    with opened(sqlite_source, saver.serde) as source:
        with pytest.raises(Stopped):
            import_threads(source, saver, on_progress=stop)
        results = import_threads(source, saver)
        assert [result.written for result in results] == [12 - 5, 15]
        seq = saver.state_manager.sync.get_head("survey").last_seq
        again = import_threads(source, saver)
    assert [result.written for result in again] == [0, 0]
    assert saver.state_manager.sync.get_head("survey").last_seq <= seq + 1


def test_what_differs_here_is_told(sqlite_source: str) -> None:
    saver = StateCoreSaver(MemoryStorageBackend())
    with opened(sqlite_source, saver.serde) as source:
        import_threads(source, saver, ["survey"])
        latest = saver.get_tuple(config("survey"))
        assert latest is not None
        saver.put_writes(latest.config, [("notes", {"forged": True})], "task")
        (result,) = import_threads(source, saver, ["survey"])
    assert "is not the same in both stores" in result.why


def test_the_command_says_what_it_did(sqlite_source: str, stored_in_files: str) -> None:
    out = StringIO()
    call_command("import_langgraph", sqlite_source, stdout=out)
    told = out.getvalue()
    assert "talk/1  imported, 15 checkpoints" in told
    assert "Verified: 2 threads with 27 checkpoints" in told
    with StateCoreSaver.from_url(stored_in_files) as saver:
        assert len(list(saver.list(None))) == 27


def test_the_command_refuses_what_is_no_checkpoint_database(tmp_path: Path, stored_in_files: str) -> None:
    empty = tmp_path / "empty.sqlite"
    sqlite3.connect(empty).close()
    for url, why in (
        (f"sqlite:///{empty}", "tables are missing"),
        (f"sqlite:///{tmp_path}/nothing", "There is no file"),
        ("mysql://somewhere", "names no checkpoint database"),
    ):
        with pytest.raises(CommandError, match=why):
            call_command("import_langgraph", url)
