"""A session's log, with objects on this side and bytes on the store's side.

State at seq n is the fold of events 1…n; the log of a session that was compacted begins with an event that
carries the state and stands for all before it. A ``session.restored`` event at r makes the state continue
from an earlier place, so the events that count for n form a *line*: ranges of the log, oldest first.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

from state_core.batching import GroupCommit
from state_core.cache import Cached, DocumentCache
from state_core.codec import Codec
from state_core.events import Event, EventKind, EventRecord, Header
from state_core.exceptions import DamagedError, EncryptionKeyError, HistoryCompacted, InvalidValue
from state_core.fold import apply_event, empty_document
from state_core.heads import is_compacted
from state_core.records import Document, Head
from state_core.snapshots import Unsnapshotted
from state_core.storage.base import AppendRequest, Snapshot, StorageBackend

logger = logging.getLogger(__name__)

H = TypeVar("H", bound=Header)

PAGE = 1000
"""Events read at once."""
HEADERS = 3000
"""Headers read at once. A thread reads them while those before are folded, and for each page it waits some
milliseconds for Python's lock."""
NEAR = 200
"""A cached state this many events back is used without asking for a snapshot that is nearer."""
CACHED_AGAIN_FROM = 1 / 128
"""A state is cached in the place of an older one once this part of its size was read since: from about
there on, reading it again costs more than copying the state."""


@dataclass(frozen=True, slots=True)
class Range:
    """Events with ``after < seq <= upto``."""

    after: int
    upto: int


@dataclass(slots=True)
class Start:
    """Where a fold begins, and what of the line lies behind it."""

    document: Document
    ranges: list[Range]
    cached: Cached | None = None
    since: Unsnapshotted = field(default_factory=Unsnapshotted)


