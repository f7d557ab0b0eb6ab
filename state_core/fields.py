"""Columns that hold what the records hold, the same in every database."""

from __future__ import annotations

from typing import Any

import orjson
from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper

from state_core.names import names_json, needle

_BYTEWISE = {"postgresql": "C", "mysql": "utf8mb4_bin"}
"""Collations that order text by its code points, as Python does. SQLite does so by itself."""


class KeyField(models.CharField):  # type: ignore[type-arg]
    """Short text that is compared and ordered by code points, whatever the database's language is."""

    def db_parameters(self, connection: BaseDatabaseWrapper) -> Any:
        return {**super().db_parameters(connection), "collation": _BYTEWISE.get(connection.vendor)}

    def db_type(self, connection: BaseDatabaseWrapper) -> str | None:
        """By its long name on PostgreSQL: Django gives a `varchar` key a second index for LIKE, which the one
        in the order of code points serves anyway."""
        name = super().db_type(connection)
        return (
            name.replace("varchar", "character varying")
            if name and connection.vendor == "postgresql"
            else name
        )


class JsonField(models.TextField):  # type: ignore[type-arg]
    """JSON as text, so that any character may be in it (PostgreSQL's jsonb refuses NUL)."""

    def from_db_value(self, value: str | None, expression: Any, connection: BaseDatabaseWrapper) -> Any:
        return None if value is None else orjson.loads(value)

    def to_python(self, value: Any) -> Any:
        return orjson.loads(value) if isinstance(value, str) else value

    def get_prep_value(self, value: Any) -> Any:
        return value if value is None or isinstance(value, str) else to_json(value)

    def value_to_string(self, obj: models.Model) -> str:
        return str(self.get_prep_value(self.value_from_object(obj)))


class NamesField(JsonField):
    """A list of names as JSON text, written so that `needle` finds a name in it."""

    def get_prep_value(self, value: Any) -> Any:
        return value if value is None or isinstance(value, str) else names_json(value)


ARRAY_OF_NAMES = """string_to_array(left(substr(%s, 3), -2), '","')"""
"""What PostgreSQL makes of a NamesField: its names as they stand in the quotes there, see `names.quoted`."""


class Names(models.Func):
    """A NamesField as PostgreSQL's index of it has it: each name by itself."""

    output_field = models.TextField()
    template = ARRAY_OF_NAMES % "%(expressions)s"


class NamesIndex(models.Index):
    """Of `Names`, for `HasName`. PostgreSQL alone can have one; other databases get a statement that does
    nothing, since Django wants one."""

    def create_sql(self, model: Any, schema_editor: Any, using: str = "", **options: Any) -> Any:
        if schema_editor.connection.vendor != "postgresql":
            return "SELECT 1"
        return super().create_sql(model, schema_editor, using=" USING gin", **options)

    def remove_sql(self, model: Any, schema_editor: Any, **options: Any) -> Any:
        if schema_editor.connection.vendor != "postgresql":
            return "SELECT 1"
        return super().remove_sql(model, schema_editor, **options)


class HasName(models.Func):
    """Does a NamesField hold this name?"""

    output_field = models.BooleanField()
    template = "INSTR(%(expressions)s) > 0"

    def __init__(self, names: str, name: str) -> None:
        super().__init__(names, models.Value(needle(name)))

    def as_postgresql(self, compiler: Any, connection: BaseDatabaseWrapper, **context: Any) -> Any:
        """By the index; and where it is not taken, since many have it, mostly without making an array."""
        column, sought = self.get_source_expressions()
        text, values = compiler.compile(column)
        names, same = compiler.compile(Names(column))
        quoted = sought.value[1:-1]
        found = f"(strpos({text}, %s) > 0 AND {names} @> ARRAY[%s]::text[])"
        return found, [*values, sought.value, *same, quoted]


class Unindexed(models.Func):
    """A column as it is, by which SQLite does not look for rows: it would take an index of the many that have
    one value over the index that has them in order."""

    template = "%(expressions)s"

    def as_sqlite(self, compiler: Any, connection: BaseDatabaseWrapper, **context: Any) -> Any:
        return self.as_sql(compiler, connection, template="+%(expressions)s", **context)


class Rare(models.Func):
    """A condition that few rows meet. SQLite takes each status to be as frequent as another, and would rather
    read the whole table than look for four of them."""

    output_field = models.BooleanField()
    template = "%(expressions)s"

    def as_sqlite(self, compiler: Any, connection: BaseDatabaseWrapper, **context: Any) -> Any:
        return self.as_sql(compiler, connection, template="unlikely(%(expressions)s)", **context)


class Microseconds(models.Func):
    """From the second moment to the first, exactly, by the database's own functions."""

    output_field = models.BigIntegerField()
    arg_joiner = " - "
    template = "CAST(EXTRACT(EPOCH FROM (%(expressions)s)) * 1000000 AS bigint)"

    def as_sqlite(self, compiler: Any, connection: BaseDatabaseWrapper, **context: Any) -> Any:
        """Of text: julianday alone knows no microseconds."""
        (end, ended), (start, started) = (compiler.compile(part) for part in self.get_source_expressions())
        days = f"julianday(substr({end}, 1, 19)) - julianday(substr({start}, 1, 19))"
        rest = f"CAST(substr({end}, 21, 6) AS integer) - CAST(substr({start}, 21, 6) AS integer)"
        values = [*ended, *started]
        return f"(CAST(round(({days}) * 86400) AS integer) * 1000000 + {rest})", [*values, *values]


def to_json(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode()
