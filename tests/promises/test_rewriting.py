"""Compaction and key rotation that are killed: every state is what it was, and a second run ends the work."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from state_core import StateManager, new_encryption_key
from state_core.codec import Key, key_of
from state_core.storage.file import FileStorageBackend
from tests.promises.crash_points import CRASHED
from tests.promises.kill_driver import open_store
from tests.promises.torture import launcher

ROOT = Path(__file__).parents[2]
OLD, NEW = new_encryption_key(), new_encryption_key()
KEYS = f"{NEW},{OLD}"


async def write(manager: StateManager, session_id: str, steps: int = 12) -> None:
    """With a checkpoint in the middle, and a snapshot before and behind it."""
    for half in (0, 1):
        async with manager.session(session_id, on_pause="raise") as session:
            branch = await session.open_branch("a")
            for number in range(half * steps, (half + 1) * steps):
                async with branch.step("Agent", number, step_id=f"a:{number}") as step:
                    step.output = "an answer " * 30
                await session.set_context({"number": number})
            await session.request_pause()
            await session.pause_point()
        manager.log.keep_snapshot(await manager.log.document(session_id))
        await manager.log.flush()
        if not half:
            await manager.create_checkpoint(session_id, "kept")


async def seen(manager: StateManager, session_id: str):
    """All that is to stay."""
    places = await manager.list_checkpoints(session_id)
    states = [await manager.get_checkpoint_state(place.id) for place in places]
    head = await manager.get_head(session_id)
    told = replace(head, first_seq=1, counts={**head.counts, "stored_bytes": 0}, fence=0)
    told = replace(told, owner="", lease_expires_at=None)
    return states, await manager.get_session_state(session_id), places, told


def manager_of(store, *keys: str) -> StateManager:
    return StateManager(store, encryption_key=keys)


# Dying at each boundary of what is durable in the file store


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    url = f"file:{tmp_path_factory.mktemp('rewrites')}"
    with launcher(url) as launched:
        yield Path(url.removeprefix("file:")), launched


BOUNDARIES = [
    ("before-copy", 1),
    ("before-sync-of-copy", 1),
    ("after-sync-of-copy", 1),
    ("before-sync-of-copy", 2),
    ("after-sync-of-copy", 2),
    ("before-index-of-rewrite", 1),
    ("after-index-of-rewrite", 1),
    ("before-snapshots", 1),
    ("after-snapshots", 1),
    ("before-rename", 1),
    ("after-rename", 1),
    ("before-sync-of-folder", 1),
    ("after-rewrite", 1),
    ("before-index-of-rewrite", 2),
    ("after-index-of-rewrite", 2),
]


@pytest.mark.parametrize("verb", ["compact", "rotate"])
@pytest.mark.parametrize(("point", "number"), BOUNDARIES)
def test_a_rewrite_of_files_that_dies_at_any_boundary_changes_nothing_that_is_said(
    verb, point, number, files
):
    path, launched = files
    session_id = f"{verb}-{point}-{number}"
    before = asyncio.run(written(path, session_id))
    # Compaction takes a lease before, which is a file that is renamed, and an entry of the index.
    shared = verb == "compact" and ("rename" in point or "index" in point)
    assert ended(launched, verb, session_id, KEYS, point, number + shared) == CRASHED
    assert asyncio.run(found(path, session_id)) == before
    asyncio.run(let_go(path, session_id))
    assert ended(launched, verb, session_id, KEYS) == 0
    assert asyncio.run(found(path, session_id)) == before
    folder = path / "sessions" / session_id
    assert not list(folder.glob("~*"))
    assert asyncio.run(is_finished(path, session_id, verb))


async def written(path, session_id):
    manager = manager_of(FileStorageBackend(path), OLD)
    await write(manager, session_id)
    before = await seen(manager, session_id)
    await manager.close()
    return before


async def found(path, session_id):
    """By the index as it was left, and by one that is made anew from the log."""
    manager = manager_of(FileStorageBackend(path), NEW, OLD)
    first, counts = await seen(manager, session_id), (await manager.get_head(session_id)).counts
    manager.storage.index.delete(session_id)
    await manager.close()
    manager = manager_of(FileStorageBackend(path), NEW, OLD)
    assert await seen(manager, session_id) == first
    assert (await manager.get_head(session_id)).counts == counts
    await manager.close()
    return first


async def let_go(path, session_id):
    """Whoever died holding the lease: it is waited for no longer than a test may wait."""
    store = FileStorageBackend(path)
    head = await store.head(session_id)
    await store.release(session_id, head.fence)
    await store.close()


async def is_finished(path, session_id, verb):
    store = FileStorageBackend(path)
    head, records = await store.head(session_id), await store.read_events(session_id)
    await store.close()
    if verb == "compact":
        return head.first_seq > 1 and records[0].seq == head.first_seq
    return {key_of(record.encoding) for record in records} == {Key(NEW).id}


def ended(launched, *words) -> int:
    launched.start(*words)
    while True:
        word, *rest = launched.line()
        if word == "gone":
            return int(rest[0])


# Killed in the middle, on every store, while another process appends


SLOW = """
import asyncio, sys
from state_core import StateManager
from tests.promises.kill_driver import open_store

