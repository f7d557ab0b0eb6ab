"""Folded states in memory: the same answers as without, whoever writes in between, within their bytes."""

from __future__ import annotations

import random
from copy import deepcopy

import pytest

from state_core import MemoryStorageBackend, SessionStatus, StateManager, StateManagerConfig, snapshots
from state_core import log as log_module
from state_core.cache import ENTRY_BYTES, DocumentCache
from state_core.exceptions import SessionNotFound
from state_core.fold import empty_document
from state_core.records import Document
from state_core.snapshots import Unsnapshotted

UNCACHED = StateManagerConfig(cache_enabled=False)


def document(session_id: str, seq: int, size: int = 0) -> Document:
    made = empty_document(session_id)
    made.update(
        seq=seq, created_at="2024-01-01T00:00:00+00:00", updated_at=f"2024-01-01T00:00:{seq % 60:02}+00:00"
    )
    made["context"] = {"text": "x" * size, "list": [1, {"a": None}]}
    return made


async def make(manager: StateManager, session_id: str, values: int = 3) -> None:
    async with manager.session(session_id) as session:
        for value in range(values):
            await session.set_context(n=value)


class Reads:
    """Counts the bodies that a log reads from its store."""

    def __init__(self, manager: StateManager, monkeypatch: pytest.MonkeyPatch) -> None:
        self.events = 0
        original = manager.log.codec.open

        def counting(*args):
            self.events += 1
            return original(*args)

        monkeypatch.setattr(manager.log.codec, "open", counting)


# The cache alone


def test_a_kept_state_comes_back_and_is_nobody_elses():
    cache = DocumentCache(100_000)
    kept = document("s", 5)
    before = deepcopy(kept)
    cache.keep(kept, Unsnapshotted())
    kept["context"]["list"].append("later")
    found = cache.find("s", after=0, upto=9)
    assert found.document() == before
    found.document()["context"]["list"].clear()
    assert found.document() == before


def test_the_newest_state_within_a_range_is_found():
    cache = DocumentCache(100_000)
    for seq in (9, 3, 6):
        cache.keep(document("s", seq), Unsnapshotted())
    assert cache.find("s", after=0, upto=8).seq == 6
    assert cache.find("s", after=3, upto=5) is None
    assert cache.find("s", after=0, upto=2) is None
    assert cache.find("other", after=0, upto=9) is None


def test_a_state_takes_the_place_of_that_it_was_folded_from():
    cache = DocumentCache(100_000)
    cache.keep(document("s", 3), Unsnapshotted())
    cache.keep(document("s", 7), Unsnapshotted(), instead_of=cache.find("s", after=0, upto=3))
    assert len(cache) == 1
    assert cache.find("s", after=0, upto=5) is None


def test_what_was_used_longest_ago_makes_room():
    size = 1_000
    measuring = DocumentCache(100_000)
    measuring.keep(document("a", 1, size), Unsnapshotted())
    assert measuring.bytes > size + ENTRY_BYTES
    cache = DocumentCache(measuring.bytes * 4)
    for name in ("a", "b", "c"):
        cache.keep(document(name, 1, size), Unsnapshotted())
    assert cache.find("a", after=0, upto=1)
    for name in ("d", "e"):
        cache.keep(document(name, 1, size), Unsnapshotted())
    assert cache.bytes <= cache.max_bytes
    assert cache.find("b", after=0, upto=1) is None
    assert cache.find("e", after=0, upto=1)


def test_its_bytes_stay_below_the_bound_whatever_is_kept():
    rng = random.Random(7)
    cache = DocumentCache(50_000)
    for _ in range(400):
        cache.keep(document(rng.choice("abcd"), rng.randint(1, 40), rng.randint(0, 9_000)), Unsnapshotted())
        if rng.random() < 0.05:
            cache.forget(rng.choice("abcd"))
        assert cache.bytes <= 50_000
        assert cache.bytes == sum(entry.bytes for entry in cache._entries.values())
    for name in "abcd":
        cache.forget(name)
    assert (cache.bytes, len(cache)) == (0, 0)


def test_a_state_beyond_the_bound_is_not_kept():
    cache = DocumentCache(2_000)
    cache.keep(document("small", 1), Unsnapshotted())
    cache.keep(document("large", 1, 5_000), Unsnapshotted())
    assert cache.find("large", after=0, upto=1) is None
    assert cache.find("small", after=0, upto=1)


def test_a_state_with_an_enum_in_it_is_kept_as_json_has_it():
    cache = DocumentCache(10_000)
    cache.keep({**document("s", 1), "status": SessionStatus.PAUSED}, Unsnapshotted())
    assert type(cache.find("s", after=0, upto=1).document()["status"]) is str


# The cache under a log


async def test_a_second_reading_reads_no_event_again(storage, monkeypatch):
    manager = StateManager(storage)
    await make(manager, "s")
    first = await manager.log.document("s")
    reads = Reads(manager, monkeypatch)
    assert await manager.log.document("s") == first
    assert reads.events == 0


async def test_a_later_reading_reads_only_what_came_after(storage, monkeypatch):
    manager, elsewhere = StateManager(storage), StateManager(storage, config=UNCACHED)
    await make(manager, "s", 20)
    await manager.log.document("s")
    await elsewhere.create_checkpoint("s", "one")
    await elsewhere.create_checkpoint("s", "two")
    reads = Reads(manager, monkeypatch)
    assert await manager.log.document("s") == await elsewhere.log.document("s")
    assert reads.events == 2


