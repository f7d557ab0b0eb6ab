"""Which of SQLite's errors last until somebody does something about them; the others pass by themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random

T = TypeVar("T")

LOCK_SECONDS = 20.0
"""How long a lock that somebody else holds is waited for."""
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


def once_free(act: Callable[[], T]) -> T:
    """``act``, again while somebody else holds the file's lock. SQLite itself waits for that everywhere but
    where a new file gets its write-ahead log: of two that open it at once, one is refused without a wait."""
    retrying = Retrying(
        retry=retry_if_exception(_is_locked),
        wait=wait_random(0.005, 0.05),
        stop=stop_after_delay(LOCK_SECONDS),
        reraise=True,
    )
    return retrying(act)


def _is_locked(error: BaseException) -> bool:
    return "SQLITE_BUSY" in (_code(error), _code(error.__cause__))


def _code(error: BaseException | None) -> str:
    """The primary code: ``SQLITE_READONLY`` for ``SQLITE_READONLY_DIRECTORY``."""
    return "_".join(getattr(error, "sqlite_errorname", "").split("_")[:2])
