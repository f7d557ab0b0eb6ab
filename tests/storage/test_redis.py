"""What the Redis store promises beyond the contract."""

from __future__ import annotations

import asyncio
import ipaddress
import random
import shutil
import ssl
import subprocess
import sys
import tempfile
import threading
from binascii import crc_hqx
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from state_core import HeadQuery, StateManager, StorageBackend
from state_core.events import EventKind
from state_core.exceptions import (
    CheckpointNotFound,
    ConfigurationError,
    SessionNotFound,
    StorageError,
    StorageUnavailable,
)
from state_core.storage import redis as module
from state_core.storage import redisclient
from state_core.storage.base import SORTS, Snapshot
from state_core.storage.memory import MemoryStorageBackend
from state_core.storage.redis import RedisStorageBackend
from state_core.testing import LONG, create, message, numbers, record, start, until
from tests.proxy import Manners, proxy_to
from tests.redis_server import RedisServer
from tests.storage.worker import appended_by

SECRET = "s3cret-Pa55word"


@pytest.fixture
def own_server() -> Iterator[RedisServer]:
    """A server to stop and to spoil."""
    folder = Path(tempfile.mkdtemp(prefix="redis"))
    server = RedisServer(folder)
    server.start()
    yield server
    server.kill()
    shutil.rmtree(folder)


@asynccontextmanager
async def opened(*arguments: object, **options: object) -> AsyncIterator[RedisStorageBackend]:
    store = RedisStorageBackend(*arguments, **options)
    try:
        yield store
    finally:
        await store.close()


def calls(client: redis.Redis, command: str) -> int:
    return client.info("commandstats").get(f"cmdstat_{command}", {}).get("calls", 0)


# Keys and order


async def test_keys_of_a_session_share_a_hash_tag(redis_store: StorageBackend, redis_server, redis_prefix):
    await create(redis_store, "s")
    await redis_store.append("s", [record(EventKind.CHECKPOINT_CREATED, data={"id": "c", "name": "c"})])
    await redis_store.put_snapshot("s", Snapshot(1, b"x", "j1"))
    with redis_server.client() as client:
        keys = {key.decode() for key in client.keys(f"{redis_prefix}*{{*")}
    parts = ("head", "log", "bodies", "checkpoints", "snapshots")
    assert keys == {f"{redis_prefix}{{s}}:{part}" for part in parts}


async def test_events_stand_in_a_stream_under_their_numbers(redis_store, redis_server, redis_prefix):
    await create(redis_store, "s")
    await redis_store.append("s", [message(), message()])
    with redis_server.client() as client:
        entries = client.xrange(f"{redis_prefix}{{s}}:log")
    assert [entry_id for entry_id, _ in entries] == [b"1-0", b"2-0", b"3-0"]


async def test_bodies_are_not_read_when_they_are_not_wanted(redis_store, redis_server):
    await create(redis_store, "s")
    await redis_store.append("s", [message("hello")])
    with redis_server.client() as client:
        before = calls(client, "hget")
        outline = await redis_store.read_events("s", bodies=False)
        assert calls(client, "hget") == before
        assert [event.body for event in outline] == [b"", b""]
        assert (await redis_store.read_events("s"))[-1].body == b"hello"
        assert calls(client, "hget") > before


async def test_listing_heads_reads_no_logs(redis_store, redis_server):
    for n in range(5):
        await create(redis_store, f"s{n}", title="Report")
    with redis_server.client() as client:
        before = calls(client, "xrange"), calls(client, "xrevrange")
        await redis_store.heads(HeadQuery(text="report"))
        await redis_store.count_by_status(HeadQuery())
        await redis_store.usage()
        assert (calls(client, "xrange"), calls(client, "xrevrange")) == before


