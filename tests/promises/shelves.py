"""A session's events as a store keeps them, to be taken out, spoiled and put back, past the store."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg
import redis

Entry = dict[str, Any]
KEYS = {"id", "session_id", "seq"}
"""What tells where an entry is; the rest is its content."""


class SqlShelf:
    def __init__(self, url: str) -> None:
        self._url = url
        self._sqlite = url.startswith("sqlite:")

    @contextmanager
    def _connection(self) -> Iterator[Any]:
        if not self._sqlite:
            with psycopg.connect(self._url, autocommit=True) as connection:
                yield connection
            return
        with closing(sqlite3.connect(self._url.removeprefix("sqlite:///"))) as connection:
            yield connection
            connection.commit()

    def take(self, table: str = "event") -> list[Entry]:
        with self._connection() as connection:
            found = connection.execute(f"SELECT * FROM marsys_state_{table} ORDER BY seq")
            names = [column[0] for column in found.description]
            return [dict(zip(names, row, strict=True)) for row in found]

    def put(self, entries: list[Entry], table: str = "event") -> None:
        mark = "?" if self._sqlite else "%s"
        with self._connection() as connection:
            connection.execute(f"DELETE FROM marsys_state_{table}")
            for entry in entries:
                marks = ", ".join([mark] * len(entry))
                columns = ", ".join(entry)
                connection.execute(
                    f"INSERT INTO marsys_state_{table} ({columns}) VALUES ({marks})", list(entry.values())
                )


class RedisShelf:
    def __init__(self, url: str, prefix: str, session_id: str) -> None:
        self._url = url
        parts = ("log", "bodies", "rewritten", "checkpoints", "snapshots")
        self._log, self._bodies, self._rewritten, self._places, self._snapshots = (
            f"{prefix}{{{session_id}}}:{part}" for part in parts
        )

    def take(self, table: str = "event") -> list[Entry]:
        with redis.Redis.from_url(self._url) as client:
            if table != "event":
                return self._pairs(client, table)
            bodies, rewritten = client.hgetall(self._bodies), client.hgetall(self._rewritten)
            return [
                {
                    "seq": int(seq),
                    **{name.decode(): value for name, value in fields.items()},
                    "body": bodies[seq],
                    **({"rewritten": rewritten[seq]} if seq in rewritten else {}),
                }
                for seq, fields in ((p.partition(b"-")[0], f) for p, f in client.xrange(self._log))
            ]

    def _pairs(self, client: redis.Redis, table: str) -> list[Entry]:
        return [
            {"id": name, "content": value} for name, value in sorted(client.hgetall(self._key(table)).items())
        ]

    def _key(self, table: str) -> str:
        return {"checkpoint": self._places, "snapshot": self._snapshots}[table]

    def put(self, entries: list[Entry], table: str = "event") -> None:
        with redis.Redis.from_url(self._url) as client:
            if table != "event":
                client.delete(self._key(table))
                for entry in entries:
                    client.hset(self._key(table), entry["id"], entry["content"])
                return
            client.delete(self._log, self._bodies, self._rewritten)
            for entry in sorted(entries, key=lambda entry: entry["seq"]):
                fields = {name: entry[name] for name in ("kind", "branch", "header") if name in entry}
                client.xadd(self._log, fields, id=f"{entry['seq']}-0")
                client.hset(self._bodies, str(entry["seq"]), entry["body"])
                if "rewritten" in entry:
                    client.hset(self._rewritten, str(entry["seq"]), entry["rewritten"])
