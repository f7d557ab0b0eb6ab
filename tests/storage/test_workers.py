"""The threads that stores block in."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections.abc import Iterator

import pytest

from state_core.storage.workers import Workers


@pytest.fixture
def workers() -> Iterator[Workers]:
    found = Workers(3, "under-test")
    yield found
    found.close()


def alive() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "under-test"]


async def test_one_thread_serves_who_does_one_thing_after_another(workers: Workers) -> None:
    idents = {await workers.run(threading.get_ident) for _ in range(200)}
    assert len(idents) == 1
    assert idents != {threading.get_ident()}


async def test_as_many_threads_as_are_needed_work_at_once_and_no_more(workers: Workers) -> None:
    together = threading.Barrier(3)
    async with asyncio.timeout(30):
        await asyncio.gather(*(workers.run(together.wait) for _ in range(9)))
    assert len(alive()) == 3


async def test_an_error_is_raised_where_it_is_waited_for_and_the_thread_goes_on(workers: Workers) -> None:
    with pytest.raises(ZeroDivisionError):
        await workers.run(lambda: 1 // 0)
    assert await workers.run(lambda: 5) == 5


async def test_an_error_that_nobody_waits_for_is_logged(
    workers: Workers, caplog: pytest.LogCaptureFixture
) -> None:
    workers.submit(lambda: 1 // 0)  # type: ignore[arg-type]
    assert await workers.run(lambda: 5) == 5
    workers.close()
    assert "ZeroDivisionError" in caplog.text


async def test_who_is_cancelled_leaves_the_work_to_its_end(workers: Workers) -> None:
    go_on, ended = threading.Event(), threading.Event()

    def work() -> None:
        go_on.wait(10)
        ended.set()

    waiting = asyncio.ensure_future(workers.run(work))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    go_on.set()
    await asyncio.to_thread(workers.close)
    assert ended.is_set()


async def test_closing_waits_for_work_under_way_and_ends_the_threads(workers: Workers) -> None:
    done: list[int] = []
    for number in range(20):
        workers.submit(lambda number=number: done.append(number))  # type: ignore[misc]
    await asyncio.to_thread(workers.close)
    assert sorted(done) == list(range(20))
    assert alive() == []
    with pytest.raises(RuntimeError, match="closed"):
        await workers.run(lambda: 5)


async def test_threads_end_with_the_object_that_nobody_closed() -> None:
    forgotten = Workers(2, "under-test")
    await forgotten.run(lambda: None)
    (thread,) = alive()
    del forgotten
    gc.collect()
    await asyncio.to_thread(thread.join, 10)
    assert not thread.is_alive()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")  # it is what is tested here
def test_a_forked_process_has_threads_of_its_own(workers: Workers) -> None:
    asyncio.run(workers.run(lambda: None))
    child = os.fork()
    if child == 0:
        found = asyncio.run(asyncio.wait_for(workers.run(lambda: 7), 10))
        os._exit(found)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