async def test_a_session_that_is_deleted_leaves_no_key(redis_store, redis_server, redis_prefix):
    await create(redis_store, "s")
    await redis_store.append("s", [record(EventKind.CHECKPOINT_CREATED, data={"id": "c", "name": "c"})])
    await redis_store.put_snapshot("s", Snapshot(1, b"x", "j1"))
    await redis_store.delete("s")
    assert left(redis_server, redis_prefix) == []


def left(server: RedisServer, prefix: str) -> list[bytes]:
    with server.client() as client:
        return client.keys(f"{prefix}*")


@pytest.mark.parametrize(("seed", "at_once"), [(0, 7), (1, 1000)])
async def test_pages_come_in_the_order_of_the_memory_store(
    redis_store: StorageBackend, monkeypatch: pytest.MonkeyPatch, seed: int, at_once: int
) -> None:
    """Many ties, every sort, pages of several sizes, scripts that see few heads at once or all."""
    monkeypatch.setattr(module, "AT_ONCE", at_once)
    chance, memory = random.Random(seed), MemoryStorageBackend()
    for n in chance.sample(range(100), 40):
        for store in (redis_store, memory):
            await _make(store, f"s{n}", random.Random(n))
    for sort in [*SORTS, *(f"-{field}" for field in SORTS)]:
        for query in _queries(sort):
            expected = [head.session_id for head in await memory.heads(query(None, 1000))]
            assert await _paged(redis_store, query, chance.choice([4, 20, 1000])) == expected, query(None, 9)
            assert await redis_store.count_by_status(query(None, 1)) == await memory.count_by_status(
                query(None, 1)
            )


async def test_sessions_of_a_version_that_did_not_sort_by_duration_are_sorted(
    redis_store: StorageBackend, redis_server: RedisServer, redis_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "INDEXED_AT_ONCE", 2)
    for n in range(5):
        await create(redis_store, f"s{n}")
        await start(redis_store, f"s{n}", n)
        if n % 2:
            await redis_store.append(f"s{n}", [record(EventKind.SESSION_COMPLETED, 10 * n)])
    with redis_server.client() as client:
        client.delete(*client.keys(f"{redis_prefix}index:*:duration"))
    found = [head.session_id for head in await redis_store.heads(HeadQuery(sort="-duration"))]
    assert found == ["s0", "s2", "s4", "s3", "s1"]


async def test_a_session_of_a_version_that_did_not_tell_who_worked_tells_it_once_it_is_read(
    redis_store: StorageBackend, redis_server: RedisServer, redis_prefix: str
) -> None:
    await create(redis_store, "s")
    await start(redis_store, "s", 1)
    begun = [record(EventKind.STEP_STARTED, 2, agent=agent) for agent in ("B", "A")]
    await redis_store.append("s", begun)
    with redis_server.client() as client:
        client.hdel(f"{redis_prefix}{{s}}:head", "worked")
    last = record(EventKind.STEP_STARTED, 3, agent="C")
    await redis_store.append("s", [last], head={"agents": ["C"]})
    assert [head.session_id for head in await redis_store.heads(HeadQuery(agent="C"))] == ["s"]
    assert (await redis_store.head("s")).worked == ["B", "A", "C"]
    assert [head.worked for head in await redis_store.heads(HeadQuery(agent="A"))] == [["B", "A", "C"]]
    await redis_store.append("s", [record(EventKind.STEP_STARTED, 4, agent="D")])
    assert (await redis_store.head("s")).worked == ["B", "A", "C", "D"]


async def _make(store: StorageBackend, session_id: str, chance: random.Random) -> None:
    tags = chance.choice([["red"], ["red", 'b"lue'], []])
    await create(store, session_id, chance.randrange(4), title=chance.choice(["Ärger", "Plan"]), tags=tags)
    if chance.random() < 0.6:
        await start(store, session_id, chance.randrange(4))
    for _ in range(chance.randrange(3)):
        await store.append(session_id, [record(EventKind.STEP_STARTED, chance.randrange(9), size=5)])
    if chance.random() < 0.3:
        asked = [record(EventKind.INPUT_REQUESTED, chance.randrange(9), data={"question": n}) for n in "ab"]
        await store.append(session_id, asked)
    if chance.random() < 0.3:
        await store.append(session_id, [record(EventKind.INPUT_ANSWERED, 4, data={"question": "a"})] * 2)
    if chance.random() < 0.3:
        await store.append(session_id, [record(EventKind.SESSION_COMPLETED, 3)])


