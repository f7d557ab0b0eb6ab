"""The tables: whether they are there, making them on an empty database, and saying what is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connections, transaction
from django.db.migrations.executor import MigrationExecutor

from state_core.exceptions import MigrationNeeded
from state_core.storage.connecting import Address

APP = "state_core"
DEFAULT_NAME = "marsys_state"
_LOCK = 0x5354_4154_4543_4F52
"""Of PostgreSQL's advisory locks, the one that is held while tables are made."""


def ensure_tables(alias: str, place: Address, tables: Any, *, create: bool) -> None:
    """Make the tables where none are, if ``create``. Raises MigrationNeeded where they do not fit."""
    if create and missing(alias, tables):
        let_shrink(alias)
        with _alone(alias):
            if missing(alias, tables) and not _present(alias, tables):
                _make(alias, tables)
    still = missing(alias, tables)
    if still:
        raise MigrationNeeded(sentence(place, tables.name, still))


def let_shrink(alias: str) -> None:
    """Have a SQLite file that has no tables yet give back free pages; see `deleting.give_back`. One that has
    tables would have to be copied for that."""
    connection = connections[alias]
    if connection.vendor == "sqlite" and not connection.introspection.table_names():
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA auto_vacuum=INCREMENTAL")
            cursor.execute("VACUUM")


def lacking(alias: str, tables: Any, *, create: bool) -> list[str]:
    """What is missing and will not be made at the first use."""
    found = missing(alias, tables)
    return [] if create and found and not _present(alias, tables) else found


def missing(alias: str, tables: Any) -> list[str]:
    """Names of migrations not applied yet; for tables of another name, of tables and columns."""
    if tables.name == DEFAULT_NAME:
        executor = MigrationExecutor(connections[alias])
        plan = executor.migration_plan(executor.loader.graph.leaf_nodes(APP))
        return [migration.name for migration, _ in plan if migration.app_label == APP]
    return list(_missing_columns(alias, tables))


def unknown_migrations(alias: str) -> list[str]:
    """Migrations applied by a newer version of this library."""
    loader = MigrationExecutor(connections[alias]).loader
    return sorted(
        name
        for app, name in loader.applied_migrations
        if app == APP and (app, name) not in loader.disk_migrations
    )


def _present(alias: str, tables: Any) -> set[str]:
    connection = connections[alias]
    names = set(connection.introspection.table_names())
    return {model._meta.db_table for model in tables} & names


def _missing_columns(alias: str, tables: Any) -> Iterator[str]:
    connection = connections[alias]
    present = _present(alias, tables)
    for model in tables:
        table = model._meta.db_table
        if table not in present:
            yield table
            continue
        with connection.cursor() as cursor:
            columns = {c.name for c in connection.introspection.get_table_description(cursor, table)}
        yield from (f"{table}.{f.column}" for f in model._meta.local_fields if f.column not in columns)


def sentence(place: Address, table_name: str, names: list[str]) -> str:
    if table_name != DEFAULT_NAME:
        return (
            f"{place.shown}: the tables named {table_name!r} do not fit this version of state_core; missing: "
            f"{', '.join(names)}. Add them, or choose another table_name."
        )
    option = "" if place.alias == "default" else f" --database {place.alias}"
    command = (
        f"python manage.py migrate state_core{option}"
        if place.settings is None
        else "python -m state_core.storage.migrate '<connection string>'"
    )
    return f"{place.shown}: migration {APP}.{names[0]} is not applied yet. Run `{command}`."


@contextmanager
def _alone(alias: str) -> Iterator[None]:
    """One process at a time, in one transaction."""
    connection = connections[alias]
    # SQLite refuses to change tables in a transaction unless this was off before it began.
    off = connection.disable_constraint_checking()
    try:
        with transaction.atomic(using=alias):
            if connection.vendor == "postgresql":
                with connection.cursor() as cursor:
                    cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
            yield
    finally:
        if off:
            connection.enable_constraint_checking()


def _make(alias: str, tables: Any) -> None:
    if tables.name == DEFAULT_NAME:
        _migrate(alias)
        return
    with connections[alias].schema_editor() as editor:
        for model in tables:
            editor.create_model(model)


def migrate(alias: str) -> None:
    let_shrink(alias)
    _migrate(alias)


def _migrate(alias: str) -> None:
    executor = MigrationExecutor(connections[alias])
    executor.migrate(executor.loader.graph.leaf_nodes(APP))
