"""How the database store comes to a Django connection: from Django's settings, or from a string alone."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

from state_core.exceptions import ConfigurationError
from state_core.storage.sqlitecodes import LOCK_SECONDS

SHAPES = "postgresql://user:password@host/database, sqlite:///relative.db or sqlite:////absolute.db"
_setting_up = threading.Lock()
_DJANGOS_OWN = {"cursor_factory", "context", "prepare_threshold"}


@dataclass(frozen=True)
class Address:
    """Where a database is, without saying how to get in."""

    alias: str
    shown: str
    """For people. Never contains a password."""
    settings: dict[str, Any] | None = field(default=None, repr=False)
    """An entry of Django's DATABASES, or None where Django knows the alias already."""

    @property
    def password(self) -> str:
        return str((self.settings or {}).get("PASSWORD") or "")


def address(connection_string: str | None, using: str) -> Address:
    """Raises ConfigurationError; its message never repeats the string, which may hold a password."""
    if connection_string is None:
        return Address(using, f"Django's database {using!r}")
    scheme, separator, _ = connection_string.partition("://")
    reader = _READERS.get(scheme.lower())
    if not separator or reader is None:
        raise ConfigurationError(
            f"A connection string cannot begin with {scheme[:20]!r}. Use {SHAPES}."
            if separator
            else f"This is not a connection string. Use {SHAPES}."
        )
    return reader(connection_string)


def _postgresql(text: str) -> Address:
    from psycopg import ProgrammingError
    from psycopg.conninfo import conninfo_to_dict

    try:
        options = dict(conninfo_to_dict(text))
    except ProgrammingError:
        # Its message quotes parts of the string.
        raise ConfigurationError(
            "The connection string for PostgreSQL cannot be read. "
            "Use postgresql://user:password@host/database, "
            "and write special characters of the password as %XX (urllib.parse.quote)."
        ) from None
    settings = {
        "ENGINE": "django.db.backends.postgresql",
        **{name: str(options.pop(key, "")) for name, key in _PARTS.items()},
        "OPTIONS": {"connect_timeout": 10, "application_name": "state_core", **options},
    }
    place = settings["HOST"] or "the local socket"
    port = f":{settings['PORT']}" if settings["PORT"] else ""
    return _addressed(f"PostgreSQL database {settings['NAME']!r} at {place}{port}", settings)


_PARTS = {"NAME": "dbname", "USER": "user", "PASSWORD": "password", "HOST": "host", "PORT": "port"}


def _sqlite(text: str) -> Address:
    rest, _, query = text.partition("://")[2].partition("?")
    name = unquote(rest.removeprefix("/"))
    if not rest.startswith("/") or name in {"", ":memory:"}:
        raise ConfigurationError(
            "A SQLite store needs a file: sqlite:///relative.db or sqlite:////absolute.db. "
            "For one that ends with the process use MemoryStorageBackend()."
        )
    path = Path(name).expanduser().absolute()
    settings = {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(path),
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": _seconds(dict(parse_qsl(query)).get("timeout")),
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
        },
    }
    return _addressed(f"SQLite database {str(path)!r}", settings)


def _seconds(text: str | None) -> float:
    if text is None:
        return LOCK_SECONDS
    try:
        return float(text)
    except ValueError:
        raise ConfigurationError(f"timeout={text[:20]} is not a number of seconds.") from None


_READERS: dict[str, Callable[[str], Address]] = {
    "postgresql": _postgresql,
    "postgres": _postgresql,
    "sqlite": _sqlite,
}


def _addressed(shown: str, settings: dict[str, Any]) -> Address:
    """The same string is the same alias, so that two stores of one process share its settings."""
    digest = hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=8).hexdigest()
    return Address(f"state_{digest}", shown, settings)


def parameters(alias: str) -> dict[str, Any]:
    """Of Django's connection to PostgreSQL, what psycopg needs to connect by itself."""
    from django.db import connections

    given = connections[alias].get_connection_params()
    return {name: value for name, value in given.items() if name not in _DJANGOS_OWN}


def prepare_django(place: Address) -> None:
    """Set Django up where the process has not, and tell it of this database. Raises ConfigurationError."""
    with _setting_up:
        _set_up(place)
        _register(place)


def _set_up(place: Address) -> None:
    import django
    from django.apps import apps
    from django.conf import settings

    if not settings.configured and not os.environ.get("DJANGO_SETTINGS_MODULE"):
        if place.settings is None:
            raise ConfigurationError(
                "DatabaseStorageBackend() uses Django's own database, "
                "and this process has no Django settings. "
                f"Set DJANGO_SETTINGS_MODULE, or pass a connection string: {SHAPES}."
            )
        settings.configure(
            INSTALLED_APPS=["state_core"],
            DATABASES={},
            USE_TZ=True,
            TIME_ZONE="UTC",
            DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        )
    if not apps.models_ready:
        django.setup()
    if not apps.is_installed("state_core"):
        raise ConfigurationError("Add 'state_core' to INSTALLED_APPS in Django's settings.")
    if not settings.USE_TZ:
        raise ConfigurationError(
            "Set USE_TZ = True in Django's settings: events carry times with a time zone."
        )


def _register(place: Address) -> None:
    from django.db import connections
    from django.db.utils import ConnectionHandler

    if place.settings is not None and place.alias not in connections.settings:
        filled = ConnectionHandler({"default": {}, place.alias: place.settings})
        connections.settings[place.alias] = filled.settings[place.alias]
    if place.alias not in connections.settings:
        known = ", ".join(connections.settings)
        raise ConfigurationError(f"Django's DATABASES has no {place.alias!r}. It has: {known}.")
    if connections.settings[place.alias]["ENGINE"] == "django.db.backends.dummy":
        raise ConfigurationError(
            f"Django's DATABASES[{place.alias!r}] is empty. Fill it in, "
            f"or pass a connection string: {SHAPES}."
        )
    if connections.settings[place.alias].get("TIME_ZONE"):
        raise ConfigurationError(
            f"Remove TIME_ZONE from Django's DATABASES[{place.alias!r}]: stores keep UTC."
        )
