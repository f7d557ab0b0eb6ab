"""Connections of the database store's threads."""

from __future__ import annotations

import threading
import time
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


def test_who_comes_while_the_pool_is_closed_gets_a_connection_of_the_next(
    tmp_path: Path, django_db_blocker: Any
) -> None:
    """One that was closed under its user's hands crashed the interpreter."""
    place = address(f"sqlite:///{tmp_path}/new.sqlite3", using="default")
    prepare_django(place)
    threads = ConnectionThreads(place.alias, 1)
    is_in_use, let_go, is_opened, is_closed = (threading.Event() for _ in range(4))
    found: list[Any] = []

    def hold() -> None:
        with threads.connection():
            is_in_use.set()
            let_go.wait(20)

    def use() -> None:
        with threads.connection() as connection:
            is_opened.set()
            is_closed.wait(20)
            found.extend(connection.connection.execute("SELECT 1").fetchone())

    with django_db_blocker.unblock():
        threads.submit(hold)
        assert is_in_use.wait(20)
        closing = threading.Thread(target=threads.close)
        closing.start()
        while threads._workers is not None:
            time.sleep(0.001)  # until the closing has begun
        coming = threading.Thread(target=threads.submit, args=[use])
        coming.start()
        is_opened.wait(0.3)  # it waits for the closing; where it did not, it was open by then
        let_go.set()
        closing.join()
        is_closed.set()
        coming.join()
        threads.close()
    assert found == [1]
