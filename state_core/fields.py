"""Columns that hold what the records hold, the same in every database."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import orjson
from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper

_BYTEWISE = {"postgresql": "C", "mysql": "utf8mb4_bin"}
"""Collations that order text by its code points, as Python does. SQLite does so by itself."""

_ESCAPE = re.compile(r"\\(.)")


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


def to_json(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode()


def names_json(names: Sequence[str]) -> str:
    return f"[{','.join(map(needle, names))}]"


def needle(name: str) -> str:
    """A name as it stands in a NamesField: in quotes that no name's own text can imitate."""
    text = to_json(name)[1:-1]
    return f'"{_ESCAPE.sub(_plain_quote, text)}"'


def _plain_quote(match: re.Match[str]) -> str:
    return "\\u0022" if match[1] == '"' else match[0]
