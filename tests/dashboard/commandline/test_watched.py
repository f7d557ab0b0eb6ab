from __future__ import annotations

import asyncio
import json

import pytest

from state_core.exceptions import StorageUnavailable
from tests.dashboard.commandline.conftest import Beside, run, work


async def fail(manager):
    async with manager.session("s") as session:
        await session.open_branch("main")
        raise ValueError("It broke.")


def test_an_ended_session_is_told_from_an_event_on_and_ends_the_command(manager):
    asyncio.run(work(manager))
    told = run("watch", "s", "--after", "2")
    assert told.code == 0
    assert [line.split()[0] for line in told.out.splitlines()] == [str(seq) for seq in range(3, 11)]
    assert told.err.endswith("default:s: Completed.\n")


def test_programs_get_a_line_for_each_event(manager):
    asyncio.run(work(manager))
    events = [json.loads(line) for line in run("watch", "s", "--after", "0", "--json").out.splitlines()]
    assert [event["seq"] for event in events] == list(range(1, 11))
    assert events[-1]["kind"] == "session.completed"


def test_how_it_ended_is_the_exit_code(manager):
    with pytest.raises(ValueError, match="broke"):
        asyncio.run(fail(manager))
    told = run("watch", "s")
    assert told.code == 3 and "default:s: Failed, " in told.err and "It broke." in told.err
    manager.sync.create_session("stopped")
    manager.sync.cancel_execution("stopped", reason="enough")
    told = run("watch", "stopped")
    assert told.code == 4 and told.err.endswith("Cancelled, enough.\n")


async def test_what_happens_is_told_as_it_happens_and_nothing_twice(anywhere):
    await anywhere.create_session("s")
    watching = Beside("watch", "s", "--after", "0")
    await watching.notes("Ctrl-C")
    await anywhere.pause_execution("s")
    await anywhere.create_checkpoint("s", "\x1b[31mred")
    await anywhere.cancel_execution("s")
    told = await watching.ended()
    assert [int(line.split()[0]) for line in told.out.splitlines()] == [1, 2, 3, 4]
    assert "“\\x1b[31mred”" in told.out and "\x1b" not in told.out
    assert told.code == 4


async def test_a_session_that_is_deleted_meanwhile_ends_the_watching(manager):
    await manager.create_session("s")
    watching = Beside("watch", "s")
    await watching.notes("Ctrl-C")
    await manager.delete_session("s")
    told = await watching.ended()
    assert told.code == 1 and "There is no session 's'" in told.err


async def test_a_store_that_is_away_for_a_while_is_waited_for(manager, monkeypatch):
    await manager.create_session("s")
    watching = Beside("watch", "s")
    await watching.notes("Ctrl-C")
    news = type(manager.storage).news

    async def away(*asked, **how):
        raise StorageUnavailable("The store is away.")

    monkeypatch.setattr(type(manager.storage), "news", away)
    await watching.notes("The store is away. Trying again.")
    monkeypatch.setattr(type(manager.storage), "news", news)
    await manager.cancel_execution("s")
    told = await watching.ended()
    assert told.code == 4
    assert told.err.count("away") == 1
