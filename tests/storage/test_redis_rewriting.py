"""How Redis rewrites: no script holds others up for long, and what a killed process leaves is not seen."""

from __future__ import annotations

from typing import Any

import pytest

from state_core.storage import redis as module
from state_core.storage.base import derived
from state_core.storage.redis import RedisStorageBackend
from state_core.testing import create, message, numbers
from state_core.testing.rewrites import compacted


class Killed(Exception):
    """As if the process had ended here."""


@pytest.fixture
async def store(redis_store: RedisStorageBackend, monkeypatch: pytest.MonkeyPatch) -> RedisStorageBackend:
    monkeypatch.setattr(module, "TRIMMED_AT_ONCE", 7)
    await create(redis_store, "s")
    await redis_store.append("s", [message("text")] * 39)
    return redis_store


def scripts_of(store: RedisStorageBackend, monkeypatch: pytest.MonkeyPatch, *, until: int = 99) -> list[str]:
    """The names of those that are run; who runs more than so many of `trim` is killed."""
    run, names = store._run, []

    async def told(name: str, *arguments: Any) -> Any:
        if name == "trim" and names.count(name) == until:
            raise Killed
        names.append(name)
        return await run(name, *arguments)

    monkeypatch.setattr(store, "_run", told)
    return names


async def stored_bytes(store: RedisStorageBackend) -> int:
    return derived("s", await store.read_events("s"))[0].add["stored_bytes"]


def entries(redis_server: Any, prefix: str) -> tuple[int, int]:
    with redis_server.client() as client:
        return client.xlen(f"{prefix}{{s}}:log"), client.hlen(f"{prefix}{{s}}:bodies")


async def test_a_long_history_goes_in_several_scripts(
    store: RedisStorageBackend, redis_server: Any, redis_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = scripts_of(store, monkeypatch)
    await store.rewrite("s", [compacted(30, after=0)], first_seq=30)
    assert (names.count("rewrite"), names.count("trim")) == (1, 5)
    assert entries(redis_server, redis_prefix) == (11, 11)
    assert (await store.head("s")).counts["stored_bytes"] == await stored_bytes(store)


async def test_what_a_killed_process_left_is_not_seen_and_goes_with_the_next_clean_up(
    store: RedisStorageBackend, redis_server: Any, redis_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched, pytest.raises(Killed):
        scripts_of(store, patched, until=2)
        await store.rewrite("s", [compacted(30, after=0)], first_seq=30)
    assert entries(redis_server, redis_prefix) == (26, 26)
    assert await numbers(store, "s") == list(range(30, 41))
    assert [event.seq for event in await store.read_events("s", limit=1)] == [30]
    assert (await store.read_events("s", newest_first=True))[-1].seq == 30
    await store.tidy()
    assert entries(redis_server, redis_prefix) == (11, 11)
    assert (await store.head("s")).counts["stored_bytes"] == await stored_bytes(store)
    with redis_server.client() as client:
        assert not client.exists(f"{redis_prefix}trimming")


async def test_what_a_killed_process_left_goes_with_the_next_compaction_and_with_the_session(
    store: RedisStorageBackend, redis_server: Any, redis_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched, pytest.raises(Killed):
        scripts_of(store, patched, until=0)
        await store.rewrite("s", [compacted(20, after=0)], first_seq=20)
    await store.rewrite("s", [compacted(30, after=0)], first_seq=30)
    assert entries(redis_server, redis_prefix) == (11, 11)
    assert (await store.head("s")).counts["stored_bytes"] == await stored_bytes(store)
    with monkeypatch.context() as patched, pytest.raises(Killed):
        scripts_of(store, patched, until=0)
        await store.rewrite("s", [compacted(35, after=0)], first_seq=35)
    await store.delete("s")
    with redis_server.client() as client:
        assert client.keys(f"{redis_prefix}*") == []
