"""Group commit: sessions that append at the same time share commits, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import psycopg
import pytest

from state_core import DatabaseStorageBackend, MemoryStorageBackend, StateManager, StateManagerConfig
from state_core.batching import GroupCommit
from state_core.events import EventKind
from state_core.exceptions import ConfigurationError, ConflictError, LeaseLost, StorageUnavailable
from state_core.storage.base import Append, AppendRequest, Guard, Outcome, StorageBackend
from state_core.testing import create, message, numbers, record


class Gated(MemoryStorageBackend):
    """Counts commits, and lets none end before its gate is open."""

    supports_batches = True

    def __init__(self) -> None:
        super().__init__()
        self.commits: list[list[str]] = []
        self.gates: dict[str, asyncio.Event] = {}
        self.broken: Exception | None = None

    async def _append(self, session_id: str, *others: Any) -> int:
        self.commits.append([session_id])
        await self.opened(session_id)
        return await super()._append(session_id, *others)

    async def opened(self, session_id: str) -> None:
        if session_id in self.gates:
            await self.gates[session_id].wait()

    async def _append_many(self, writes: Sequence[Append]) -> list[Outcome | None]:
        self.commits.append([write.session_id for write in writes])
        if self.broken:
            raise self.broken
        # Beyond a plain message each goes by itself, as in the stores that write in few words.
        fitting = [write for write in writes if write.guard == Guard()]
        found = {
            write.session_id: await super(Gated, self)._append(
                write.session_id, write.events, write.guard, write.change, write.checkpoints
            )
            for write in fitting
        }
        return [found.get(write.session_id) for write in writes]

    def close_gates(self, *session_ids: str) -> None:
        self.gates = {session_id: asyncio.Event() for session_id in session_ids}
        self.commits.clear()

    def open_gates(self) -> None:
        for gate in self.gates.values():
            gate.set()


def asked(session_id: str, **guards: Any) -> AppendRequest:
    return AppendRequest(session_id=session_id, events=[message(session_id)], **guards)


async def begun(commits: GroupCommit, *requests: AppendRequest) -> list[asyncio.Future[int]]:
    found = [asyncio.ensure_future(commits.append(request)) for request in requests]
    await asyncio.sleep(0)
    return found


@pytest.fixture
async def store() -> Gated:
    gated = Gated()
    for name in ("a", "b", "c", "d", "e", "f"):
        await create(gated, name)
    gated.commits.clear()
    return gated


async def test_a_lone_append_is_a_commit_of_its_own_at_once(store: Gated) -> None:
    commits = GroupCommit(store, 10)
    assert [await commits.append(asked("a")) for _ in range(3)] == [2, 3, 4]
    assert store.commits == [["a"]] * 3


async def test_what_arrives_while_commits_are_under_way_goes_together_in_the_next(store: Gated) -> None:
    commits = GroupCommit(store, 3)
    store.close_gates("a", "b")
    first = await begun(commits, asked("a"), asked("b"))
    others = await begun(commits, *map(asked, ("c", "d", "e", "f")))
    assert store.commits == [["a"], ["b"]]
    store.open_gates()
    assert await asyncio.gather(*first, *others) == [2] * 6
    assert store.commits == [["a"], ["b"], ["c", "d", "e"], ["f"]]


async def test_a_batch_is_no_larger_than_one_append_may_be(store: Gated) -> None:
    commits = GroupCommit(store, 10)
    store.max_append_bytes = 3000  # type: ignore[misc]
    store.close_gates("a", "b")
    large = [record(EventKind.MESSAGE_ADDED, body=bytes(1400))]
    await begun(commits, asked("a"), asked("b"))
    found = await begun(commits, *(AppendRequest(session_id=name, events=large) for name in "cdef"))
    store.open_gates()
    assert await asyncio.gather(*found) == [2] * 4
    assert store.commits[2:] == [["c", "d"], ["e", "f"]]


async def test_appends_to_one_session_keep_their_order(store: Gated) -> None:
    commits = GroupCommit(store, 10)
    store.close_gates("a", "b")
    await begun(commits, asked("a"), asked("b"))
    found = await begun(commits, asked("c"), asked("c"), asked("d"), asked("c"))
    store.open_gates()
    assert await asyncio.gather(*found) == [2, 3, 2, 4]


async def test_each_caller_gets_its_own_error(store: Gated) -> None:
    commits = GroupCommit(store, 10)
    store.close_gates("a", "b")
    await begun(commits, asked("a"), asked("b"))
    found = await begun(commits, asked("c"), asked("d", expected_seq=7), asked("e", fence=3), asked("f"))
    store.open_gates()
    c, d, e, f = await asyncio.gather(*found, return_exceptions=True)
    assert (c, f) == (2, 2)
    assert isinstance(d, ConflictError)
    assert isinstance(e, LeaseLost)


async def test_one_that_has_to_wait_does_not_hold_up_the_others(store: Gated) -> None:
    """Be it in a batch or in a commit of its own."""
    commits = GroupCommit(store, 10)
    store.close_gates("a", "b", "c")
    stuck = await begun(commits, asked("a"), asked("b"))
    behind = await begun(commits, asked("c", expected_seq=1), asked("d"), asked("e"))
    async with asyncio.timeout(30):
        assert await asyncio.gather(*behind[1:]) == [2, 2]
        assert await commits.append(asked("f")) == 2
    assert not any(future.done() for future in (*stuck, behind[0]))
    store.open_gates()
    assert await asyncio.gather(*stuck, behind[0]) == [2, 2, 2]


async def test_a_store_that_is_away_is_said_to_every_caller(store: Gated) -> None:
    commits = GroupCommit(store, 10)
    store.close_gates("a", "b")
    first = await begun(commits, asked("a"), asked("b"))
    found = await begun(commits, asked("c"), asked("d"))
    store.broken = StorageUnavailable("It is away.")
    store.open_gates()
    assert await asyncio.gather(*first) == [2, 2]
    assert await asyncio.gather(*found, return_exceptions=True) == [store.broken] * 2
    assert await commits.append(asked("c")) == 2


async def test_a_caller_that_is_cancelled_leaves_the_others_alone(store: Gated) -> None:
    commits = GroupCommit(store, 10)
    store.close_gates("a", "b")
    first = await begun(commits, asked("a"), asked("b"))
    gone, other = await begun(commits, asked("c"), asked("d"))
    gone.cancel()
    first[0].cancel()
    await asyncio.sleep(0)
    store.open_gates()
    assert await other == 2
    assert await first[1] == 2
    assert store.commits[2:] == [["d"]]
    assert await store.last_seqs("ac") == {"a": 1, "c": 1}


async def test_several_event_loops_share_it(store: Gated) -> None:
    commits = GroupCommit(store, 10)

    async def work(name: str) -> list[int]:
        return [await commits.append(asked(name)) for _ in range(20)]

    found = await asyncio.gather(*(asyncio.to_thread(asyncio.run, work(name)) for name in "abc"))
    assert found == [list(range(2, 22))] * 3


@pytest.mark.parametrize("options", [{"batch_save_enabled": False}, {"batch_save_size": 1}])
async def test_batching_can_be_switched_off(options: dict[str, Any]) -> None:
    store = Gated()
    manager = StateManager(store, config=StateManagerConfig(**options))
    await asyncio.gather(*(manager.create_session(f"s{number}") for number in range(20)))
    assert sorted(store.commits) == sorted([f"s{number}"] for number in range(20))


def test_a_batch_of_none_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="batch_save_size"):
        StateManagerConfig(batch_save_size=0)


async def test_sessions_at_once_lose_nothing(storage: StorageBackend, monkeypatch: Any) -> None:
    """On every store: each session's log is whole, and what was given is what is there."""
    sizes: list[int] = []
    append_many = storage.append_many

    async def counting(requests: Sequence[AppendRequest], tell: Any) -> None:
        sizes.append(len(requests))
        await append_many(requests, tell)

    monkeypatch.setattr(storage, "append_many", counting)
    manager = StateManager(storage)

    async def work(number: int) -> None:
        async with manager.session(f"s{number}", context={"number": number}) as session:
            branch = await session.open_branch("main")
            for turn in range(5):
                async with branch.step("Agent", turn) as step:
                    step.output = [number, turn]
                await session.checkpoint(f"{turn}")

    await asyncio.gather(*(work(number) for number in range(25)))
    for number in range(25):
        state = await manager.get_session_state(f"s{number}")
        assert [step.output for step in state.branches[0].steps] == [[number, turn] for turn in range(5)]
        assert len(await manager.list_checkpoints(f"s{number}")) == 5
        assert await numbers(storage, f"s{number}") == list(range(1, state.seq + 1))
    assert not storage.supports_batches or max(sizes) == manager.config.batch_save_size


async def test_a_session_that_is_locked_in_postgresql_holds_up_no_other(
    postgres_store: DatabaseStorageBackend, postgres_url: str
) -> None:
    for name in ("locked", "s", "t"):
        await create(postgres_store, name)
    with psycopg.connect(postgres_url) as other:
        other.execute("SELECT 1 FROM marsys_state_session WHERE session_id = 'locked' FOR UPDATE")
        found: dict[int, Outcome] = {}
        names = ["locked", "s", "t"]
        batch = asyncio.ensure_future(postgres_store.append_many(list(map(asked, names)), found.__setitem__))
        async with asyncio.timeout(30):
            while len(found) < 2:  # noqa: ASYNC110 - told by another thread's work
                await asyncio.sleep(0.01)
        assert found == {1: 2, 2: 2}
        other.rollback()
    await batch
    assert found == {0: 2, 1: 2, 2: 2}