def _queries(sort: str):
    since, until_ = datetime(2026, 1, 2, 3, 4, 7, tzinfo=UTC), datetime(2026, 1, 2, 3, 4, 9, tzinfo=UTC)
    for options in (
        {},
        {"statuses": ["running", "completed"]},
        {"tag": 'b"lue'},
        {"text": "ÄRG", "since": since},
        {"since": since, "until": until_},
        {"statuses": ["pending"], "until": until_},
        {"questions": True},
        {"questions": True, "since": since, "statuses": ["running", "completed"]},
    ):
        yield lambda after, limit, options=options: HeadQuery(
            sort=sort, after=after, limit=limit, as_of=until_, **options
        )


async def _paged(store: StorageBackend, query, size: int) -> list[str]:
    found, after = [], None
    while page := await store.heads(query(after, size)):
        assert len(page) <= size
        found += [head.session_id for head in page]
        after = query(None, size).cursor(page[-1])
    return found


async def test_a_long_log_is_read_in_parts(redis_store: StorageBackend, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "AT_ONCE", 7)
    monkeypatch.setattr(module, "BYTES_AT_ONCE", 300)
    await create(redis_store, "s")
    await redis_store.append("s", [message("x" * n, branch_id="b" if n % 3 else "c") for n in range(99)])
    assert await numbers(redis_store, "s") == list(range(1, 101))
    newest = await redis_store.read_events("s", newest_first=True, branch_id="c", limit=20, before=90)
    assert [event.seq for event in newest] == list(range(89, 30, -3))
    assert [len(event.body) for event in newest] == list(range(87, 28, -3))


# Expiry


@pytest.fixture
async def short_store(redis_server: RedisServer, redis_prefix: str) -> AsyncIterator[StorageBackend]:
    async with opened(url=redis_server.url, key_prefix=redis_prefix, expire_time=1.0) as store:
        yield store


async def _fill(store: StorageBackend, session_id: str) -> None:
    await create(store, session_id, title="Short-lived")
    await store.append(session_id, [record(EventKind.CHECKPOINT_CREATED, data={"id": "c", "name": "c"})])
    await store.put_snapshot(session_id, Snapshot(1, b"x", "j1"))


async def _gone(store: StorageBackend, session_id: str) -> bool:
    return session_id not in await store.last_seqs([session_id])


async def test_every_key_of_a_session_expires_in_the_same_instant(redis_server, redis_prefix):
    async with opened(url=redis_server.url, key_prefix=redis_prefix, expire_time=LONG) as store:
        await _fill(store, "s")
        with redis_server.client() as client:
            keys = client.keys(f"{redis_prefix}{{s}}:*")
            pipeline = client.pipeline(transaction=True)
            for key in keys:
                pipeline.pttl(key)
            lives = pipeline.execute()
        assert len(keys) == 5
        assert max(lives) - min(lives) <= 2
        assert LONG * 1000 - 60_000 < min(lives) <= LONG * 1000


async def test_an_expired_session_is_shown_nowhere_and_leaves_no_key(short_store, redis_server, redis_prefix):
    await _fill(short_store, "s")
    await until(lambda: _gone(short_store, "s"))
    assert await short_store.heads(HeadQuery(text="short")) == []
    assert await short_store.count_by_status(HeadQuery()) == {}
    assert (await short_store.usage()).sessions == 0
    assert await short_store.read_events("s") == await short_store.checkpoints("s") == []
    for asked in (short_store.head("s"), short_store.acquire("s", "me", LONG), short_store.delete("s")):
        with pytest.raises(SessionNotFound):
            await asked
    with pytest.raises(CheckpointNotFound):
        await short_store.checkpoint("c")
    assert left(redis_server, redis_prefix) == []


