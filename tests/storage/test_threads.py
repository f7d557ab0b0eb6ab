"""Connections of the database store's threads."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from state_core.storage.connecting import address, prepare_django
from state_core.storage.threads import ConnectionThreads

AT_ONCE = 3


def test_threads_that_open_a_new_sqlite_file_at_once_all_get_in(
    tmp_path: Path, django_db_blocker: Any
) -> None:
    """Without trying again, about one file in twenty refuses somebody at once."""
    place = address(f"sqlite:///{tmp_path}/new.sqlite3", using="default")
    prepare_django(place)
    with django_db_blocker.unblock():
        assert [opened_at_once(place.alias, tmp_path) for _ in range(100)] == [AT_ONCE] * 100


def opened_at_once(alias: str, folder: Path) -> int:
    threads = ConnectionThreads(alias, AT_ONCE)
    came, left = threading.Barrier(AT_ONCE + 1), threading.Barrier(AT_ONCE + 1)
    opened: list[str] = []

    def open_one() -> None:
        came.wait()
        try:
            with threads.connection() as connection:
                opened.append(connection.vendor)
        finally:
            left.wait()

    for _ in range(AT_ONCE):
        threads.submit(open_one)
    came.wait()
    left.wait()
    threads.close()
    for path in folder.iterdir():
        path.unlink()
    return len(opened)
