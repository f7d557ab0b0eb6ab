from __future__ import annotations

import asyncio

import pytest

from marsys_dashboard import managers
from marsys_dashboard.commandline.who import at_terminal
from state_core.events import Event, EventKind
from tests.dashboard.commandline.conftest import run
from tests.dashboard.pages.conftest import MEMORY
from tests.dashboard.pages.test_actions import last


@pytest.fixture
def two(use_stores):
    """The stores ``default`` and ``archive``; "tides" is in both, "moon" in one."""
    use_stores(default=MEMORY, archive=MEMORY)
    for store, session_id in (("default", "tides"), ("archive", "tides"), ("archive", "moon:2024")):
        managers.manager(store).sync.create_session(session_id, title=f"of {store}")


def test_an_id_alone_is_enough_where_one_store_has_it(two):
    assert run("show", "moon:2024").out.startswith("archive:moon:2024  of archive\n")


def test_a_store_and_an_id_name_one_of_several(two):
    assert run("show", "archive:tides").out.startswith("archive:tides  of archive\n")
    told = run("show", "tides")
    assert (told.code, told.out) == (1, "")
    assert "Name one of default:tides, archive:tides." in told.err


@pytest.mark.parametrize("wrong", ["tidse", "archive:tidse"])
def test_a_wrong_id_suggests_the_nearest(two, wrong):
    told = run("show", wrong)
    assert told.code == 1
    assert "Did you mean" in told.err and "archive:tides" in told.err


def test_where_nothing_is_near_it_says_where_to_look(two):
    assert "`session list` shows which there are." in run("show", "xyzzy").err


def test_what_is_no_id_is_refused_without_its_escape_sequences(two):
    told = run("show", "\x1b[2J")
    assert told.code == 1
    assert "is not a session id" in told.err and "\x1b" not in told.err


async def hold_and_fall_silent(manager):
    await manager.create_session("s")
    lease = await manager.storage.acquire("s", "gone", 0.05)
    await manager.log.append("s", [Event(kind=EventKind.SESSION_STARTED)], fence=lease.fence)
    await asyncio.sleep(0.06)


@pytest.mark.parametrize("verb", ["list", "show"])
def test_a_session_whose_orchestrator_fell_silent_is_told_and_recorded_as_interrupted(manager, verb):
    asyncio.run(hold_and_fall_silent(manager))
    assert "Interrupted" in run(verb, *(["s"] if verb == "show" else [])).out
    assert manager.sync.get_head("s").status == "interrupted"
    assert last(manager).actor == at_terminal()