async def test_expired_sessions_are_forgotten_when_others_are_written(
    short_store, redis_server, redis_prefix
):
    await _fill(short_store, "old")
    await until(lambda: _gone(short_store, "old"))
    await create(short_store, "new")
    with redis_server.client() as client:
        assert client.hkeys(f"{redis_prefix}indexed") == [b"new"]
        assert client.zrange(f"{redis_prefix}index:pending:updated_at", 0, -1) == [b"new"]
        assert client.exists(f"{redis_prefix}checkpoints", f"{redis_prefix}checkpoints:by-session") == 0


async def test_a_session_may_be_created_again_after_it_expired(short_store):
    await _fill(short_store, "s")
    await start(short_store, "s")
    await until(lambda: _gone(short_store, "s"))
    await create(short_store, "s")
    assert await numbers(short_store, "s") == [1]
    assert await short_store.count_by_status(HeadQuery()) == {"pending": 1}


async def test_a_session_that_is_held_does_not_expire(short_store):
    """A step may last longer than expire_time: its owner renews the lease meanwhile."""
    await create(short_store, "s")
    lease = await short_store.acquire("s", "me", LONG)
    for _ in range(6):
        await asyncio.sleep(0.25)
        await short_store.renew("s", lease.fence, LONG)
    assert await numbers(short_store, "s") == [1]


async def test_a_writer_without_expire_time_makes_a_session_stay(short_store, redis_store, redis_server):
    await _fill(short_store, "s")
    await redis_store.append("s", [message()])
    with redis_server.client() as client:
        keys = client.keys(f"{redis_store.key_prefix}{{s}}:*")
        assert {client.pttl(key) for key in keys} == {-1}
    await create(short_store, "t")
    await until(lambda: _gone(short_store, "t"))
    assert [head.session_id for head in await short_store.heads(HeadQuery())] == ["s"]
    assert (await short_store.checkpoint("c")).session_id == "s"


async def test_a_session_whose_head_was_evicted_is_not_shown(redis_store, redis_server, redis_prefix):
    for session_id in ("s", "t"):
        await create(redis_store, session_id)
        await redis_store.append(session_id, [message()])
    with redis_server.client() as client:
        client.delete(f"{redis_prefix}{{s}}:head")
    assert [head.session_id for head in await redis_store.heads(HeadQuery())] == ["t"]
    assert await redis_store.count_by_status(HeadQuery()) == {"pending": 1}
    await create(redis_store, "s")
    assert await numbers(redis_store, "s") == [1]


@pytest.mark.parametrize("expire_time", [0, -1.0])
def test_an_expire_time_that_is_none_is_refused(expire_time):
    with pytest.raises(ConfigurationError, match="expire_time"):
        RedisStorageBackend(expire_time=expire_time)


# Processes, threads, loops


async def test_eight_processes_append_to_one_session_without_a_gap(redis_store, redis_server, redis_prefix):
    await create(redis_store, "s")
    pids = await asyncio.to_thread(appended_by, 8, 150, redis_server.url, redis_prefix)
    events = await redis_store.read_events("s", after=1)
    assert [event.seq for event in events] == list(range(2, 1202))
    of_each = [
        [int(body.split(":")[1]) for body in _bodies(events) if body.startswith(f"{pid}:")] for pid in pids
    ]
    assert of_each == [list(range(150))] * 8


def _bodies(events) -> list[str]:
    return [event.body.decode() for event in events]


