"""The Redis store: plain Redis 6.2 or newer, or Valkey; no modules.

One Lua script for each operation, so that every write is whole or not at all. A session's keys carry its
id as their hash tag; see redis_scripts/common.lua for what is kept where. An append touches the index of
all sessions too: on a Redis Cluster, ``key_prefix`` must contain a ``{tag}``, which puts the whole store
into one slot, and the node that holds this slot is the one to name.

How durable an append is when it is acknowledged, the server's ``appendfsync`` decides: with ``always`` it
is on the disk, with ``everysec`` a crash of the machine may cost the last second. `check` tells.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import suppress
from typing import Any

from state_core.events import EventRecord
from state_core.exceptions import (
    CheckpointNotFound,
    ConfigurationError,
    ConflictError,
    EventGone,
    LeaseHeld,
    LeaseLost,
    SessionNotFound,
    StateError,
    StorageUnavailable,
)
from state_core.heads import TELL_OF_WORK, CheckpointChange, HeadChange, head_change
from state_core.records import HELD, Checkpoint, Head, Lease, check_id
from state_core.storage.base import (
    Append,
    EventQuery,
    Guard,
    HeadQuery,
    Outcome,
    Snapshot,
    StorageBackend,
    Usage,
    counted_size,
    refusal,
)
from state_core.storage.redischeck import weaknesses
from state_core.storage.redisclient import Clients, Server, server_at
from state_core.storage.redisrows import (
    Argument,
    as_json,
    asked_statuses,
    read_checkpoint,
    read_checkpoints,
    read_event,
    read_head,
    read_text,
    read_time,
    reads_heads,
    write_append,
    write_cursor,
    write_filter,
    write_rewritten,
    write_time,
)

logger = logging.getLogger(__name__)

AT_ONCE = 1000
"""Events or heads that one script looks at; other clients wait meanwhile."""
TRIMMED_AT_ONCE = 500
"""Events that one script removes."""
INDEXED_AT_ONCE = 10_000
BYTES_AT_ONCE = 4_000_000
SLOWEST_RECONNECT = 5.0
"""Seconds."""


class RedisStorageBackend(StorageBackend):
    """Sessions in a Redis or Valkey server.

    ``expire_time``: seconds after which a session vanishes, all of it at once, counted from its last
    append or from when its lease was last taken or renewed; None: never. ``key_prefix``: what every key
    begins with. ``url``: ``redis://``, ``rediss://`` or ``unix://``, instead of host, port, db, user name,
    password and tls. ``pool_size``: most connections of one event loop.

    Raises ConfigurationError for options that cannot work.
    """

    supports_batches = True
    supports_wakeups = True

    def __init__(
        self,
        host: str = "localhost",
        port: int = 6379,
        db: int = 0,
        password: str | None = None,
        expire_time: float | None = None,
        key_prefix: str = "marsys:",
        *,
        username: str | None = None,
        url: str | None = None,
        tls: bool = False,
        pool_size: int = 64,
    ) -> None:
        if expire_time is not None and not expire_time > 0:
            raise ConfigurationError(f"expire_time is {expire_time!r}; it must be greater than 0, or None.")
        if pool_size < 1:
            raise ConfigurationError(f"pool_size is {pool_size!r}; it must be at least 1.")
        options = {"host": host, "port": port, "db": db, "username": username, "password": password}
        server = server_at(url) if url else Server(f"{host}:{port}", options=options, tls=tls)
        self.key_prefix = key_prefix
        self.expire_time = expire_time
        self._expire = 0 if expire_time is None else max(1, round(expire_time * 1000))
        self._clients = Clients(server, pool_size)

    def __repr__(self) -> str:
        return f"<RedisStorageBackend {self._clients.server.shown} {self.key_prefix!r}>"

    async def _run(self, name: str, *arguments: Argument) -> Any:
        return await self._clients.run(name, f"{self.key_prefix}indexed", self.key_prefix, *arguments)

    async def _of_session(self, name: str, session_id: str, *arguments: Argument) -> list[Any]:
        """What the script returns after "done". Raises SessionNotFound, LeaseHeld, LeaseLost,
        ConflictError."""
        outcome, *values = await self._run(name, session_id, *arguments)
        if outcome == b"missing":
            raise SessionNotFound(session_id)
        if outcome == b"held":
            owner, expires_at = values
            raise LeaseHeld(session_id, read_text(owner), read_time(expires_at))
        if outcome == b"lost":
            raise LeaseLost(session_id)
        if outcome == b"moved":
            raise ConflictError(session_id, *map(int, values))
        return list(values)

    def _key(self, session_id: str, part: str) -> str:
        return f"{self.key_prefix}{{{session_id}}}:{part}"

    # Logs

    async def _append(
        self,
        session_id: str,
        events: Sequence[EventRecord],
        guard: Guard,
        change: HeadChange,
        checkpoints: CheckpointChange,
    ) -> int:
        written = write_append(guard, change, events, checkpoints)
        return _appended(session_id, guard, await self._run("append", session_id, self._expire, *written))

    async def _append_many(self, writes: Sequence[Append]) -> list[Outcome | None]:
        """In one round trip. A script is whole or not at all, and knows of no other."""
        calls: list[Sequence[Argument]] = []
        for write in writes:
            written = write_append(write.guard, write.change, write.events, write.checkpoints)
            calls.append([self.key_prefix, write.session_id, self._expire, *written])
        replies = await self._clients.run_many("append", f"{self.key_prefix}indexed", calls)
        return [
            reply if isinstance(reply, Exception) else _appended_or_refused(write, reply)
            for write, reply in zip(writes, replies, strict=True)
        ]

    async def _read_events(self, session_id: str, query: EventQuery) -> list[EventRecord]:
        return await self._read(session_id, query, from_its_beginning=True)

    async def _read(
        self, session_id: str, query: EventQuery, *, from_its_beginning: bool
    ) -> list[EventRecord]:
        after, before = query.after, query.before
        wanted = [*_wanted(query), int(from_its_beginning)]
        found: list[EventRecord] = []
        while query.limit is None or len(found) < query.limit:
            left = -1 if query.limit is None else query.limit - len(found)
            span: list[Argument] = [after, "" if before is None else before, left]
            goes_on, *flat = await self._run("read", session_id, *span, *wanted)
            found.extend(read_event(session_id, *flat[i : i + 6]) for i in range(0, len(flat), 6))
            if not goes_on:
                break
            after, before = (after, int(goes_on)) if query.newest_first else (int(goes_on), before)
        return found

    async def _rewrite(self, session_id: str, records: Sequence[EventRecord], first_seq: int | None) -> None:
        begins = (await self.head(session_id)).first_seq
        first = first_seq if first_seq and first_seq > begins else None
        if first:
            await self._trim(session_id, begins)
        counted = await self._counted(session_id, records, first) if first else 0
        written = [part for record in records for part in write_rewritten(record)]
        outcome, *values = await self._run(
            "rewrite", session_id, begins, first or "", counted, len(records), *written
        )
        if outcome == b"missing":
            raise SessionNotFound(session_id)
        if outcome == b"gone":
            raise EventGone(session_id, int(values[0]))
        if first:
            await self._trim(session_id, first)

    async def _counted(self, session_id: str, records: Sequence[EventRecord], first: int) -> int:
        """How much more the data of the first header will count: only Python knows how long it is as text."""
        old = await self.read_events(session_id, after=first - 1, before=first + 1, bodies=False)
        new = [record for record in records if record.seq == first]
        return _counted(new) - _counted(old)

    async def _trim(self, session_id: str, first: int) -> None:
        """Remove what is before the beginning of a log, a part after the other."""
        query = EventQuery(before=first, limit=TRIMMED_AT_ONCE, bodies=False)
        while left := await self._read(session_id, query, from_its_beginning=False):
            await self._run("trim", session_id, left[0].seq, left[-1].seq, _counted(left))

    async def tidy(self) -> None:
        """Remove what a compaction that was killed has left."""
        for name in await self._clients.command("SMEMBERS", f"{self.key_prefix}trimming"):
            with suppress(SessionNotFound):
                session_id = read_text(name)
                await self._trim(session_id, (await self.head(session_id)).first_seq)

    async def put_snapshot(self, session_id: str, snapshot: Snapshot) -> None:
        await self._run("put_snapshot", session_id, snapshot.seq, snapshot.encoding, snapshot.body)

    async def snapshot(self, session_id: str, *, at_or_before: int) -> Snapshot | None:
        outcome, *values = await self._run("snapshot", session_id, at_or_before)
        if outcome == b"missing":
            return None
        encoding, _, body = values[1].partition(b"\n")
        return Snapshot(int(values[0]), body, encoding.decode())

    # Heads

    async def head(self, session_id: str) -> Head:
        values = await self._clients.command("HGETALL", self._key(check_id(session_id), "head"))
        if not values:
            raise SessionNotFound(session_id)
        head = read_head(values.items())
        if b"worked" not in values:
            head.worked = await self._tell_worked(head)
        return head

    async def _tell_worked(self, head: Head) -> list[str]:
        """From the log, of a session that a version before wrote whose heads did not tell."""
        session_id = head.session_id
        events = await self.read_events(
            session_id, before=head.last_seq + 1, kinds=TELL_OF_WORK, bodies=False
        )
        worked = head_change(events).first_worked if events else []
        written = [as_json(name) for name in worked]
        await self._run("worked", session_id, head.last_seq, len(written), *written)
        return worked

    async def heads(self, query: HeadQuery) -> list[Head]:
        statuses = asked_statuses(query, HELD) if query.lease_expired else asked_statuses(query)
        order = (query.sort_field, int(query.descending))
        asked = (write_time(query.as_of) or 0, len(statuses), *statuses, *write_filter(query))
        cursor = write_cursor(query, statuses)
        if query.sort_field == "duration":
            await self._index_durations(statuses)
        found: list[Head] = []
        while len(found) < query.limit:
            left = query.limit - len(found)
            page = await self._run("heads", *order, left, AT_ONCE, *cursor, *asked)
            goes_on, *reached = page[:3]
            found.extend(read_head(zip(flat[::2], flat[1::2], strict=True)) for flat in page[3:])
            if goes_on == b"0":
                break
            cursor = [1, *reached]
        return found

    async def _index_durations(self, statuses: list[str]) -> None:
        """Of sessions that a version before wrote which did not sort by them."""
        goes_on = 1
        while goes_on:
            goes_on = await self._run("durations", INDEXED_AT_ONCE, len(statuses), *statuses)

    async def count_by_status(self, query: HeadQuery) -> dict[str, int]:
        if reads_heads(query):
            tallies = await self._tallies(query)
            return {status: tally[0] for status, tally in tallies.items()}
        statuses = asked_statuses(HeadQuery())
        since, until = write_filter(query)[:2]
        while True:
            outcome, *counts = await self._run("count", since, until, len(statuses), *statuses)
            if outcome == b"done":
                counted = zip(statuses, map(int, counts), strict=True)
                return {status: count for status, count in counted if count}

    async def usage(self) -> Usage:
        tallies = await self._tallies(HeadQuery())
        sessions, events, checkpoints, size = map(sum, zip((0, 0, 0, 0), *tallies.values(), strict=True))
        by_status = {status: tally[0] for status, tally in tallies.items()}
        return Usage(sessions, events, checkpoints, size, by_status)

    async def _tallies(self, query: HeadQuery) -> dict[str, list[int]]:
        """Per status with any: sessions, events, checkpoints, bytes."""
        indexes = [f"index:{status}:session_id" for status in asked_statuses(HeadQuery())]
        found: dict[str, list[int]] = {}
        for index in ["asking"] if query.questions else indexes:
            await self._add_tallies(found, index, write_filter(query))
        return found

    async def _add_tallies(self, found: dict[str, list[int]], index: str, asked: list[Argument]) -> None:
        after = b""
        while True:
            after, *flat = await self._run("tally", index, after, AT_ONCE, *asked)
            for i in range(0, len(flat), 5):
                status, *numbers = flat[i : i + 5]
                before = found.get(status.decode(), [0, 0, 0, 0])
                found[status.decode()] = [old + int(new) for old, new in zip(before, numbers, strict=True)]
            if not after:
                return

    async def last_seqs(self, session_ids: Iterable[str]) -> dict[str, int]:
        asked, found = list(session_ids), {}
        for start in range(0, len(asked), AT_ONCE):
            part = asked[start : start + AT_ONCE]
            seqs = await self._run("last_seqs", len(part), *part)
            found.update({i: int(seq) for i, seq in zip(part, seqs, strict=True) if seq is not None})
        return found

    # Checkpoints

    async def checkpoints(self, session_id: str) -> list[Checkpoint]:
        key = self._key(check_id(session_id), "checkpoints")
        return read_checkpoints(session_id, await self._clients.command("HGETALL", key))

    async def checkpoint(self, checkpoint_id: str) -> Checkpoint:
        outcome, *values = await self._run("checkpoint", checkpoint_id)
        if outcome == b"missing":
            raise CheckpointNotFound(checkpoint_id)
        session_id, content, name, pinned = values
        return read_checkpoint(checkpoint_id, session_id.decode(), content, name, pinned)

    # Leases

    async def acquire(self, session_id: str, owner: str, ttl: float) -> Lease:
        taken = await self._of_session(
            "acquire", check_id(session_id), owner, _microseconds(ttl), self._expire
        )
        return _lease(session_id, *taken)

    async def renew(self, session_id: str, fence: int, ttl: float) -> Lease:
        kept = await self._of_session("renew", check_id(session_id), fence, _microseconds(ttl), self._expire)
        return _lease(session_id, *kept)

    async def release(self, session_id: str, fence: int) -> None:
        await self._run("release", session_id, fence)

    async def delete(self, session_id: str, *, expected_seq: int | None = None) -> None:
        expected = "" if expected_seq is None else expected_seq
        await self._of_session("delete", check_id(session_id), expected)

    # The server

    async def wakeups(self) -> AsyncIterator[str]:
        """Subscribes, and subscribes again when the connection was lost; then anything may have changed."""
        pause = 0.1
        while True:
            try:
                async with self._clients.subscribed(f"{self.key_prefix}changed") as next_one:
                    pause = 0.1
                    yield ""
                    while True:
                        session_id = await next_one()
                        if session_id:
                            yield session_id
            except StorageUnavailable as error:
                logger.warning("Wake-ups are interrupted: %s", error)
            await asyncio.sleep(pause)
            pause = min(2 * pause, SLOWEST_RECONNECT)

    async def check(self) -> list[str]:
        return await weaknesses(self._clients)

    async def close(self) -> None:
        await self._clients.close()


def _appended(session_id: str, guard: Guard, reply: Sequence[Any]) -> int:
    outcome, *values = reply
    if outcome == b"missing":
        raise SessionNotFound(session_id)
    if outcome == b"refused":
        raise _refusal(session_id, guard, *values)
    return int(values[0])


def _appended_or_refused(write: Append, reply: Sequence[Any]) -> Outcome:
    try:
        return _appended(write.session_id, write.guard, reply)
    except StateError as error:
        return error


def _refusal(
    session_id: str, guard: Guard, seq: bytes, status: bytes, fence: bytes, lease_lasts: int
) -> Exception:
    error = refusal(
        session_id,
        guard,
        last_seq=int(seq),
        status=status.decode(),
        fence=int(fence),
        lease_lasts=bool(lease_lasts),
    )
    if error is None:
        raise AssertionError(f"the append script and `refusal` disagree about {guard}")
    return error


def _lease(session_id: str, owner: bytes, fence: bytes, expires_at: bytes) -> Lease:
    expires = read_time(expires_at)
    if expires is None:
        raise AssertionError("a lease that was taken has no end")
    return Lease(session_id, read_text(owner), int(fence), expires)


def _microseconds(seconds: float) -> int:
    return round(seconds * 1_000_000)


def _counted(events: Sequence[EventRecord]) -> int:
    """What the data of their headers count."""
    return sum(counted_size(event.data, 0) for event in events)


def _wanted(query: EventQuery) -> list[Argument]:
    """What the script `read` is told besides from where to where."""
    listed = sorted(query.kinds or ())
    filtered = query.kinds is not None or query.branch_id is not None
    at_once = AT_ONCE if filtered or query.limit is None else min(query.limit, AT_ONCE)
    return [
        *(int(query.newest_first), int(query.bodies), int(query.branch_id is not None)),
        query.branch_id or "",
        *(at_once, BYTES_AT_ONCE, int(query.kinds is not None), len(listed)),
        *listed,
    ]
