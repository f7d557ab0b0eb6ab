"""Stores: by class, by connection string, and by the aliases of Django's STATE_STORES."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from state_core.exceptions import ConfigurationError
from state_core.storage.base import StorageBackend
from state_core.storage.file import FileStorageBackend
from state_core.storage.memory import MemoryStorageBackend
from state_core.storage.redis import RedisStorageBackend

if TYPE_CHECKING:
    from state_core.storage.database import DatabaseStorageBackend

__all__ = [
    "DatabaseStorageBackend",
    "FileStorageBackend",
    "MemoryStorageBackend",
    "RedisStorageBackend",
    "StorageBackend",
    "Stores",
    "from_url",
    "stores",
]


OF_DJANGO: Mapping[str, Mapping[str, Any]] = {
    "default": {"BACKEND": "state_core.storage.database.DatabaseStorageBackend"}
}
"""Where the settings say nothing of stores: Django's own database."""


def __getattr__(name: str) -> Any:
    """The database store is imported when it is asked for: it imports Django."""
    if name == "DatabaseStorageBackend":
        return import_module("state_core.storage.database").DatabaseStorageBackend
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def from_url(url: str) -> StorageBackend:
    """The store at ``file:<folder>``, ``postgresql://…``, ``sqlite:///…``, ``redis://…`` or ``memory:``.

    Raises ConfigurationError.
    """
    scheme, _, rest = url.partition(":")
    if scheme == "memory":
        return MemoryStorageBackend()
    if scheme == "file" and rest.removeprefix("//"):
        return FileStorageBackend(rest.removeprefix("//"))
    if scheme in {"redis", "rediss", "unix"}:
        return RedisStorageBackend(url=url)
    from state_core.storage.database import DatabaseStorageBackend

    return DatabaseStorageBackend(url)


class Stores(Mapping[str, StorageBackend]):
    """The stores that Django's settings name, each made at its first use, once per process."""

    def __init__(self) -> None:
        self._made: dict[str, StorageBackend] = {}
        self._lock = threading.RLock()

    def aliases(self) -> list[str]:
        return list(self._settings())

    def __getitem__(self, alias: str) -> StorageBackend:
        """Raises ConfigurationError for an alias that is unknown, or whose entry cannot work."""
        with self._lock:
            if alias not in self._made:
                self._made[alias] = self._make(alias)
            return self._made[alias]

    def encryption_key(self, alias: str) -> str | Sequence[str] | None:
        """``ENCRYPTION_KEY`` of a store: one, or several of which the first encrypts and all decrypt."""
        found: str | Sequence[str] | None = self._settings().get(alias, {}).get("ENCRYPTION_KEY")
        return found or None

    def __iter__(self) -> Iterator[str]:
        return iter(self._settings())

    def __len__(self) -> int:
        return len(self._settings())

    def __contains__(self, alias: object) -> bool:
        return alias in self._settings()

    def forget(self) -> list[StorageBackend]:
        """Make them anew at their next use, and return those made until now, for `close`."""
        with self._lock:
            made, self._made = list(self._made.values()), {}
        return made

    @staticmethod
    def _settings() -> Mapping[str, Mapping[str, Any]]:
        from django.conf import settings

        found: Mapping[str, Mapping[str, Any]] = getattr(settings, "STATE_STORES", OF_DJANGO)
        return found

    def _make(self, alias: str) -> StorageBackend:
        entries = self._settings()
        if alias not in entries:
            known = ", ".join(map(repr, entries)) or "none"
            raise ConfigurationError(f"STATE_STORES in Django's settings has no {alias!r}. It has: {known}.")
        entry = entries[alias]
        if "URL" in entry:
            return _from_entry(alias, entry)
        backend = _backend(alias, entry)
        try:
            return backend(**entry.get("OPTIONS", {}))
        except TypeError as error:
            raise ConfigurationError(f"STATE_STORES[{alias!r}]['OPTIONS'] do not fit: {error}.") from error


def _from_entry(alias: str, entry: Mapping[str, Any]) -> StorageBackend:
    if entry.keys() & {"BACKEND", "OPTIONS"}:
        raise ConfigurationError(
            f"STATE_STORES[{alias!r}] has a URL besides BACKEND or OPTIONS. Give the one or the other."
        )
    try:
        return from_url(entry["URL"])
    except ConfigurationError as error:
        raise ConfigurationError(f"STATE_STORES[{alias!r}]['URL'] cannot be used: {error}") from error


def _backend(alias: str, entry: Mapping[str, Any]) -> type[StorageBackend]:
    path = entry.get("BACKEND", "")
    module, _, name = path.rpartition(".")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(
            f"STATE_STORES[{alias!r}]['BACKEND'] is {path!r}, which cannot be imported: {error}. "
            "Give the dotted path of a StorageBackend, such as 'state_core.storage.DatabaseStorageBackend'."
        ) from error
    if not (isinstance(found, type) and issubclass(found, StorageBackend)):
        raise ConfigurationError(
            f"STATE_STORES[{alias!r}]['BACKEND'] is {path!r}, which is not a StorageBackend."
        )
    return found


stores = Stores()