def test_loops_of_several_threads_leave_no_connection_behind(redis_server, redis_prefix):
    """Each loop closes its own connections when it shuts down, though nobody closes the store."""
    store = RedisStorageBackend(url=f"{redis_server.url}?client_name=loops", key_prefix=redis_prefix)
    asyncio.run(create(store, "s"))
    threads = [
        threading.Thread(target=lambda: asyncio.run(_append_ten(store)), name=f"thread {n}") for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert asyncio.run(numbers(store, "s")) == list(range(1, 42))
    asyncio.run(until(lambda: _nobody(redis_server, "loops")))


def connected(server: RedisServer, name: str) -> int:
    with server.client() as client:
        return sum(one["name"] == name for one in client.client_list())


async def _append_ten(store: StorageBackend) -> None:
    await asyncio.gather(*(store.append("s", [message()]) for _ in range(10)))


async def test_closing_closes_the_connections_of_other_loops(redis_server, redis_prefix):
    async with opened(url=f"{redis_server.url}?client_name=other", key_prefix=redis_prefix) as store:
        with running_loop() as loop:
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(create(store, "s"), loop))
            assert connected(redis_server, "other") == 1
            await store.close()
            await until(lambda: _nobody(redis_server, "other"))
        assert await numbers(store, "s") == [1]


@contextmanager
def running_loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


async def _nobody(server: RedisServer, name: str) -> bool:
    return connected(server, name) == 0


async def test_more_callers_than_connections_wait_for_their_turn(redis_server, redis_prefix):
    url = f"{redis_server.url}?client_name=few"
    async with opened(url=url, key_prefix=redis_prefix, pool_size=2) as store:
        await create(store, "s")
        await asyncio.gather(*(store.append("s", [message()]) for _ in range(50)))
        assert connected(redis_server, "few") <= 2
        assert await numbers(store, "s") == list(range(1, 52))


# Failures


async def test_nothing_acknowledged_is_lost_when_the_server_is_killed(own_server, redis_prefix):
    async with opened(url=own_server.url, key_prefix=redis_prefix) as store:
        await create(store, "s")
        acknowledged: dict[int, str] = {}
        for attempt in range(4):
            writers = [
                asyncio.ensure_future(_write_until_it_fails(store, acknowledged, f"{attempt}-{n}"))
                for n in range(8)
            ]
            known = len(acknowledged)
            await until(lambda known=known: _more_than(acknowledged, known + 40))
            own_server.kill()
            await asyncio.gather(*writers)
            own_server.start()
            events = {e.seq: e.body.decode() for e in await store.read_events("s")}
            head = await store.head("s")
            assert list(events) == list(range(1, head.last_seq + 1))
            assert {seq: events.get(seq) for seq in acknowledged} == acknowledged
            assert head.counts["messages"] == len(events) - 1
            assert [h.last_seq for h in await store.heads(HeadQuery(sort="-updated_at"))] == [head.last_seq]


async def _write_until_it_fails(store: StorageBackend, acknowledged: dict[int, str], name: str) -> None:
    number = 0
    try:
        while True:
            number += 1
            acknowledged[await store.append("s", [message(f"{name}/{number}")])] = f"{name}/{number}"
    except StorageUnavailable:
        return


async def _more_than(found: dict[int, str], count: int) -> bool:
    return len(found) > count


async def test_a_server_that_is_stopped_is_named_and_the_store_goes_on_after_its_return(
    own_server, redis_prefix
):
    async with opened("127.0.0.1", own_server.port, key_prefix=redis_prefix) as store:
        await create(store, "s")
        own_server.kill()
        for attempt in (
            store.append("s", [message()]),
            store.head("s"),
            store.heads(HeadQuery()),
            store.check(),
        ):
            with pytest.raises(StorageUnavailable, match=f"127.0.0.1:{own_server.port}"):
                await attempt
        own_server.start()
        assert await store.append("s", [message()]) == 2


async def test_a_reply_that_is_cut_off_is_not_asked_for_twice(redis_server, redis_prefix):
    async with proxy_to(redis_server.port) as proxy:
        async with opened(port=proxy.port, host="127.0.0.1", key_prefix=redis_prefix) as store:
            await create(store, "s")
            proxy.manners = Manners.CUT_BEFORE_REPLY
            with pytest.raises(StorageUnavailable):
                await store.append("s", [message("landed")])
            proxy.manners = Manners.CUT_BEFORE_REQUEST
            with pytest.raises(StorageUnavailable):
                await store.append("s", [message("did not")])
            events = await store.read_events("s")
            assert _bodies(events) == ["", "landed"]