async def rotate(url, prefix, keys, batch):
    store = open_store(url, prefix)
    type(store).rewrite_bytes = int(batch)
    manager = StateManager(store, encryption_key=keys.split(","))
    rewrite = store.rewrite
    async def and_say(*arguments, **options):
        await rewrite(*arguments, **options)
        print("batch", flush=True)
        await asyncio.sleep(0.02)  # so that a kill finds it at work
    store.rewrite = and_say
    print("report", (await manager.rotate_keys()).unneeded, flush=True)
    await manager.close()

asyncio.run(rotate(*sys.argv[1:]))
"""


async def test_a_rotation_that_is_killed_goes_on_when_it_is_started_again_and_loses_no_append(place):
    url, prefix = place
    old, both = manager_of(open_store(url, prefix), OLD), manager_of(open_store(url, prefix), NEW, OLD)
    await write(old, "s", steps=40)
    before = await seen(old, "s")
    appended: list[int] = []
    writing = asyncio.create_task(append_until_told(both, appended))
    chance = random.Random(5)
    for kills in range(2):
        batches, said = await rotate_in_a_process(url, prefix, kill_after=chance.randint(1, 4))
        assert (batches > 0, said) == (True, ""), kills
        states, _, places, _ = await seen(both, "s")
        assert (states, places[:1]) == (before[0], before[2][:1])
    _, said = await rotate_in_a_process(url, prefix)
    assert not writing.done()
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    assert Key(OLD).id in said
    only_new = manager_of(open_store(url, prefix), NEW)
    records = await only_new.storage.read_events("s")
    assert {key_of(record.encoding) for record in records} == {Key(NEW).id}
    assert [record.seq for record in records] == list(range(1, len(records) + 1))
    state = await only_new.get_session_state("s")
    assert appended
    assert state.context["appended"][: len(appended)] == appended
    assert (await seen(only_new, "s"))[0] == before[0]
    for manager in (old, both, only_new):
        await manager.close()


async def append_until_told(manager: StateManager, appended: list[int]) -> None:
    """As an orchestrator does: under a lease, one event after another."""
    async with manager.session("s") as session:
        await session.set_context({"appended": []})
        number = 0
        while True:
            await session.set_context({"appended": [*appended, number]})
            appended.append(number)
            number += 1
            await asyncio.sleep(0.01)


async def rotate_in_a_process(url: str, prefix: str, kill_after: int = 0) -> tuple[int, str]:
    """How many batches it said it had written, and what it reported; killed after so many batches."""
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SLOW, url, prefix, KEYS, "80000"),
        cwd=ROOT,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout
    batches, report = 0, ""
    async for line in process.stdout:
        word, _, rest = line.decode().strip().partition(" ")
        batches += word == "batch"
        report = rest if word == "report" else report
        if kill_after and batches == kill_after:
            process.send_signal(signal.SIGKILL)
    assert await process.wait() == (-signal.SIGKILL if kill_after else 0), (batches, report)
    return batches, report
