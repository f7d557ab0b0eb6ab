"""The file store's index: heads and checkpoints in one SQLite file, for lists and queries.

It holds nothing that the logs and lease files do not, and is made anew from them when it is lost.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import fields
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import NamedTuple
from weakref import finalize

import orjson

from state_core.names import names_json
from state_core.records import (
    CHECKPOINT_KINDS,
    COUNTS,
    HELD,
    Checkpoint,
    Head,
    SessionStatus,
    parse_time,
)
from state_core.storage import filequery, parts
from state_core.storage.base import HeadQuery
from state_core.storage.filequery import moment_text
from state_core.storage.sqlitecodes import once_free
from state_core.storage.terms import MICROSECOND

TIMES = ("created_at", "started_at", "ended_at", "updated_at", "lease_expires_at")
SCHEMA = """
CREATE TABLE IF NOT EXISTS head (
    session_id TEXT PRIMARY KEY, status TEXT NOT NULL, last_seq INTEGER NOT NULL, log_bytes INTEGER NOT NULL,
    search TEXT NOT NULL, questions INTEGER NOT NULL, steps INTEGER NOT NULL, state_bytes INTEGER NOT NULL,
    created_at TEXT, started_at TEXT, updated_at TEXT, lease_expires_at TEXT, head TEXT NOT NULL,
    log_begins BLOB, took INTEGER, worked TEXT
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS head_updated ON head (updated_at, session_id);
CREATE INDEX IF NOT EXISTS head_created ON head (created_at, session_id);
CREATE INDEX IF NOT EXISTS head_started ON head (started_at, session_id);
CREATE INDEX IF NOT EXISTS head_status ON head (status, updated_at);
CREATE INDEX IF NOT EXISTS head_origin ON head (json_extract(head, '$.origin'))
    WHERE json_extract(head, '$.origin') <> '';
DROP INDEX IF EXISTS head_steps;  -- an earlier version's, which each append had to move
DROP INDEX IF EXISTS head_bytes;
CREATE TABLE IF NOT EXISTS checkpoint (
    id TEXT PRIMARY KEY, session_id TEXT NOT NULL, seq INTEGER NOT NULL, checkpoint TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS checkpoint_session ON checkpoint (session_id, seq);
"""

SCHEMA += "".join(
    f"CREATE INDEX IF NOT EXISTS head_{count}_{direction} ON head ({count} {direction}, session_id, status) "
    f"WHERE {filequery.AT_REST};\n"
    for count in sorted(parts.COUNTED)
    for direction in ("ASC", "DESC")
)

TOOK_INDEX = "CREATE INDEX IF NOT EXISTS head_took ON head (took, session_id, status) WHERE took IS NOT NULL"

INDEX = "index.sqlite3"


def put_aside(path: Path) -> None:
    """Rename a damaged index; what belongs to it beside it goes."""
    with suppress(FileNotFoundError):  # another process was faster
        path.rename(path.with_name(f"{path.name}.damaged"))
    for suffix in ("-wal", "-shm"):
        path.with_name(f"{path.name}{suffix}").unlink(missing_ok=True)


class Entry(NamedTuple):
    head: Head
    log_bytes: int
    """The size and the beginning of the log that it was made from; earlier versions kept no beginning."""
    log_begins: bytes | None
    tells_worked: bool
    """Earlier versions did not."""


class FileIndex:
    """A connection for each thread, until `close` or as long as this object is there. Commits are not synced:
    the index is never needed for truth."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()
        self._open: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        finalize(self, _close_all, self._open).atexit = False

    @property
    def _db(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._connect()
            self._local.connection = connection
        return connection

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=20, isolation_level=None, check_same_thread=False)
        try:
            _prepare(connection)
        except BaseException:
            connection.close()
            raise
        with self._lock:
            self._open.append(connection)
        return connection

    def close(self) -> None:
        with self._lock:
            _close_all(self._open)
        self._local = threading.local()

    def known(self) -> dict[str, int]:
        """Session id → the size of its log when it was indexed. Bytes."""
        return dict(self._db.execute("SELECT session_id, log_bytes FROM head"))

    def get(self, session_id: str) -> Entry | None:
        row = self._db.execute(
            "SELECT head, log_bytes, log_begins, worked FROM head WHERE session_id = ?", [session_id]
        ).fetchone()
        return Entry(_load_head(row[0]), row[1], row[2], row[3] is not None) if row else None

    def not_telling_worked(self) -> list[str]:
        return [row[0] for row in self._db.execute("SELECT session_id FROM head WHERE worked IS NULL")]

    def put(
        self,
        head: Head,
        log: tuple[bytes, int],
        checkpoints: Sequence[Checkpoint],
        removed: Sequence[str],
        *,
        afresh: bool = False,
    ) -> None:
        """The head as it is now, checkpoints that are new or changed, and ids of those that are gone;
        ``afresh``: those that are given are all that there are."""
        if not (checkpoints or removed or afresh):
            self._put_head(head, log)
            return
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._put_head(head, log)
            if afresh:
                self._db.execute("DELETE FROM checkpoint WHERE session_id = ?", [head.session_id])
            self._db.executemany(
                "REPLACE INTO checkpoint VALUES (?, ?, ?, ?)",
                [(c.id, c.session_id, c.seq, _checkpoint_text(c)) for c in checkpoints],
            )
            self._db.executemany("DELETE FROM checkpoint WHERE id = ?", [(i,) for i in removed])
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            raise

    def _put_head(self, head: Head, log: tuple[bytes, int]) -> None:
        values = {
            "session_id": head.session_id,
            "status": str(head.status),
            "last_seq": head.last_seq,
            "log_bytes": log[1],
            "search": f"{head.session_id}\n{head.title}\n{head.workflow}".lower(),
            **{name: head.counts[name] for name in ("questions", "steps", "state_bytes")},
            **{name: moment_text(getattr(head, name)) for name in TIMES if name != "ended_at"},
            "head": orjson.dumps(head).decode(),
            "log_begins": log[0],
            "took": _took(head),
            "worked": names_json(head.worked),
        }
        self._db.execute(_put_text(tuple(values)), list(values.values()))

    def delete(self, session_id: str) -> None:
        self._db.execute("DELETE FROM checkpoint WHERE session_id = ?", [session_id])
        self._db.execute("DELETE FROM head WHERE session_id = ?", [session_id])

    def held(self, now: float) -> list[tuple[str, int]]:
        """Of sessions that somebody runs at present: the id, and the size of the log when it was indexed."""
        marks = ", ".join("?" * len(HELD))
        asked = f"SELECT session_id, log_bytes FROM head WHERE status IN ({marks}) AND lease_expires_at > ?"  # noqa: S608
        instant = datetime.fromtimestamp(now, UTC)
        return self._db.execute(asked, [*map(str, HELD), moment_text(instant)]).fetchall()

    def last_seqs(self, session_ids: Iterable[str]) -> dict[str, tuple[int, int]]:
        """The last seq, and the size of the log that has it."""
        asked = "SELECT last_seq, log_bytes FROM head WHERE session_id = ?"
        found: dict[str, tuple[int, int]] = {}
        for session_id in session_ids:
            row = self._db.execute(asked, [session_id]).fetchone()
            if row:
                found[session_id] = row
        return found

    def checkpoints(self, session_id: str) -> list[Checkpoint]:
        rows = self._db.execute(f"{_CHECKPOINTS} WHERE session_id = ? ORDER BY seq", [session_id])
        return [_checkpoint(*row) for row in rows]

    def checkpoint(self, checkpoint_id: str) -> Checkpoint | None:
        row = self._db.execute(f"{_CHECKPOINTS} WHERE id = ?", [checkpoint_id]).fetchone()
        return _checkpoint(*row) if row else None

    def heads(self, query: HeadQuery, now: float) -> list[Head]:
        pages = filequery.pages(query, now)
        found = [_load_head(row[0]) for text, values in pages for row in self._db.execute(text, values)]
        return found if len(pages) == 1 else parts.merged(found, query)

    def count_by_status(self, query: HeadQuery, now: float) -> dict[str, int]:
        return dict(self._db.execute(*filequery.status_counts(query, now)).fetchall())

    def totals(self) -> tuple[int, int]:
        """Events and stored bytes of all sessions."""
        kept = "last_seq - coalesce(json_extract(head, '$.first_seq'), 1) + 1"
        row = self._db.execute(
            f"SELECT coalesce(sum({kept}), 0), coalesce(sum(log_bytes), 0) FROM head"  # noqa: S608 - our own
        ).fetchone()
        return row[0], row[1]

    def count_checkpoints(self) -> int:
        return int(self._db.execute("SELECT count(*) FROM checkpoint").fetchone()[0])


def _prepare(connection: sqlite3.Connection) -> None:
    once_free(lambda: connection.execute("PRAGMA journal_mode=WAL"))
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.executescript(SCHEMA)
    _add_new_columns(connection)
    connection.execute(TOOK_INDEX)


def _close_all(connections: list[sqlite3.Connection]) -> None:
    while connections:
        connections.pop().close()


@cache
def _put_text(names: tuple[str, ...]) -> str:
    """In the row's place, rather than anew: indexes of what stays the same are left alone."""
    sets = ", ".join(f"{name} = excluded.{name}" for name in names if name != "session_id")
    return (
        f"INSERT INTO head ({', '.join(names)}) VALUES ({', '.join('?' * len(names))}) "  # noqa: S608 - our own
        f"ON CONFLICT (session_id) DO UPDATE SET {sets}"
    )


def _took(head: Head) -> int | None:
    """Microseconds."""
    if head.started_at is None or head.ended_at is None:
        return None
    return (head.ended_at - head.started_at) // MICROSECOND


def _add_new_columns(connection: sqlite3.Connection) -> None:
    """To an index that an earlier version made."""
    present = {row[1] for row in connection.execute("PRAGMA table_info(head)")}
    with suppress(sqlite3.OperationalError):  # another process was faster
        if "log_begins" not in present:
            connection.execute("ALTER TABLE head ADD COLUMN log_begins BLOB")
        if "took" not in present:
            connection.execute("ALTER TABLE head ADD COLUMN took INTEGER")
            heads = [_load_head(row[0]) for row in connection.execute("SELECT head FROM head")]
            found = [(_took(head), head.session_id) for head in heads]
            connection.executemany("UPDATE head SET took = ? WHERE session_id = ?", found)
        if "worked" not in present:
            connection.execute("ALTER TABLE head ADD COLUMN worked TEXT")


def _load_head(data: str) -> Head:
    values = orjson.loads(data)
    values["status"] = SessionStatus(values["status"])
    values["counts"] = {**dict.fromkeys(COUNTS, 0), **values["counts"]}
    for name in TIMES:
        values[name] = parse_time(values[name])
    return Head(**{f.name: values[f.name] for f in fields(Head) if f.name in values})


_CHECKPOINTS = "SELECT id, session_id, seq, checkpoint FROM checkpoint"


def _checkpoint_text(checkpoint: Checkpoint) -> str:
    """What has no column of its own, without names, since there may be many."""
    values = [
        checkpoint.name,
        checkpoint.created_at,
        checkpoint.size_bytes,
        checkpoint.kind,
        checkpoint.actor,
        checkpoint.reason,
        checkpoint.pinned,
        checkpoint.counts,
    ]
    return orjson.dumps(values).decode()


def _checkpoint(checkpoint_id: str, session_id: str, seq: int, text: str) -> Checkpoint:
    values = orjson.loads(text)
    if isinstance(values, dict):  # as earlier versions wrote it
        values["kind"] = CHECKPOINT_KINDS[values["kind"]]
        values["created_at"] = datetime.fromisoformat(values["created_at"])
        return Checkpoint(**values)
    name, at, size, kind, *others = values
    created_at = datetime.fromisoformat(at)
    return Checkpoint(checkpoint_id, session_id, name, seq, created_at, size, CHECKPOINT_KINDS[kind], *others)