async def test_a_running_session_finds_out_whether_its_write_landed(redis_server, redis_prefix):
    async with proxy_to(redis_server.port) as proxy:
        manager = StateManager(RedisStorageBackend("127.0.0.1", proxy.port, key_prefix=redis_prefix))
        async with manager.session("s") as session:
            branch = await session.open_branch("main")
            for cut in (Manners.CUT_BEFORE_REPLY, Manners.CUT_BEFORE_REQUEST) * 2:
                proxy.manners = cut
                await branch.add_message("user", cut.name)
        state = await manager.get_session_state("s")
        await manager.close()
        said = [message.content for message in state.branches[0].memory]
        assert said == ["CUT_BEFORE_REPLY", "CUT_BEFORE_REQUEST"] * 2


async def test_a_server_that_falls_silent_counts_as_unreachable(redis_server, redis_prefix, monkeypatch):
    monkeypatch.setattr(redisclient, "REPLY_SECONDS", 0.3)
    async with proxy_to(redis_server.port) as proxy:
        async with opened(port=proxy.port, host="127.0.0.1", key_prefix=redis_prefix) as store:
            await create(store, "s")
            proxy.manners = Manners.SILENT
            with pytest.raises(StorageUnavailable):
                await store.append("s", [message()])
            proxy.manners = Manners.PASS
            assert await numbers(store, "s") == [1, 2]


async def test_a_caller_that_is_cancelled_leaves_no_reply_for_the_next(redis_server, redis_prefix):
    async with proxy_to(redis_server.port) as proxy:
        async with opened(port=proxy.port, host="127.0.0.1", key_prefix=redis_prefix, pool_size=1) as store:
            await create(store, "s")
            proxy.manners = Manners.SILENT
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await store.append("s", [message()])
            proxy.manners = Manners.PASS
            assert (await store.head("s")).session_id == "s"


async def test_scripts_that_the_server_has_forgotten_are_sent_again(redis_store, redis_server):
    await create(redis_store, "s")
    with redis_server.client() as client:
        client.script_flush()
    assert await redis_store.append("s", [message()]) == 2
    assert await numbers(redis_store, "s") == [1, 2]


async def test_a_full_server_refuses_and_keeps_what_it_has(own_server, redis_prefix):
    async with opened(url=own_server.url, key_prefix=redis_prefix) as store:
        await create(store, "s")
        with own_server.client() as client:
            client.config_set("maxmemory", "1mb")
            with pytest.raises(StorageError, match="out of memory; nothing was written"):
                await store.append("s", [message("x" * 100_000)])
            client.config_set("maxmemory", "0")
        assert (await store.head("s")).last_seq == 1
        assert await numbers(store, "s") == [1]
        assert await store.append("s", [message()]) == 2


# Wake-ups


async def test_wakeups_come_back_after_the_connection_was_lost(redis_store, redis_server, caplog):
    await create(redis_store, "s")
    async with aclosing(redis_store.wakeups()) as hints, asyncio.timeout(30):
        assert await anext(hints) == ""
        await redis_store.append("s", [message()])
        assert await anext(hints) == "s"
        with redis_server.client() as client:
            client.client_kill_filter(_type="pubsub")
        assert await anext(hints) == ""
        await redis_store.append("s", [message()])
        assert await anext(hints) == "s"
    assert "Wake-ups are interrupted" in caplog.text


