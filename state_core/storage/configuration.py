"""What is weak in a database's configuration: what `check()` tells."""

from __future__ import annotations

from typing import Any

from state_core.storage.connecting import Address
from state_core.storage.schema import unknown_migrations


def weaknesses(connection: Any, place: Address) -> list[str]:
    found = _CHECKS.get(connection.vendor, _of_others)(connection)
    newer = unknown_migrations(connection.alias)
    if newer:
        found.append(
            f"the tables were made by a newer version of state_core (migration {newer[-1]}); upgrade it here"
        )
    return [f"{place.shown}: {sentence}." for sentence in found]


def _of_sqlite(connection: Any) -> list[str]:
    found = []
    if connection.is_in_memory_db():
        found.append("it is in memory; what it holds ends with the process")
        return found
    mode = _one(connection, "PRAGMA journal_mode")
    if mode != "wal":
        found.append(
            f"journal_mode is {mode.upper()}, so that readers and writers wait for each other; set "
            "'init_command': 'PRAGMA journal_mode=WAL;' in its OPTIONS"
        )
    if int(_one(connection, "PRAGMA synchronous")) < 2:
        found.append("synchronous is not FULL, so that a power cut may lose acknowledged events")
    if int(_one(connection, "PRAGMA auto_vacuum")) == 0 and connection.introspection.table_names():
        found.append(
            "its file never shrinks, whatever is deleted; run once, while nobody uses it: "
            "PRAGMA auto_vacuum=INCREMENTAL; VACUUM;"
        )
    return found


def _of_postgresql(connection: Any) -> list[str]:
    return [
        f"{name} is off, so that {risk}; set it on"
        for name, risk in (
            ("fsync", "a power cut may damage the database"),
            ("synchronous_commit", "a crash of the server may lose acknowledged events"),
            ("full_page_writes", "a power cut may damage the database"),
        )
        if _one(connection, f"SHOW {name}") == "off"
    ]


def _of_others(connection: Any) -> list[str]:
    return [
        f"{connection.display_name} is not tested with state_core; SQLite and PostgreSQL are. "
        "Run the store contract of state_core.testing against it"
    ]


_CHECKS = {"sqlite": _of_sqlite, "postgresql": _of_postgresql}


def _one(connection: Any, question: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(question)
        return str(cursor.fetchone()[0])
