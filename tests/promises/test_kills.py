"""Killed and stopped: nothing acknowledged is lost, nothing is done twice, nobody writes too late.

`make torture` kills a thousand times on each store.
"""

from __future__ import annotations

import asyncio
import random
import signal
import time

import pytest

from state_core import SessionStatus, StateManager
from tests.promises.crash_points import CRASHED, POINTS
from tests.promises.kill_driver import open_store
from tests.promises.torture import Acknowledged, launcher, torture, verified

SECONDS = 20.0
AT_LEAST = 5
"""Kills, however busy the machine is."""


def test_what_was_acknowledged_survives_kills(place):
    tally = torture(*place, kills=50, at_least=AT_LEAST, seconds=SECONDS, seed=random.randrange(10**6))
    print(tally)
    assert tally.kills >= AT_LEAST


# Stopped beyond its lease


@pytest.fixture
async def manager(place):
    manager = StateManager(open_store(*place))
    yield manager
    await manager.close()


async def lease_has_run_out(manager):
    while not (await manager.list_sessions(lease_expired=True)):
        await asyncio.sleep(0.02)


async def go_on_elsewhere(manager):
    async with manager.session("s") as session:
        async with session.branch("work").step("Second", step_id="work:2") as step:
            step.output = "by the second"


async def test_an_owner_that_was_stopped_beyond_its_lease_changes_nothing(place, manager, tmp_path):
    gate = tmp_path / "gate"
    with launcher(*place) as launched:
        launched.start("hold", "s", gate, lease_ttl=0.3)
        launched.expect("ready")
        # Not before: it might be stopped while it renews, and hold the store's lock.
        await lease_has_run_out(manager)
        launched.signal(signal.SIGSTOP)
        await go_on_elsewhere(manager)
        before = await manager.storage.read_events("s")
        gate.touch()
        launched.signal(signal.SIGCONT)
        said = await asyncio.to_thread(launched.line)
        assert await asyncio.to_thread(launched.expect, "gone") == ["0"]
    assert said == ["LeaseLost"]
    assert await manager.storage.read_events("s") == before
    state = await manager.get_session_state("s")
    assert [step.output for step in state.branch("work").steps] == ["by the first", "by the second"]
    assert state.status == SessionStatus.COMPLETED


async def test_an_owner_that_was_stopped_while_another_works_changes_nothing(place, manager, tmp_path):
    gate = tmp_path / "gate"
    with launcher(*place) as launched:
        launched.start("hold", "s", gate, lease_ttl=0.3)
        launched.expect("ready")
        await lease_has_run_out(manager)
        launched.signal(signal.SIGSTOP)
        async with manager.session("s") as session:
            before, lease = await manager.storage.read_events("s"), await manager.get_head("s")
            gate.touch()
            launched.signal(signal.SIGCONT)
            assert await asyncio.to_thread(launched.line) == ["LeaseLost"]
            assert await asyncio.to_thread(launched.expect, "gone") == ["0"]
            assert await manager.storage.read_events("s") == before
            now = await manager.get_head("s")
            assert (now.owner, now.fence, now.last_seq) == (lease.owner, lease.fence, lease.last_seq)
            await session.set_context({"still": "mine"})
    assert (await manager.get_session_state("s")).context == {"still": "mine"}


# Dying at each boundary of what is durable in the file store


@pytest.fixture(scope="module")
def file_store_launcher(tmp_path_factory):
    url = f"file:{tmp_path_factory.mktemp('crashes')}"
    with launcher(url) as launched:
        yield url, launched


@pytest.mark.parametrize("number", [1, 2, 7])
@pytest.mark.parametrize("point", POINTS)
def test_a_file_store_that_dies_at_any_boundary_loses_nothing(point, number, file_store_launcher):
    url, launched = file_store_launcher
    session_id, steps, heard = f"{point}-{number}", 6, Acknowledged()
    reached = {"before-folder": 1, "before-fsync-of-lease": 4, "before-lease": 2, "after-lease": 2}
    at = min(number, reached.get(point, number))
    assert lived(launched, heard, session_id, steps, point, at) == CRASHED
    began = time.monotonic()
    assert lived(launched, heard, session_id, steps) == 0
    assert heard.done
    assert time.monotonic() - began < 10
    asyncio.run(verified(url, "", session_id, heard, steps))


def lived(launched, heard, *words):
    """The exit status of a worker; what it says is heard."""
    launched.start("drive", *words)
    while True:
        word, *rest = launched.line()
        if word == "gone":
            return int(rest[0])
        heard.hear(word, *rest)