async def test_without_the_cache_everything_is_read_again(monkeypatch):
    manager = StateManager(MemoryStorageBackend(), config=UNCACHED)
    await make(manager, "s")
    head = await manager.get_head("s")
    reads = Reads(manager, monkeypatch)
    await manager.log.document("s")
    await manager.log.document("s")
    assert reads.events == 2 * head.last_seq
    assert manager.log.cache is None


async def test_what_a_caller_does_to_a_document_stays_with_the_caller():
    manager = StateManager(MemoryStorageBackend())
    await make(manager, "s")
    (await manager.log.document("s"))["context"]["n"] = "changed"
    (await manager.get_session_state("s")).context["n"] = "changed"
    assert (await manager.get_session_state("s")).context == {"n": 2}


async def test_a_session_that_was_deleted_and_made_again_is_the_new_one(storage):
    manager, elsewhere = StateManager(storage), StateManager(storage, config=UNCACHED)
    await make(manager, "s", 6)
    await manager.log.document("s")
    await elsewhere.delete_session("s")
    with pytest.raises(SessionNotFound):
        await manager.log.document("s")
    async with elsewhere.session("s", context={"who": "new"}) as session:
        for number in range(9):
            await session.set_context(again=number)
    assert await manager.log.document("s") == await elsewhere.log.document("s")
    assert (await manager.get_session_state("s")).context == {"who": "new", "again": 8}


async def test_a_store_put_back_to_a_backup_and_gone_on_with_is_read_as_it_is():
    store = MemoryStorageBackend()
    manager, elsewhere = StateManager(store), StateManager(store, config=UNCACHED)
    await manager.create_session("s", context={"n": 0})
    backup = deepcopy(store._sessions)
    for _ in range(2):
        state = await elsewhere.get_session_state("s")
        state.context["n"] = "lost"
        state.context["more"] = state.seq
        await elsewhere.save_session_state("s", state)
    assert (await manager.get_session_state("s")).context["n"] == "lost"
    store._sessions.clear()
    store._sessions.update(backup)
    for value in range(5):
        state = await elsewhere.get_session_state("s")
        state.context["n"] = value
        await elsewhere.save_session_state("s", state)
    assert (await manager.get_session_state("s")).context == {"n": 4}


async def test_a_session_of_the_same_last_event_number_is_told_apart():
    store = MemoryStorageBackend()
    manager = StateManager(store)
    await manager.create_session("s", context={"who": "old"})
    await manager.get_session_state("s")
    await store.delete("s")
    await StateManager(store).create_session("s", context={"who": "new"})
    assert (await manager.get_session_state("s")).context == {"who": "new"}


async def test_far_behind_a_snapshot_the_snapshot_is_used(monkeypatch):
    monkeypatch.setattr(log_module, "NEAR", 5)
    monkeypatch.setattr(snapshots, "FROM_BYTES", 1_000)
    store = MemoryStorageBackend()
    manager, elsewhere = StateManager(store), StateManager(store)
    await manager.create_session("s")
    await manager.log.document("s")
    await make(elsewhere, "s", 40)
    await elsewhere.log.document("s")
    await elsewhere.log.flush()
    last = (await manager.get_head("s")).last_seq
    kept = await store.snapshot("s", at_or_before=last)
    assert kept.seq > 10
    reads = Reads(manager, monkeypatch)
    assert await manager.log.document("s") == await elsewhere.log.document("s")
    assert reads.events == last - kept.seq


async def test_small_saves_one_after_another_come_to_a_snapshot_all_the_same(monkeypatch):
    monkeypatch.setattr(snapshots, "FROM_BYTES", 4_000)
    manager = StateManager(MemoryStorageBackend())
    await manager.create_session("s")
    for value in range(30):
        state = await manager.get_session_state("s")
        state.context["n"] = value
        await manager.save_session_state("s", state)
    await manager.log.flush()
    assert len(manager.storage._sessions["s"].snapshots) == 1


async def test_each_process_reads_the_same_whatever_anybody_does(storage):
    """Random histories by three managers, one without a cache: every place reads the same in each."""
    rng = random.Random(20)
    tiny = StateManager(storage, config=StateManagerConfig(cache_size_mb=0.005))
    managers = [StateManager(storage), tiny, StateManager(storage, config=UNCACHED)]
    await managers[0].create_session("one", context={"n": -1})
    for number in range(60):
        await act(rng, rng.choice(managers), number)
        for session_id in [head.session_id for head in await managers[2].list_sessions()]:
            await compare(rng, managers, session_id)
    assert tiny.log.cache.bytes <= 5_000


async def compare(rng: random.Random, managers: list[StateManager], session_id: str) -> None:
    last = (await managers[0].get_head(session_id)).last_seq
    for seq in (None, rng.randint(1, last)):
        documents = [await manager.log.document(session_id, seq) for manager in managers]
        assert documents[0] == documents[1] == documents[2]


async def act(rng: random.Random, manager: StateManager, number: int) -> None:
    heads = await manager.list_sessions()
    session_id = rng.choice([head.session_id for head in heads])
    checkpoints = await manager.list_checkpoints(session_id)
    choice = rng.random()
    if choice < 0.45:
        state = await manager.get_session_state(session_id)
        state.context[rng.choice("abc")] = {"at": number, "text": "x" * rng.randint(0, 300)}
        await manager.save_session_state(session_id, state)
    elif choice < 0.6:
        await manager.create_checkpoint(session_id)
    elif choice < 0.8 and checkpoints:
        await manager.restore_checkpoint(rng.choice(checkpoints).id)
    elif choice < 0.9 and len(heads) < 4:
        await manager.fork_session(session_id, f"fork-{rng.randint(1, 3)}-{number}")
    else:
        await manager.delete_session(session_id)
        await manager.create_session(session_id, context={"born": number})
