"""What a database says when it fails, in this library's errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, DataError, InterfaceError, OperationalError, ProgrammingError

from state_core.exceptions import (
    ConfigurationError,
    InvalidValue,
    MigrationNeeded,
    StateError,
    StorageError,
    StorageUnavailable,
)
from state_core.storage.connecting import Address
from state_core.storage.sqlitecodes import lasting_trouble

_NO_TABLE = ("no such table", "no such column", "has no column", "does not exist")


@contextmanager
def translated(place: Address) -> Iterator[None]:
    """Raise a StateError instead of Django's; its cause stays with it."""
    try:
        yield
    except (DatabaseError, InterfaceError) as error:
        raise _translation(place, error) from error
    except ImproperlyConfigured as error:
        raise ConfigurationError(f"{place.shown} cannot be used: {_line(place, error)}.") from error


def _translation(place: Address, error: Exception) -> StateError:
    line = _line(place, error)
    if isinstance(error, DataError):
        return InvalidValue(f"A value cannot be stored: {line}. Nothing was written.")
    if _lacks_a_table(error, line):
        return MigrationNeeded(f"{place.shown}: {line}. Run `python manage.py migrate state_core`.")
    if trouble := lasting_trouble(error.__cause__):
        return StorageError(f"{place.shown} {trouble}.")
    if "unable to open database file" in line:
        return StorageUnavailable(
            f"{place.shown} cannot be opened: {line}. Make its folder, or see to it that it may be written."
        )
    if isinstance(error, OperationalError | InterfaceError):
        return StorageUnavailable(
            f"{place.shown} cannot be reached or refuses to work: {line}. "
            "Nothing that was acknowledged is lost; try again."
        )
    return StorageError(f"{place.shown} failed: {line}.")


def _lacks_a_table(error: Exception, line: str) -> bool:
    if isinstance(error, ProgrammingError):
        return any(words in line for words in _NO_TABLE)
    return isinstance(error, OperationalError) and any(words in line for words in _NO_TABLE[:3])


def _line(place: Address, error: Exception) -> str:
    """The first line of its message: libpq adds advice, and a line for each address that it tried."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    hidden = text.replace(place.password, "***") if place.password else text
    return hidden.rstrip(".")
