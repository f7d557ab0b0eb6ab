from __future__ import annotations

import asyncio
import json

import pytest

from marsys_dashboard import managers
from state_core.exceptions import StorageUnavailable
from state_core.manager import StateManager
from state_core.storage.memory import MemoryStorageBackend
from tests.dashboard.commandline.conftest import run, work
from tests.dashboard.pages.conftest import MEMORY


class Away(MemoryStorageBackend):
    async def heads(self, query):
        raise StorageUnavailable("The store is away.")


@pytest.fixture
def some(manager: StateManager) -> StateManager:
    """Three sessions: one completed, one paused, one pending."""
    asyncio.run(work(manager, "done", title="Tides", tags=["sea"]))
    manager.sync.create_session("held")
    manager.sync.pause_execution("held", reason="look")
    manager.sync.create_session("new", title="\x1b[31mred")
    return manager


def ids(*arguments: str) -> list[str]:
    lines = run("list", "--json", *arguments).out.splitlines()
    return [json.loads(line)["session_id"] for line in lines]


def test_it_lists_the_newest_first_and_says_how_many_there_are(some):
    lines = run("list").out.splitlines()
    assert [line.split()[:2] for line in lines[1:4]] == [
        ["new", "Pending"],
        ["held", "Paused"],
        ["done", "Completed"],
    ]
    assert lines[4] == "3 sessions."


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        (["--status", "paused", "--status", "pending"], ["new", "held"]),
        (["--text", "tide"], ["done"]),
        (["--tag", "sea"], ["done"]),
        (["--agent", "Reader"], ["done"]),
        (["--until", "1h"], []),
        (["--since", "1h", "--sort", "session_id"], ["done", "held", "new"]),
        (["--questions"], []),
        (["--store", "default", "--sort=-steps", "--limit", "1"], ["done"]),
    ],
)
def test_it_filters_by_the_words_of_the_page(some, filters, found):
    assert ids(*filters) == found


def test_it_goes_beyond_a_page_as_far_as_is_asked(manager):
    for number in range(120):
        manager.sync.create_session(f"s{number:03}")
    assert ids("--limit", "110", "--sort", "session_id") == [f"s{number:03}" for number in range(110)]
    assert run("list", "--limit", "110").out.splitlines()[-1].startswith("110 of 120 sessions; 10 more: ")


def test_titles_are_harmless(some):
    told = run("list")
    assert "\x1b" not in told.out and "\\x1b[31mred" in told.out


def test_what_no_link_of_the_page_says_is_refused(some):
    told = run("list", "--status", "lost")
    assert told.code == 1 and "'lost' is no status. Choose from pending" in told.err


def test_where_nothing_matches_it_says_so(manager):
    assert run("list").out == "No session matches.\n"


def test_a_store_that_is_away_is_told_of_beside_the_others(use_stores):
    use_stores(default=MEMORY, other={"BACKEND": f"{__name__}.Away"})
    managers.manager("default").sync.create_session("s")
    told = run("list")
    assert told.code == 1
    assert "default:s" in told.out
    assert "Without store other: The store is away." in told.err
