"""Requests that share threads, and what a thread keeps from one to the next."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import psycopg
import pytest
from asgiref.sync import ThreadSensitiveContext, sync_to_async

from marsys_dashboard.request_threads import MOST, KeptThreads
from tests.postgres import PostgresServer
from tests.server import COOKIE, Server

said: ContextVar[str] = ContextVar("said", default="")


async def on_its_thread(scope: dict[str, list[int]], receive: object, send: object) -> None:
    """An application that waits for as many as it has to meet, and notes its thread."""
    async with ThreadSensitiveContext():  # as Django's does
        scope["threads"].append(await sync_to_async(threading.get_ident)())
        if "meeting" in scope:
            await scope["meeting"].wait()


async def test_requests_one_after_another_have_one_thread():
    kept, threads = KeptThreads(on_its_thread), []
    for _ in range(3):
        await kept({"threads": threads}, None, None)
    assert len(set(threads)) == 1


async def test_requests_at_once_have_a_thread_each_and_some_of_these_are_kept():
    kept, threads, many = KeptThreads(on_its_thread), [], MOST + 4
    meeting = asyncio.Barrier(many)
    await asyncio.gather(*(kept({"threads": threads, "meeting": meeting}, None, None) for _ in range(many)))
    assert len(set(threads)) == many
    again: list[int] = []
    meeting = asyncio.Barrier(MOST)
    await asyncio.gather(*(kept({"threads": again, "meeting": meeting}, None, None) for _ in range(MOST)))
    assert set(again) < set(threads)


async def test_a_request_that_was_given_up_leaves_its_thread_to_others():
    kept, threads = KeptThreads(on_its_thread), []
    never = asyncio.create_task(kept({"threads": threads, "meeting": asyncio.Barrier(2)}, None, None))
    while not threads:
        await asyncio.sleep(0.01)
    never.cancel()
    with pytest.raises(asyncio.CancelledError):
        await never
    await kept({"threads": threads}, None, None)
    assert len(set(threads)) == 1


async def test_a_request_leaves_no_context_to_the_next():
    async def application(scope: dict[str, list[str]], receive: object, send: object) -> None:
        scope["heard"].append(said.get())
        said.set("something")

    kept, heard = KeptThreads(application), []
    for _ in range(2):
        await kept({"heard": heard}, None, None)
    assert heard == ["", ""]


async def test_a_request_that_waits_for_news_keeps_no_thread_from_others():
    kept, threads, meeting = KeptThreads(on_its_thread), [], asyncio.Barrier(2)
    await kept({"threads": threads}, None, None)
    waits = {"threads": threads, "meeting": meeting, "query_string": b"after=5&wait=60"}
    waiting = asyncio.create_task(kept(waits, None, None))
    while len(threads) < 2:
        await asyncio.sleep(0.01)
    await kept({"threads": threads}, None, None)
    assert threads[2] == threads[0] != threads[1]
    await meeting.wait()
    await waiting


@pytest.fixture
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """One that may be stopped."""
    server = PostgresServer(tmp_path_factory.mktemp("own") / "data", fsync=False)
    server.create()
    server.start()
    yield server
    if server.is_running():
        server.stop()


def test_a_connection_serves_many_requests_and_is_made_anew_when_the_database_was_restarted(
    postgres: PostgresServer, tmp_path: Path
):
    server = Server(tmp_path, postgres.new_database("dashboard"))
    server.prepare()
    server.start()
    try:
        assert _status(server) == 200
        before = _connections(server)
        assert [_status(server) for _ in range(5)] == [200] * 5
        # An answer is read before its thread is free: the next request may have another.
        assert len(_connections(server) | before) <= 2
        postgres.stop()
        assert _status(server) == 503
        postgres.start()
        assert _status(server) == 200
        assert _connections(server).isdisjoint(before)
    finally:
        server.stop()


def _status(server: Server) -> int:
    """Of a page that asks no store."""
    cookie = {"Cookie": f"{COOKIE}={server.cookies['ana']}"}
    try:
        with urlopen(Request(f"{server.url}/jobs/", headers=cookie), timeout=60) as answer:
            return int(answer.status)
    except HTTPError as error:
        error.close()
        return error.code


def _connections(server: Server) -> set[int]:
    with psycopg.connect(server.database) as connection:
        found = connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return {pid for (pid,) in found}
