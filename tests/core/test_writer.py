"""What a live session writes when moments coincide: nothing is done or recorded twice, on any store."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from typing import Any

import pytest

from state_core import Session, SessionStatus, StateManager, StateManagerConfig, StorageBackend
from state_core.branch import Branch
from state_core.events import EventKind
from state_core.exceptions import ConflictError, LeaseLost, StorageUnavailable

UNDISTURBED = StateManagerConfig(control_interval=30, lease_ttl=60)
"""Nothing happens by itself while a test lets moments coincide."""


@pytest.fixture
def manager(storage: StorageBackend) -> StateManager:
    return StateManager(storage, config=UNDISTURBED)


@pytest.fixture
def elsewhere(storage: StorageBackend) -> StateManager:
    """Another process's."""
    return StateManager(storage, config=UNDISTURBED, actor="somebody")


class Held:
    """Calls of a store's method wait until they are let go."""

    def __init__(self, storage: StorageBackend, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self._method = getattr(storage, method)
        self.came, self._go = asyncio.Event(), asyncio.Event()
        monkeypatch.setattr(storage, method, self._call)

    async def _call(self, *args: Any, **kwargs: Any) -> Any:
        self.came.set()
        await self._go.wait()
        return await self._method(*args, **kwargs)

    def let_go(self) -> None:
        self._go.set()


async def statuses_of_steps(manager: StateManager) -> dict[str, str]:
    state = await manager.get_session_state("s")
    return {step.step_id: str(step.status) for branch in state.branches for step in branch.steps}


async def test_steps_that_end_together_are_recorded_before_the_pause_that_waits_for_them(
    manager: StateManager, elsewhere: StateManager
) -> None:
    runs: Counter[str] = Counter()
    go = asyncio.Event()

    async def work(session: Session, name: str) -> None:
        branch = await session.open_branch(name)
        async with branch.step("Agent") as step:
            if not step.done:
                runs[step.step_id] += 1
                await go.wait()
                session.context["last"] = name

    async with manager.session("s") as session:
        at_work = [asyncio.create_task(work(session, name)) for name in ("a", "b", "c")]
        while runs.total() < 3:
            await asyncio.sleep(0)
        await session.request_pause()
        go.set()
        async with asyncio.timeout(20):
            while session.status != SessionStatus.PAUSED:
                await asyncio.sleep(0.01)
        assert await statuses_of_steps(manager) == dict.fromkeys(("a:1", "b:1", "c:1"), "completed")
        await asyncio.gather(*at_work)
    async with elsewhere.session("s") as session:
        await asyncio.gather(*(work(session, name) for name in ("a", "b", "c")))
    assert runs == Counter(["a:1", "b:1", "c:1"])


async def test_a_completion_that_was_on_its_way_when_its_program_was_stopped_counts(
    manager: StateManager, elsewhere: StateManager, storage: StorageBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, held = [], None

    async def program(manager: StateManager) -> None:
        nonlocal held
        async with manager.session("s") as session:
            branch = await session.open_branch("work")
            async with branch.step("Agent") as step:
                if not step.done:
                    runs.append(step.attempt)
                    held = Held(storage, "append_one", monkeypatch)

    running = asyncio.create_task(program(manager))
    while not (held and held.came.is_set()):
        await asyncio.sleep(0)
    running.cancel()
    for _ in range(20):
        await asyncio.sleep(0)
    held.let_go()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (await manager.get_head("s")).status == SessionStatus.INTERRUPTED
    assert await statuses_of_steps(manager) == {"work:1": "completed"}
    await program(elsewhere)
    assert runs == [1]


@pytest.mark.parametrize("lands", ["before it is repeated", "after it is repeated"])
async def test_a_write_that_was_given_up_for_lost_and_lands_late_stands_in_the_log_once(
    lands: str, manager: StateManager, storage: StorageBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    append, given_up = storage.append_one, []

    async def unlucky(*args: Any, **kwargs: Any) -> int:
        if not given_up:
            given_up.append(lambda: append(*args, **kwargs))
            raise StorageUnavailable("The connection broke.")
        if lands == "before it is repeated":
            await arrives()
        last_seq = await append(*args, **kwargs)
        await arrives()
        return last_seq

    async def arrives() -> None:
        if len(given_up) == 1:
            given_up.append(None)
            with suppress(ConflictError):
                await given_up[0]()

    async with manager.session("s") as session:
        branch = await session.open_branch("work")
        monkeypatch.setattr(storage, "append_one", unlucky)
        await branch.add_message("assistant", "once")
        monkeypatch.undo()
        await branch.add_message("assistant", "and on")
    state = await manager.get_session_state("s")
    assert [message.content for message in state.branch("work").memory] == ["once", "and on"]
    assert len(given_up) == 2


async def test_what_others_append_in_the_same_moment_stands_before_it(
    manager: StateManager, elsewhere: StateManager, storage: StorageBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with manager.session("s") as session:
        branch = await session.open_branch("work")
        held = Held(storage, "append_one", monkeypatch)
        adding = asyncio.create_task(branch.add_message("assistant", "mine"))
        await held.came.wait()
        monkeypatch.undo()
        await elsewhere.pause_execution("s", metadata={"theirs": 1})
        held.let_go()
        await adding
        assert session.requested == EventKind.PAUSE_REQUESTED
        assert session.metadata == {"theirs": 1}
    kinds = [event.kind for event in await manager.log.read("s")]
    assert kinds.count("message.added") == 1
    assert kinds.index("message.added") == kinds.index("pause.requested") + 1


async def test_what_goes_on_after_the_session_was_left_neither_records_nor_holds_it(
    manager: StateManager, elsewhere: StateManager
) -> None:
    go, began = asyncio.Event(), asyncio.Event()

    async def linger(branch: Branch) -> None:
        async with branch.step("Agent"):
            began.set()
            await go.wait()

    async with manager.session("s", on_pause="raise") as session:
        lingering = asyncio.create_task(linger(await session.open_branch("work")))
        await began.wait()
        await session.request_pause()
        await session.pause_point()
    go.set()
    with pytest.raises(LeaseLost):
        await lingering
    assert (await manager.get_head("s")).owner == ""
    async with elsewhere.session("s") as session:
        assert session.status == SessionStatus.RUNNING


async def test_a_renewal_does_not_take_back_the_lease_that_a_pause_gave_away(
    manager: StateManager, elsewhere: StateManager, storage: StorageBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with manager.session("s") as session:
        held = Held(storage, "append_one", monkeypatch)
        asking = asyncio.create_task(session.request_pause())
        await held.came.wait()
        renewing = asyncio.create_task(session._writer.renew())
        held.let_go()
        await asyncio.gather(asking, renewing)
        pausing = asyncio.create_task(session.pause_point())
        async with asyncio.timeout(20):
            while (await manager.get_head("s")).owner:
                await asyncio.sleep(0.01)
        await session._writer.renew()
        assert (await manager.get_head("s")).owner == ""
        pausing.cancel()
    async with elsewhere.session("s") as session:
        assert session.status == SessionStatus.RUNNING
