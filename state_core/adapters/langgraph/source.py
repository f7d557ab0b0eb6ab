"""A checkpoint database of the framework's own savers, to be read from; nothing in it is changed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple
from langgraph.checkpoint.serde.base import SerializerProtocol

from state_core.exceptions import ConfigurationError

PAGE = 200

Place = tuple[str, str]
"""Namespace and id of a checkpoint."""


@dataclass(frozen=True, slots=True)
class SourceWrites:
    """What one task wrote: index, channel, value."""

    task_id: str
    path: str
    writes: Sequence[tuple[int, str, Any]]


@dataclass(frozen=True)
class Source:
    saver: BaseCheckpointSaver[Any]
    connection: Any
    mark: str
    """How a parameter is written in its SQL."""
    writes: str
    """Table of writes, and the name of the column with their values."""
    value: str
    path: str

    def thread_ids(self) -> Iterator[str]:
        last = ""
        select = "SELECT DISTINCT thread_id FROM checkpoints WHERE thread_id > {} ORDER BY thread_id LIMIT {}"
        while rows := self._rows(select.format(self.mark, PAGE), last):
            yield from (row[0] for row in rows)
            last = rows[-1][0]

    def count_threads(self) -> int:
        count: int = self._rows("SELECT COUNT(DISTINCT thread_id) FROM checkpoints")[0][0]
        return count

    def places(self, thread_id: str) -> list[Place]:
        """In the order in which they were made."""
        select = "SELECT checkpoint_ns, checkpoint_id FROM checkpoints WHERE thread_id = {}"
        return sorted(self._rows(select.format(self.mark), thread_id), key=lambda row: row[1])

    def checkpoint(self, thread_id: str, place: Place) -> CheckpointTuple | None:
        ns, checkpoint_id = place
        names = {"thread_id": thread_id, "checkpoint_ns": ns, "checkpoint_id": checkpoint_id}
        return self.saver.get_tuple({"configurable": names})

    def writes_on(self, thread_id: str, place: Place) -> list[SourceWrites]:
        select = (
            f"SELECT task_id, {self.path}, idx, channel, type, {self.value} FROM {self.writes} WHERE "  # noqa: S608
            f"thread_id = {self.mark} AND checkpoint_ns = {self.mark} AND checkpoint_id = {self.mark}"
        )
        tasks: dict[tuple[str, str], list[tuple[int, str, Any]]] = {}
        for task_id, path, idx, channel, kind, value in self._rows(select, thread_id, *place):
            loaded = self.saver.serde.loads_typed((kind, bytes(value)))
            tasks.setdefault((task_id, path), []).append((idx, channel, loaded))
        return [SourceWrites(*task, sorted(writes, key=lambda w: w[0])) for task, writes in tasks.items()]

    def _rows(self, select: str, *parameters: Any) -> list[Any]:
        with closing(self.connection.cursor()) as cursor:
            cursor.execute(select, parameters)
            rows = cursor.fetchall()
        return [tuple(row.values()) if isinstance(row, dict) else tuple(row) for row in rows]


@contextmanager
def opened(url: str, serde: SerializerProtocol) -> Iterator[Source]:
    """At ``sqlite:///path`` or ``postgresql://…``. Raises ConfigurationError."""
    scheme, _, rest = url.partition("://")
    if scheme == "sqlite":
        with _sqlite(Path(rest.removeprefix("/")), serde) as source:
            yield source
    elif scheme in {"postgresql", "postgres"}:
        with _postgresql(url, serde) as source:
            yield source
    else:
        raise ConfigurationError(
            f"{url!r} names no checkpoint database of LangGraph. Give sqlite:///path or postgresql://…."
        )


@contextmanager
def _sqlite(path: Path, serde: SerializerProtocol) -> Iterator[Source]:
    module = _module("langgraph.checkpoint.sqlite", "langgraph-checkpoint-sqlite")
    if not path.is_file():
        raise ConfigurationError(f"There is no file {str(path)!r}. An absolute path needs four slashes.")
    address = f"{path.resolve().as_uri()}?mode=ro"
    with closing(sqlite3.connect(address, uri=True, check_same_thread=False)) as connection:
        columns = {row[1] for row in connection.execute("PRAGMA table_info(writes)")}
        _refuse_without(columns, path)
        saver = module.SqliteSaver(connection, serde=serde)
        # What its setup would do changes the database.
        saver.is_setup = True
        saver._has_task_path = "task_path" in columns
        yield Source(saver, connection, "?", "writes", "value", _path_of(columns))


@contextmanager
def _postgresql(url: str, serde: SerializerProtocol) -> Iterator[Source]:
    module = _module("langgraph.checkpoint.postgres", "langgraph-checkpoint-postgres")
    with module.PostgresSaver.from_conn_string(url) as saver:
        saver.serde = serde
        select = "SELECT column_name FROM information_schema.columns WHERE table_name = 'checkpoint_writes'"
        columns = {row["column_name"] for row in saver.conn.execute(select)}
        _refuse_without(columns, "that database")
        yield Source(saver, saver.conn, "%s", "checkpoint_writes", "blob", _path_of(columns))


def _path_of(columns: set[str]) -> str:
    return "task_path" if "task_path" in columns else "''"


def _refuse_without(columns: set[str], where: object) -> None:
    if not columns:
        raise ConfigurationError(f"There are no checkpoints of LangGraph in {where}: its tables are missing.")


def _module(name: str, package: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise ConfigurationError(
            f"Reading that needs the package {package}: pip install {package}"
        ) from error
