"""Which of SQLite's errors last until somebody does something about them; the others pass by themselves."""

from __future__ import annotations

_REMEDIES = {
    "SQLITE_FULL": "is full; nothing was written. Free some space",
    "SQLITE_READONLY": "cannot be written. Give this user the right to write it and the folder it is in",
}
_DAMAGED = frozenset({"SQLITE_CORRUPT", "SQLITE_NOTADB"})


def lasting_trouble(error: BaseException | None) -> str:
    """What is wrong and what to do, to be put behind the file's name; empty where waiting may help."""
    return _REMEDIES.get(_code(error), "")


def is_damage(error: BaseException | None) -> bool:
    """Is the file not what SQLite wrote?"""
    return _code(error) in _DAMAGED


def _code(error: BaseException | None) -> str:
    """The primary code: ``SQLITE_READONLY`` for ``SQLITE_READONLY_DIRECTORY``."""
    return "_".join(getattr(error, "sqlite_errorname", "").split("_")[:2])
