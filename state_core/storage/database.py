"""Sessions in a database, through Django's ORM: SQLite, PostgreSQL, and what else Django speaks.

Importing this module needs no Django settings. The first use of a store does, or makes some where the
process has none.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TypeVar

from django.db import connections, transaction
from django.db.models import Count, F, Sum

from state_core.events import EventRecord
from state_core.exceptions import (
    CheckpointNotFound,
    ConfigurationError,
    InvalidId,
)
from state_core.heads import CheckpointChange, HeadChange
from state_core.records import Checkpoint, Head, Lease, check_id
from state_core.storage import configuration, headquery, leasing, logquery, parts, rewriting, schema
from state_core.storage.appending import RowAppend, append_by_orm
from state_core.storage.base import (
    Append,
    EventQuery,
    Guard,
    HeadQuery,
    Outcome,
    Snapshot,
    StorageBackend,
    Usage,
)
from state_core.storage.connecting import address, prepare_django
from state_core.storage.deleting import delete_session, give_back, tidy
from state_core.storage.failures import translated
from state_core.storage.fetching import fetched
from state_core.storage.rows import (
    CHECKPOINT_COLUMNS,
    HEAD_COLUMNS,
    readable,
    to_checkpoint,
    to_head,
)
from state_core.storage.threads import ConnectionThreads
from state_core.storage.wakeups import Notifier, file_changes, notifications

if TYPE_CHECKING:
    from state_core.models import Tables
    from state_core.storage.loopconnections import LoopConnections

T = TypeVar("T")

ASKED_AT_ONCE = 900
"""Ids in one question; some builds of SQLite take no more than 999 parameters."""

_TABLE_NAME = re.compile(r"[a-z_][a-z0-9_]{0,47}")


class DatabaseStorageBackend(StorageBackend):
    """Sessions in a database.

    ``connection_string``: ``postgresql://user:password@host/database?sslmode=require``,
    ``sqlite:///relative.db`` or ``sqlite:////absolute.db``. Without one, Django's own database ``using``.
    ``table_name``: what its tables' names begin with; several stores may share a database.
    ``pool_size``: threads, and so connections, that it uses at most; one or two more serve wake-ups, and on
    PostgreSQL one more each event loop that appends one event after another.
    ``create_tables``: on a database that has none of its tables, make them.

    Raises ConfigurationError; at its first use also MigrationNeeded, where tables are old or missing.
    """

    def __init__(
        self,
        connection_string: str | None = None,
        table_name: str = "marsys_state",
        pool_size: int = 10,
        *,
        using: str = "default",
        create_tables: bool = True,
    ) -> None:
        if not _TABLE_NAME.fullmatch(table_name):
            raise ConfigurationError(
                f"table_name is {table_name[:60]!r}. Use 1 to 48 lower-case letters, digits and '_', "
                "beginning with a letter."
            )
        if pool_size < 1:
            raise ConfigurationError(f"pool_size is {pool_size}; it must be 1 or more.")
        self._place = address(connection_string, using)
        self._table_name = table_name
        self._create_tables = create_tables
        self._is_prepared = False
        self._known_tables: Tables | None = None
        self._lock = threading.Lock()
        self._threads = ConnectionThreads(self._place.alias, pool_size)
        self._notifier = Notifier(self._place.alias, table_name)
        self._loops: LoopConnections | None = None

    def __repr__(self) -> str:
        return f"<DatabaseStorageBackend {self._place.shown}, tables {self._table_name}_*>"

    @property
    def alias(self) -> str:
        """Under which Django knows the database."""
        return self._place.alias

    supports_batches = True

    @property
    def supports_wakeups(self) -> bool:  # type: ignore[override]
        return self._vendor() in {"postgresql", "sqlite"}

    def _vendor(self) -> str:
        """Which database; empty for one that only this process sees."""
        self._prepare()
        connection: Any = connections[self._place.alias]
        in_memory = connection.vendor == "sqlite" and connection.is_in_memory_db()
        return "" if in_memory else str(connection.vendor)

    def _prepare(self) -> None:
        if not self._is_prepared:
            prepare_django(self._place)
            self._is_prepared = True

    async def wakeups(self) -> AsyncIterator[str]:
        await self._run(lambda connection, tables: None)  # the file or the tables may not be there yet
        if self._vendor() == "postgresql":
            hints = notifications(self._place.alias, self._table_name)
        elif self.supports_wakeups:
            hints = file_changes(self._place.alias)
        else:
            hints = super().wakeups()
        async with aclosing(hints) as opened:  # type: ignore[type-var]
            async for hint in opened:
                yield hint

    async def _run(self, work: Callable[[Any, Tables], T]) -> T:
        """``work`` gets a connection and the models, on a thread of the pool."""
        return await self._connected(lambda connection: work(connection, self._tables(connection)))

    async def _read(self, work: Callable[[Any, Tables], T]) -> T:
        """As `_run`, for what changes nothing."""

        def on_thread() -> T:
            with translated(self._place):
                self._prepare()
                return self._threads.read(lambda connection: work(connection, self._tables(connection)))

        return await self._threads.run(on_thread)

    async def _connected(self, work: Callable[[Any], T]) -> T:
        def on_thread() -> T:
            with translated(self._place):
                self._prepare()
                with self._threads.connection() as connection:
                    return work(connection)

        return await self._threads.run(on_thread)

    def _tables(self, connection: Any) -> Tables:
        if self._known_tables is not None:
            return self._known_tables
        from state_core.models import tables

        with self._lock:
            found = tables(self._table_name)
            schema.ensure_tables(connection.alias, self._place, found, create=self._create_tables)
            self._known_tables = found
            if self._loops is None and hasattr(_dialect(connection), "append_on_loop"):
                from state_core.storage.loopconnections import LoopConnections

                self._loops = LoopConnections(connection.alias)
        return found

    # Events

    async def _append(
        self,
        session_id: str,
        events: Sequence[EventRecord],
        guard: Guard,
        change: HeadChange,
        checkpoints: CheckpointChange,
    ) -> int:
        write = RowAppend(session_id, events, guard, change, checkpoints)
        last_seq = await self._append_on_loop(write)
        if last_seq is None:
            last_seq = await self._run(lambda connection, tables: self._write(connection, tables, write))
        return last_seq

    async def _append_on_loop(self, write: RowAppend) -> int | None:
        """None where it is to go by a thread."""
        owned = self._loops.take() if self._loops else None
        if owned is None:
            return None
        from state_core.storage import postgres

        with translated(self._place), connections[self.alias].wrap_database_errors:
            last_seq = await postgres.append_on_loop(owned, self._known_tables, write)
        if last_seq is not None:
            self._notifier.tell(write.session_id)
        return last_seq

    def _write(self, connection: Any, tables: Tables, write: RowAppend) -> int:
        dialect = _dialect(connection)
        if dialect is None:
            return append_by_orm(tables, connection.alias, write)
        last_seq: int = dialect.append(connection, tables, write)
        self._tell(connection, write.session_id)
        return last_seq

    async def _append_many(self, writes: Sequence[Append]) -> list[Outcome | None]:
        rows = [RowAppend(**vars(write)) for write in writes]
        return await self._run(lambda connection, tables: self._write_many(connection, tables, rows))

    def _write_many(
        self, connection: Any, tables: Tables, writes: Sequence[RowAppend]
    ) -> list[Outcome | None]:
        dialect = _dialect(connection)
        if dialect is None:
            return [None] * len(writes)
        outcomes: list[Outcome | None] = dialect.append_many(connection, tables, writes)
        for write, outcome in zip(writes, outcomes, strict=True):
            if outcome is not None:
                self._tell(connection, write.session_id)
        return outcomes

    def _tell(self, connection: Any, session_id: str) -> None:
        """SQLite needs no telling."""
        if connection.vendor == "postgresql":
            self._notifier.tell(session_id)

    async def _rewrite(self, session_id: str, records: Sequence[EventRecord], first_seq: int | None) -> None:
        def write(connection: Any, tables: Tables) -> None:
            rewriting.rewrite(connection, tables, session_id, records, first_seq)
            if first_seq:
                give_back(connection)

        await self._run(write)

    async def _read_events(self, session_id: str, query: EventQuery) -> list[EventRecord]:
        return await self._read(
            lambda connection, tables: logquery.events(connection, tables, session_id, query)
        )

    async def news(self, session_id: str, *, after: int, limit: int) -> tuple[Head, list[EventRecord]]:
        check_id(session_id)

        def read(connection: Any, tables: Tables) -> tuple[Head, list[EventRecord]]:
            head = headquery.head_of(tables.session.objects.using(connection.alias), session_id)
            if head.last_seq <= after:
                return head, []
            query = EventQuery(after=after, before=head.last_seq + 1, limit=limit, bodies=False)
            return head, logquery.events(connection, tables, session_id, query)

        return await self._read(read)

    # Heads

    async def head(self, session_id: str) -> Head:
        check_id(session_id)
        return await self._read(
            lambda connection, tables: headquery.head_of(
                tables.session.objects.using(connection.alias), session_id
            )
        )

    async def heads(self, query: HeadQuery) -> list[Head]:
        def read(connection: Any, tables: Tables) -> list[Head]:
            pages = headquery.pages(tables.session.objects.using(connection.alias), query)
            found = [to_head(row) for page in pages for row in page.values_list(*HEAD_COLUMNS)]
            return found if len(pages) == 1 else parts.merged(found, query)

        return await self._read(read)

    async def count_by_status(self, query: HeadQuery) -> dict[str, int]:
        return await self._read(
            lambda connection, tables: dict(
                headquery.status_counts(tables.session.objects.using(connection.alias), query)
            )
        )

    async def last_seqs(self, session_ids: Iterable[str]) -> dict[str, int]:
        ids = [session_id for session_id in session_ids if _is_id(session_id)]
        parts = [ids[start : start + ASKED_AT_ONCE] for start in range(0, len(ids), ASKED_AT_ONCE)]

        def read(connection: Any, tables: Tables) -> dict[str, int]:
            heads = tables.session.objects.using(connection.alias).values_list("session_id", "last_seq")
            return {name: seq for part in parts for name, seq in heads.filter(session_id__in=part)}

        return await self._read(read)

    async def usage(self) -> Usage:
        def read(connection: Any, tables: Tables) -> Usage:
            kept = Sum(F("last_seq") - F("first_seq") + 1)
            sums = {"sessions": Count("pk"), "kept": kept, "places": Sum("checkpoints")}
            heads = tables.session.objects.using(connection.alias).values("status")
            rows = list(heads.annotate(**sums, stored=Sum("stored_bytes")))
            return Usage(
                sessions=sum(row["sessions"] for row in rows),
                events=sum(row["kept"] for row in rows),
                checkpoints=sum(row["places"] for row in rows),
                bytes=sum(row["stored"] for row in rows),
                by_status={row["status"]: row["sessions"] for row in rows},
            )

        return await self._read(read)

    # Checkpoints and snapshots

    async def checkpoints(self, session_id: str) -> list[Checkpoint]:
        check_id(session_id)

        def read(connection: Any, tables: Tables) -> list[Checkpoint]:
            found = tables.checkpoint.objects.using(connection.alias).filter(session__session_id=session_id)
            rows = fetched(connection, found.order_by("seq"), CHECKPOINT_COLUMNS)
            with readable(session_id, "a checkpoint"):
                return list(map(to_checkpoint, rows))

        return await self._read(read)

    async def checkpoint(self, checkpoint_id: str) -> Checkpoint:
        if not _is_id(checkpoint_id):
            raise CheckpointNotFound(checkpoint_id)

        def read(connection: Any, tables: Tables) -> Checkpoint:
            found = tables.checkpoint.objects.using(connection.alias).filter(pk=checkpoint_id)
            rows = fetched(connection, found, CHECKPOINT_COLUMNS)
            if not rows:
                raise CheckpointNotFound(checkpoint_id)
            _, session_id, *_ = rows[0]
            with readable(session_id, f"checkpoint {checkpoint_id}"):
                return to_checkpoint(rows[0])

        return await self._read(read)

    async def put_snapshot(self, session_id: str, snapshot: Snapshot) -> None:
        if not _is_id(session_id):
            return

        def write(connection: Any, tables: Tables) -> None:
            with transaction.atomic(using=connection.alias):
                # Locked, so that the session is not deleted between looking and writing.
                heads = tables.session.objects.using(connection.alias).select_for_update()
                of_session = heads.filter(session_id=session_id, first_seq__lte=snapshot.seq)
                pk = of_session.values_list("pk", flat=True).first()
                if pk is None:
                    return
                values = {"body": snapshot.body, "encoding": snapshot.encoding}
                tables.snapshot.objects.using(connection.alias).update_or_create(
                    session_id=pk, seq=snapshot.seq, defaults=values
                )

        await self._run(write)

    async def snapshot(self, session_id: str, *, at_or_before: int) -> Snapshot | None:
        if not _is_id(session_id):
            return None

        def read(connection: Any, tables: Tables) -> Snapshot | None:
            kept = tables.snapshot.objects.using(connection.alias)
            found = kept.filter(session__session_id=session_id, seq__lte=at_or_before).order_by("-seq")
            row = found.values_list("seq", "body", "encoding").first()
            return None if row is None else Snapshot(row[0], bytes(row[1]), row[2])

        return await self._read(read)

    # Leases

    async def acquire(self, session_id: str, owner: str, ttl: float) -> Lease:
        check_id(session_id)
        return await self._run(
            lambda connection, tables: leasing.acquire(tables, connection.alias, session_id, owner, ttl)
        )

    async def renew(self, session_id: str, fence: int, ttl: float) -> Lease:
        check_id(session_id)
        return await self._run(
            lambda connection, tables: leasing.renew(tables, connection.alias, session_id, fence, ttl)
        )

    async def release(self, session_id: str, fence: int) -> None:
        if _is_id(session_id):
            await self._run(
                lambda connection, tables: leasing.release(tables, connection.alias, session_id, fence)
            )

    async def delete(self, session_id: str, *, expected_seq: int | None = None) -> None:
        check_id(session_id)

        def write(connection: Any, tables: Tables) -> None:
            delete_session(tables, connection.alias, session_id, expected_seq)
            self._tell(connection, session_id)
            give_back(connection)

        await self._run(write)

    async def tidy(self) -> None:
        def work(connection: Any, tables: Tables) -> None:
            rewriting.tidy(connection, tables)
            tidy(connection, tables)

        await self._run(work)

    # Itself

    async def check(self) -> list[str]:
        return await self._connected(self._weaknesses)

    def _weaknesses(self, connection: Any) -> list[str]:
        from state_core.models import tables

        lacking = schema.lacking(connection.alias, tables(self._table_name), create=self._create_tables)
        old = [schema.sentence(self._place, self._table_name, lacking)] if lacking else []
        return old + configuration.weaknesses(connection, self._place)

    async def migrate(self) -> None:
        """Bring the tables up to date. Only those of the default name have migrations."""
        await self._connected(lambda connection: schema.migrate(connection.alias))

    async def close(self) -> None:
        if self._loops:
            self._loops.close()
        await asyncio.to_thread(self._threads.close)
        await asyncio.to_thread(self._notifier.close)


def _dialect(connection: Any) -> Any:
    """The module that appends in this database's own words, or None."""
    if connection.vendor == "postgresql":
        from state_core.storage import postgres

        return postgres
    if connection.vendor == "sqlite":
        from state_core.storage import sqlite

        return sqlite
    return None


def _is_id(value: str) -> bool:
    """Whether anything can be stored under it; databases refuse to look for some characters."""
    try:
        return bool(check_id(value))
    except InvalidId:
        return False