async def test_a_quiet_subscription_is_kept_and_a_dead_one_renewed(redis_server, redis_prefix, monkeypatch):
    monkeypatch.setattr(redisclient, "HEARTBEAT_SECONDS", 0.1)
    monkeypatch.setattr(redisclient, "REPLY_SECONDS", 0.3)
    async with proxy_to(redis_server.port) as proxy:
        async with opened(port=proxy.port, host="127.0.0.1", key_prefix=redis_prefix) as store:
            async with aclosing(store.wakeups()) as hints, asyncio.timeout(30):
                assert await anext(hints) == ""
                hint = asyncio.ensure_future(anext(hints))
                assert await asyncio.wait([hint], timeout=0.5) == (set(), {hint})
                proxy.manners = Manners.SILENT
                await asyncio.sleep(0.3)
                proxy.manners = Manners.PASS
                assert await hint == ""


async def test_watching_takes_no_connection_from_the_pool(redis_server, redis_prefix):
    async with opened(url=redis_server.url, key_prefix=redis_prefix, pool_size=1) as store:
        async with aclosing(store.wakeups()) as hints, asyncio.timeout(30):
            assert await anext(hints) == ""
            await create(store, "s")
            assert await anext(hints) == "s"


async def test_watchers_hear_of_a_deletion(redis_store):
    await create(redis_store, "s")
    async with aclosing(redis_store.wakeups()) as hints, asyncio.timeout(30):
        assert await anext(hints) == ""
        await redis_store.delete("s")
        assert await anext(hints) == "s"


# Configuration


async def test_a_durable_server_has_no_weakness(own_server):
    async with opened(url=own_server.url) as store:
        assert await store.check() == []


async def test_weak_configuration_is_told_in_plain_words(own_server):
    async with opened(url=own_server.url) as store:
        with own_server.client() as client:
            client.config_set("appendfsync", "everysec")
            client.config_set("maxmemory-policy", "allkeys-lru")
            fsync, eviction = await store.check()
            assert "appendfsync always" in fsync and "loses up to two seconds" in fsync
            assert "may drop sessions silently" in eviction and "allkeys-lru" in eviction
            client.config_set("maxmemory-policy", "noeviction")
            client.config_set("appendonly", "no")
            (sentence,) = await store.check()
            assert "appendonly yes" in sentence


async def test_a_server_that_hides_its_configuration_is_reported(own_server, redis_prefix):
    with own_server.client() as client:
        client.execute_command(*("ACL", "SETUSER", "app", "on", f">{SECRET}", "~*", "&*", "+@all", "-config"))
    url = own_server.url.replace("//", f"//app:{SECRET}@")
    async with opened(url=url, key_prefix=redis_prefix) as store:
        await create(store, "s")
        (sentence,) = await store.check()
        assert "does not tell its appendfsync" in sentence


@pytest.mark.parametrize("form", ["url", "parts"])
async def test_a_password_is_used_and_never_shown(own_server, redis_prefix, form):
    with own_server.client() as client:
        client.config_set("requirepass", SECRET)
    options = {
        "url": {"url": own_server.url.replace("//", f"//:{SECRET}@")},
        "parts": {"host": "127.0.0.1", "port": own_server.port, "password": SECRET},
    }[form]
    async with opened(**options, key_prefix=redis_prefix) as store:
        await create(store, "s")
        assert SECRET not in repr(store) + repr(vars(store)) + repr(vars(store._clients))
        own_server.kill()
        with pytest.raises(StorageUnavailable) as caught:
            await store.head("s")
        assert SECRET not in str(caught.value)


async def test_a_wrong_password_is_not_taken_for_an_outage(own_server):
    with own_server.client() as client:
        client.config_set("requirepass", SECRET)
    for password in ("wrong", None):
        async with opened("127.0.0.1", own_server.port, password=password) as store:
            with pytest.raises(StorageError) as caught:
                await store.head("s")
            assert not isinstance(caught.value, StorageUnavailable)
            assert "password" in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        f"http://:{SECRET}@host",
        f"redis://:{SECRET}@host:port",
        f"redis://:{SECRET}@host/0?unheard_of={SECRET}",
        f"redis://:{SECRET}@host/0?socket_timeout={SECRET}",
        f"{SECRET}",
    ],
)
def test_a_url_that_cannot_work_is_refused_without_repeating_it(url):
    with pytest.raises(ConfigurationError) as caught:
        RedisStorageBackend(url=url)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None and (
        caught.value.__context__ is None or caught.value.__suppress_context__
    )


