from __future__ import annotations

import gc
import sqlite3

import pytest

from state_core.storage.fileindex import FileIndex


@pytest.fixture
def opened(monkeypatch):
    """Connections, in the order in which they were opened."""
    connections = []
    connect = sqlite3.connect

    def opening(*args, **kwargs):
        connections.append(connect(*args, **kwargs))
        return connections[-1]

    monkeypatch.setattr(sqlite3, "connect", opening)
    return connections


def is_closed(connection):
    try:
        connection.execute("SELECT 1")
    except sqlite3.ProgrammingError as error:
        return "closed" in str(error)
    return False


def test_an_index_that_is_let_go_of_closes_its_connections(tmp_path, opened):
    index = FileIndex(tmp_path / "index")
    index.known()
    assert [is_closed(connection) for connection in opened] == [False]
    del index
    gc.collect()
    assert [is_closed(connection) for connection in opened] == [True]


def test_an_index_that_cannot_be_opened_leaves_no_connection_behind(tmp_path, opened):
    path = tmp_path / "index"
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(sqlite3.DatabaseError):
        FileIndex(path).known()
    assert [is_closed(connection) for connection in opened] == [True]