class EventLog:
    """Appends and reads events; folds them. One store, one codec; ``cache``: of folded states;
    ``batch_size``: most sessions that share a commit."""

    def __init__(
        self, storage: StorageBackend, codec: Codec, cache: DocumentCache | None = None, batch_size: int = 1
    ) -> None:
        self.storage = storage
        self.codec = codec
        self.cache = cache
        self.commits = GroupCommit(storage, batch_size)
        self._writing: set[asyncio.Future[None]] = set()

    async def append(
        self,
        session_id: str,
        events: Sequence[Event],
        *,
        expected_seq: int | None = None,
        fence: int | None = None,
        statuses: Collection[str] | None = None,
        head: Mapping[str, Any] | None = None,
    ) -> int:
        """See `StorageBackend.append`. Encoding is done before the store is touched."""
        records = [self.codec.seal(session_id, event) for event in events]
        return await self.commits.append(
            AppendRequest(
                session_id=session_id,
                events=records,
                expected_seq=expected_seq,
                fence=fence,
                statuses=statuses,
                head=head,
            )
        )

    async def read(
        self,
        session_id: str,
        *,
        after: int = 0,
        before: int | None = None,
        limit: int | None = None,
        kinds: Collection[str] | None = None,
        branch_id: str | None = None,
        bodies: bool = True,
        newest_first: bool = False,
    ) -> list[Event]:
        """See `StorageBackend.read_events`. Raises DamagedError rather than leave an event out."""
        records = await self.storage.read_events(
            session_id,
            after=after,
            before=before,
            limit=limit,
            kinds=kinds,
            branch_id=branch_id,
            bodies=bodies,
            newest_first=newest_first,
        )
        if kinds is None and branch_id is None and not newest_first:
            self._check_gapless(session_id, after, records)
        if not bodies:
            return [self.codec.outline(record) for record in records]
        return [self.codec.open(session_id, record) for record in records]

    async def news(self, session_id: str, *, after: int, limit: int) -> tuple[Head, list[Event]]:
        """See `StorageBackend.news`. Raises DamagedError rather than leave an event out."""
        head, records = await self.storage.news(session_id, after=after, limit=limit)
        self._check_gapless(session_id, after, records)
        return head, [self.codec.outline(record) for record in records]

    @staticmethod
    def _check_gapless(session_id: str, after: int, records: Sequence[EventRecord]) -> None:
        if records and is_compacted(records[0]):
            after = records[0].seq - 1  # all before it was compacted, perhaps just now
        for expected, record in enumerate(records, start=after + 1):
            if record.seq != expected:
                raise DamagedError(session_id, f"event {expected}", f"the log goes on with {record.seq}")

    async def iterate(self, session_id: str, span: Range, *, bodies: bool = True) -> AsyncIterator[Event]:
        """The events of a range, a page at a time. Raises DamagedError where the log ends before it."""
        async with aclosing(
            self._pages(session_id, span, partial(self.read, bodies=bodies, limit=PAGE))
        ) as pages:
            async for page in pages:
                for event in page:
                    yield event

    async def headers(self, session_id: str, span: Range) -> AsyncGenerator[Sequence[Header], None]:
        """The headers of a range as the store gives them, in pages. Raises DamagedError as `iterate` does."""
        async with aclosing(
            self._pages(session_id, span, partial(self._read_headers, limit=HEADERS))
        ) as pages:
            async for page in pages:
                yield page

    async def _read_headers(
        self, session_id: str, *, after: int, before: int, limit: int
    ) -> list[EventRecord]:
        records = await self.storage.read_events(
            session_id, after=after, before=before, limit=limit, bodies=False
        )
        self._check_gapless(session_id, after, records)
        return records

    async def _pages(
        self, session_id: str, span: Range, read: Callable[..., Awaitable[list[H]]]
    ) -> AsyncGenerator[list[H], None]:
        reading = self._page(session_id, span.after, span.upto, read)
        while reading:
            page = await reading
            # The store reads the next page while this one is used.
            reading = self._page(session_id, page[-1].seq, span.upto, read)
            try:
                yield page
            except BaseException:
                if reading:
                    reading.cancel()
                raise

    def _page(
        self, session_id: str, seq: int, upto: int, read: Callable[..., Awaitable[list[H]]]
    ) -> asyncio.Task[list[H]] | None:
        if seq >= upto:
            return None
        return asyncio.ensure_future(self._read_page(session_id, seq, upto, read))

    @staticmethod
    async def _read_page(
        session_id: str, seq: int, upto: int, read: Callable[..., Awaitable[list[H]]]
    ) -> list[H]:
        page = await read(session_id, after=seq, before=upto + 1)
        if not page:
            raise DamagedError(session_id, f"event {seq + 1}", f"the log ends before {upto}")
        return page

    async def line(self, session_id: str, seq: int) -> list[Range]:
        """The ranges that count for the state at ``seq``, oldest first."""
        restores = await self.read(
            session_id, before=seq + 1, kinds=[EventKind.SESSION_RESTORED], bodies=False
        )
        ranges: list[Range] = []
        for event in reversed(restores):
            if event.seq <= seq:
                ranges.insert(0, Range(event.seq - 1, seq))
                seq = event.data["to"]
        ranges.insert(0, Range(0, seq))
        return ranges

    async def document(self, session_id: str, seq: int | None = None) -> Document:
        """The state at ``seq``, or the present one; the caller's own copy.

        Raises SessionNotFound, HistoryCompacted, InvalidValue where the session has not come so far.
        """

        async def read(head: Head) -> Document:
            ranges = await self._ranges(head, seq)
            start = await self._start(head, ranges)
            before = start.since.bytes
            await self._fold(start)
            self._keep(start, start.since.bytes - before)
            return start.document

        return await self._as_it_stands(session_id, read)

    async def _as_it_stands(self, session_id: str, read: Callable[[Head], Awaitable[Document]]) -> Document:
        """What ``read`` makes of the log; once more where it was compacted meanwhile."""
        head = await self.storage.head(session_id)
        try:
            return await read(head)
        except DamagedError:
            if (await self.storage.head(session_id)).first_seq == head.first_seq:
                raise
        return await self._as_it_stands(session_id, read)

    async def _ranges(self, head: Head, seq: int | None) -> list[Range]:
        at = head.last_seq if seq is None else seq
        if not 0 < at <= head.last_seq:
            raise InvalidValue(f"Session {head.session_id!r} has events 1 to {head.last_seq}, not {at}.")
        if at < head.first_seq:
            first = await self.read(head.session_id, limit=1, bodies=False)
            when = first[0].data.get("compacted_at", "") if first else ""
            raise HistoryCompacted(head.session_id, at, head.first_seq, when)
        return await self.line(head.session_id, at) if head.counts["restores"] else [Range(0, at)]

    async def _fold(self, start: Start) -> None:
        """Move the document to the end of its line."""
        for span in start.ranges:
            async for event in self.iterate(start.document["session_id"], span):
                apply_event(start.document, event)
                start.since.add(event)

    def _keep(self, start: Start, read_bytes: int) -> None:
        """Keep what was folded for the next reader, in the store and in memory, where it is worth it."""
        document, cached, since = start.document, start.cached, start.since
        is_worth_caching = cached is None or read_bytes > len(cached.body) * CACHED_AGAIN_FROM
        if read_bytes and since.is_worth_a_snapshot(document["state_bytes"]):
            self.keep_snapshot(document)
            since, is_worth_caching = Unsnapshotted(), True
        if self.cache is not None and is_worth_caching:
            self.cache.keep(document, since, instead_of=cached)

    async def outline(self, session_id: str, seq: int | None = None) -> Document:
        """The state at ``seq`` as headers tell it: branches, steps and statuses, without any content.

        Reads no bodies, save that of the first event of a fork, or of a log that was compacted, which carries
        what there was before.
        """

        async def read(head: Head) -> Document:
            document = empty_document(session_id)
            for span in await self.outline_ranges(head, document, await self._ranges(head, seq)):
                async for page in self.headers(session_id, span):
                    for header in page:
                        apply_event(document, header)
            return document

        return await self._as_it_stands(session_id, read)

    async def outline_ranges(self, head: Head, document: Document, ranges: list[Range]) -> list[Range]:
        """What is left of the line when the event that carries a state, if it begins with one, is applied."""
        if not head.origin and head.first_seq == 1:
            return ranges
        first = (await self.read(head.session_id, limit=1))[0]
        apply_event(document, first)
        return [Range(first.seq, ranges[0].upto), *ranges[1:]]

    async def _start(self, head: Head, ranges: list[Range]) -> Start:
        """The newest usable state on the line, cached or kept as a snapshot."""
        cached = await self._cached(head, ranges)
        if cached and ranges[-1].upto - cached.document["seq"] <= NEAR:
            return cached
        kept = await self._from_snapshot(head.session_id, ranges)
        if cached and (kept is None or kept.document["seq"] <= cached.document["seq"]):
            return cached
        return kept or Start(empty_document(head.session_id), ranges)

    async def _cached(self, head: Head, ranges: list[Range]) -> Start | None:
        if self.cache is None:
            return None
        for index in range(len(ranges) - 1, -1, -1):
            found = self.cache.find(head.session_id, after=ranges[index].after, upto=ranges[index].upto)
            if found and await self._is_still_there(found, head):
                left = _behind(ranges, index, found.seq)
                return Start(found.document(), left, found, replace(found.unsnapshotted))
        return None

    async def _is_still_there(self, cached: Cached, head: Head) -> bool:
        """Does the log have this state's last event? A session may have been deleted and created again, or
        a store been put back to what a backup had."""
        if cached.is_of(head):
            if cached.is_last_of(head):
                return True
            last = await self.read(head.session_id, after=cached.seq - 1, limit=1, bodies=False)
            if last and last[0].at == cached.updated_at:
                return True
        if self.cache is not None:
            self.cache.forget(head.session_id)
        return False

    async def _from_snapshot(self, session_id: str, ranges: list[Range]) -> Start | None:
        for index in range(len(ranges) - 1, -1, -1):
            span = ranges[index]
            kept = await self.storage.snapshot(session_id, at_or_before=span.upto)
            document = self._opened(session_id, kept) if kept and kept.seq > span.after else None
            if kept and document:
                return Start(document, _behind(ranges, index, kept.seq))
        return None

    def _opened(self, session_id: str, kept: Snapshot) -> Document | None:
        """None where it is damaged, or its key is not needed for the log any more: the log says the same,
        only later."""
        try:
            return self.codec.open_snapshot(session_id, kept.seq, kept.body, kept.encoding)
        except (DamagedError, EncryptionKeyError) as error:
            logger.warning("%s The log is read instead.", error)
            return None

    def keep_snapshot(self, document: Document) -> None:
        """Write a snapshot of this state, off the caller's path. A failure is logged: it costs only time."""
        session_id, seq = document["session_id"], document["seq"]
        body, encoding = self.codec.seal_snapshot(session_id, seq, document)
        task = asyncio.ensure_future(self.storage.put_snapshot(session_id, Snapshot(seq, body, encoding)))
        self._writing.add(task)
        task.add_done_callback(self._snapshot_written)

    def _snapshot_written(self, task: asyncio.Future[None]) -> None:
        self._writing.discard(task)
        if not task.cancelled() and task.exception():
            logger.warning("A snapshot could not be written: %s", task.exception())

    async def flush(self) -> None:
        """Wait until snapshots on their way are written."""
        await asyncio.gather(*self._writing, return_exceptions=True)


def _behind(ranges: list[Range], index: int, seq: int) -> list[Range]:
    """What of a line lies behind ``seq``, which is in the range at ``index``."""
    return [Range(seq, ranges[index].upto), *ranges[index + 1 :]]