async def test_a_cluster_needs_a_tag_in_the_prefix_and_the_node_of_its_slot(two_nodes):
    slots = {name: crc_hqx(name.encode(), 0) % 16384 for name in map(str, range(20))}
    tags = [next(name for name, slot in slots.items() if (slot < HALF) == first) for first in (True, False)]
    for tag, node, other in zip(tags, two_nodes, reversed(two_nodes), strict=True):
        async with opened(url=node.url, key_prefix=f"marsys:{{{tag}}}:") as store:
            await create(store, "s")
            assert [head.session_id for head in await store.heads(HeadQuery())] == ["s"]
        for url, prefix in ((other.url, f"marsys:{{{tag}}}:"), (node.url, "marsys:")):
            async with opened(url=url, key_prefix=prefix) as store:
                with pytest.raises(StorageError, match="node of a Redis Cluster") as caught:
                    for name in "abcdefgh":
                        await create(store, name)
                assert not isinstance(caught.value, StorageUnavailable)


HALF = 8192
"""Of the slots of a cluster."""


@pytest.fixture
def two_nodes(tmp_path: Path) -> Iterator[list[RedisServer]]:
    """Two nodes of a Redis Cluster, each with half of the slots."""
    nodes = []
    try:
        for name, slots in (("a", range(HALF)), ("b", range(HALF, 2 * HALF))):
            (tmp_path / name).mkdir()
            nodes.append(RedisServer(tmp_path / name, **{"cluster-enabled": "yes"}))
            nodes[-1].start()
            with nodes[-1].client() as client:
                client.execute_command("CLUSTER", "ADDSLOTS", *slots)
        with nodes[0].client() as client:
            client.execute_command("CLUSTER", "MEET", "127.0.0.1", nodes[1].port)
        asyncio.run(until(lambda: _know_each_other(nodes)))
        yield nodes
    finally:
        for node in nodes:
            node.kill()


async def _know_each_other(nodes: list[RedisServer]) -> bool:
    states = []
    for node in nodes:
        with node.client() as client:
            states.append(client.cluster("info")["cluster_state"])
    return states == ["ok", "ok"]


async def test_a_unix_socket_will_do(redis_server, redis_prefix):
    async with opened(url=redis_server.socket_url, key_prefix=redis_prefix) as store:
        await create(store, "s")
        assert "redis.sock" in repr(store)


async def test_tls_is_spoken_and_certificates_are_verified(redis_server, redis_prefix, tmp_path):
    certificate = _certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    async with proxy_to(redis_server.port, tls=context) as proxy:
        url = f"rediss://127.0.0.1:{proxy.port}/0?ssl_ca_certs={certificate}"
        async with opened(url=url, key_prefix=redis_prefix) as store:
            await create(store, "s")
            assert await numbers(store, "s") == [1]
        async with opened("127.0.0.1", proxy.port, tls=True, key_prefix=redis_prefix) as store:
            with pytest.raises(StorageUnavailable, match="(?i)certificate"):
                await store.head("s")


def _certificate(folder: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .sign(key, hashes.SHA256())
    )
    pem, private = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    path = folder / "server.pem"
    path.write_bytes(
        key.private_bytes(pem, private, serialization.NoEncryption()) + certificate.public_bytes(pem)
    )
    return path


def test_without_the_package_it_is_said_what_to_install():
    code = (
        "import sys; sys.modules['redis'] = None\n"
        "import state_core.storage.redis as module\n"
        "try: module.RedisStorageBackend()\n"
        "except module.ConfigurationError as error: print(error)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "pip install marsys-dashboard[redis]" in said
