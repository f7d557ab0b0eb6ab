"""What only the file store has: its files, torn tails, damage, the disk."""

import asyncio
import logging
import os
import shutil
import sqlite3
import subprocess
import sys
from dataclasses import replace
from functools import partial

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from state_core import StateManager
from state_core.events import Event, EventKind, EventRecord
from state_core.exceptions import (
    ConfigurationError,
    DamagedError,
    InvalidId,
    LeaseLost,
    SessionNotFound,
    StorageError,
    StorageUnavailable,
)
from state_core.storage import file as file_module
from state_core.storage.base import HeadQuery
from state_core.storage.file import FileStorageBackend
from state_core.storage.filelog import BinaryFrames, Frame, JsonLines


@pytest.fixture(params=["json", "binary"])
async def store(request, tmp_path):
    store = FileStorageBackend(tmp_path / "state", use_json=request.param == "json")
    yield store
    await store.close()


async def record(store, session_id="s", steps=3):
    manager = StateManager(store)
    async with manager.session(session_id) as session:
        branch = await session.open_branch("b")
        for number in range(steps):
            async with branch.step("A", number) as step:
                step.output = f"result {number} " * 5
        await session.checkpoint("done")
    return manager


async def reopened(store) -> StateManager:
    await store.close()
    return StateManager(FileStorageBackend(store.base_path))


def log_of(store, session_id="s"):
    return store.base_path / "sessions" / session_id / "log.state"


async def test_a_log_is_readable_with_any_editor(tmp_path):
    store = FileStorageBackend(tmp_path, file_extension=".jsonl")
    await record(store)
    text = (tmp_path / "sessions" / "s" / "log.jsonl").read_text()
    assert '"changes":[["set",["branches","b","steps","b:1","output"],"result 0 ' in text
    await store.close()


async def test_an_append_that_was_cut_off_is_removed_with_a_warning(store, caplog):
    manager = await record(store)
    before = await manager.get_session_state("s")
    whole = log_of(store).read_bytes()
    await manager.create_checkpoint("s", "cut off")
    torn = log_of(store).read_bytes()[: len(whole) + 20]
    shutil.rmtree(store.base_path / "sessions" / "s" / "snapshots", ignore_errors=True)
    await store.close()
    (store.base_path / "index.sqlite3").unlink()
    log_of(store).write_bytes(torn)
    manager = await reopened(store)
    assert await manager.get_session_state("s") == before
    with caplog.at_level(logging.WARNING):
        await manager.create_checkpoint("s", "again")
    assert "20 bytes of an append that was cut off are removed" in caplog.text
    assert (await manager.get_head("s")).last_seq == before.seq + 1
    await manager.close()


async def test_half_an_append_of_several_events_is_not_seen(store):
    manager = await record(store)
    last = (await manager.get_head("s")).last_seq
    events = await store.read_events("s", after=last - 2)
    await store.append("s", [replace(event, seq=0) for event in events])
    data = log_of(store).read_bytes()
    await store.close()
    (store.base_path / "index.sqlite3").unlink()
    log_of(store).write_bytes(data[:-5])
    manager = await reopened(store)
    assert (await manager.get_head("s")).last_seq == last
    await manager.close()


async def test_zeros_that_a_crash_left_behind_the_log_are_no_damage(store):
    manager = await record(store)
    before = await manager.get_session_state("s")
    with log_of(store).open("ab") as file:
        file.write(b"\0" * 4096)
    manager = await reopened(store)
    assert await manager.get_session_state("s") == before
    await manager.create_checkpoint("s", "goes on")
    assert (await manager.get_head("s")).last_seq == before.seq + 1
    await manager.close()


async def test_a_log_that_is_shorter_than_what_was_acknowledged_is_damage(store):
    await record(store)
    data = log_of(store).read_bytes()
    await store.close()
    store.framing = None
    framing = JsonLines() if data[:4] != b"ev1\n" else BinaryFrames()
    end = framing.end(data, 0)
    log_of(store).write_bytes(data[:end])
    manager = StateManager(FileStorageBackend(store.base_path))
    with pytest.raises(DamagedError, match="were acknowledged"):
        await manager.get_session_state("s")
    await manager.close()


@pytest.mark.parametrize("place", [0.02, 0.3, 0.7, 0.97])
async def test_a_flipped_byte_is_reported_with_its_event(store, place):
    await record(store)
    data = bytearray(log_of(store).read_bytes())
    data[int(len(data) * place)] ^= 0x41
    await store.close()
    log_of(store).write_bytes(bytes(data))
    manager = StateManager(FileStorageBackend(store.base_path))
    with pytest.raises(DamagedError, match=r"event \d+"):
        await manager.get_session_state("s")
    await manager.close()


async def test_a_lost_index_is_made_anew_from_the_logs(store):
    manager = await record(store)
    await record(store, "t", 1)
    heads = await store.heads(HeadQuery(sort="session_id"))
    checkpoints = await store.checkpoints("s")
    await store.close()
    for path in store.base_path.glob("index.sqlite3*"):
        path.unlink()
    manager = await reopened(store)
    assert [
        replace(head, agents=[]) for head in await manager.storage.heads(HeadQuery(sort="session_id"))
    ] == heads
    assert await manager.storage.checkpoints("s") == checkpoints
    await manager.close()


@pytest.mark.parametrize("spoil", ["all of it", "its pages"])
async def test_a_damaged_index_is_made_anew_from_the_logs(store, caplog, spoil):
    manager = await record(store)
    before = await manager.get_session_state("s")
    await store.close()
    index = store.base_path / "index.sqlite3"
    kept = 0 if spoil == "all of it" else 1024
    index.write_bytes(index.read_bytes()[:kept].ljust(index.stat().st_size, b"\xff"))
    with pytest.raises(StorageUnavailable, match="made anew from the logs; try again"):
        await store.heads(HeadQuery())
    assert "damaged" in caplog.text
    assert [head.session_id for head in await store.heads(HeadQuery())] == ["s"]
    assert await manager.get_session_state("s") == before
    assert (store.base_path / "index.sqlite3.damaged").exists()


async def test_a_folder_that_is_away_is_no_deleted_session(store):
    manager = await record(store)
    before = await manager.get_session_state("s")
    folder, away = store.base_path, store.base_path.with_name("away")
    folder.rename(away)
    for ask in (store.head, store.read_events, partial(store.acquire, owner="anybody", ttl=9)):
        with pytest.raises(StorageUnavailable, match=f"{folder} cannot be used: "):
            await ask("s")
    away.rename(folder)
    assert await manager.get_session_state("s") == before


async def test_a_session_that_was_copied_in_is_found(store):
    await record(store)
    await store.close()
    sessions = store.base_path / "sessions"
    other = FileStorageBackend(store.base_path / "other")
    await record(other, "copied")
    await other.close()
    shutil.copytree(store.base_path / "other" / "sessions" / "copied", sessions / "copied")
    manager = StateManager(FileStorageBackend(store.base_path))
    assert {head.session_id for head in await manager.list_sessions()} == {"s", "copied"}
    await manager.close()


async def test_what_else_lies_in_the_folder_is_passed_over(store):
    await record(store)
    await store.close()
    sessions = store.base_path / "sessions"
    (sessions / ".DS_Store").write_bytes(b"")
    (sessions / "not an id").mkdir()
    (sessions / "empty").mkdir()
    (store.base_path / "index.sqlite3").unlink()
    manager = StateManager(FileStorageBackend(store.base_path))
    assert [head.session_id for head in await manager.list_sessions()] == ["s"]
    await manager.create_session("empty")
    assert (await manager.get_head("empty")).last_seq == 1
    await manager.close()


async def test_a_log_goes_on_in_the_form_it_was_begun_in(tmp_path):
    first = FileStorageBackend(tmp_path, use_json=False)
    await record(first)
    await first.close()
    second = FileStorageBackend(tmp_path, use_json=True)
    manager = StateManager(second)
    await manager.create_checkpoint("s", "later")
    assert (await manager.get_session_state("s")).total_steps == 3
    await manager.close()


async def test_a_session_made_anew_by_another_process_is_not_taken_for_the_old_one(store):
    await record(store, steps=5)
    other = FileStorageBackend(store.base_path)
    await other.delete("s")
    await record(other, steps=1)
    assert (await StateManager(store).get_session_state("s")).total_steps == 1
    await other.close()


async def test_an_id_cannot_lead_out_of_the_folder(store):
    with pytest.raises(InvalidId):
        await store.read_events("../../x")
    with pytest.raises(InvalidId):
        await StateManager(store).create_session("../escape")


async def test_a_missing_folder_is_named_unless_it_may_be_made(tmp_path):
    store = FileStorageBackend(tmp_path / "none", create_dirs=False)
    with pytest.raises(StorageUnavailable, match="Create it, or pass create_dirs=True"):
        await store.heads(HeadQuery())
    await store.close()


def test_a_file_extension_that_is_none_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="such as '.state'"):
        FileStorageBackend(tmp_path, file_extension="state")


async def test_a_full_disk_loses_nothing_and_says_so(store, monkeypatch):
    manager = await record(store)
    before = await manager.get_session_state("s")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fdatasync", full)
    with pytest.raises(StorageError, match="full; nothing was written"):
        await manager.create_checkpoint("s", "no room")
    monkeypatch.undo()
    assert await manager.get_session_state("s") == before
    await manager.create_checkpoint("s", "room again")


async def test_a_network_file_system_is_reported(store, monkeypatch):
    assert await store.check() == []
    monkeypatch.setattr(file_module, "kind_of_file_system", lambda path: "nfs4")
    assert "network file system (nfs4)" in (await store.check())[0]


async def test_another_process_writes_and_this_one_is_woken(store):
    await record(store)
    woken = asyncio.create_task(anext(store.wakeups()))
    script = (
        "import asyncio, sys\n"
        "from state_core import StateManager\n"
        "from state_core.storage.file import FileStorageBackend\n"
        "manager = StateManager(FileStorageBackend(sys.argv[1]))\n"
        "async def main():\n"
        "    await manager.create_checkpoint('s', 'from elsewhere')\n"
        "    await manager.close()\n"
        "asyncio.run(main())\n"
    )
    while not woken.done():
        await asyncio.to_thread(subprocess.run, [sys.executable, "-c", script, store.base_path], check=True)
    assert await woken == "s"


async def test_deleting_leaves_nothing_behind(store):
    manager = await record(store)
    await manager.delete_session("s")
    assert list((store.base_path / "sessions").iterdir()) == []
    with pytest.raises(SessionNotFound):
        await manager.get_head("s")


frames = st.builds(
    lambda seq, left, actor, data, body: Frame(
        __import__("state_core.events", fromlist=["x"]).EventRecord(
            kind="context.changed", seq=seq, actor=actor, data=data, body=body, encoding="j1"
        ),
        left,
    ),
    st.integers(1, 10**6),
    st.integers(0, 9),
    st.text(max_size=10).filter(lambda t: "\0" not in t and t.encode("utf-8", "ignore").decode() == t),
    st.dictionaries(st.sampled_from(["name", "reason"]), st.text("abc\n\u2028", max_size=5)),
    st.binary(max_size=60),
)


@pytest.mark.parametrize("framing", [JsonLines(), BinaryFrames()], ids=["json", "binary"])
@given(frame=frames)
@settings(max_examples=100)
def test_any_frame_comes_back_from_its_bytes(framing, frame):
    data = framing.pack(frame)
    assert framing.end(data + b"more", 0) == len(data)
    assert framing.unpack(data) == frame
    assert framing.place(data) == (frame.record.seq, frame.left)


async def test_stores_that_know_a_head_see_each_others_appends_and_leases(tmp_path):
    one, other = FileStorageBackend(tmp_path), FileStorageBackend(tmp_path)
    await one.append("s", [EventRecord(kind=EventKind.SESSION_CREATED)])
    for turn, (store, neighbour) in enumerate([(one, other), (other, one)] * 3):
        lease = await store.acquire("s", f"owner{turn}", 60)
        seq = await store.append("s", [EventRecord(kind=EventKind.MESSAGE_ADDED)], fence=lease.fence)
        assert (await neighbour.head("s")).counts["messages"] == turn + 1
        with pytest.raises(LeaseLost):
            await neighbour.append("s", [EventRecord(kind=EventKind.MESSAGE_ADDED)], fence=lease.fence - 1)
        assert await neighbour.append("s", [EventRecord(kind=EventKind.CONTEXT_CHANGED)]) == seq + 1
        await store.release("s", lease.fence)
    await one.close()
    await other.close()


async def test_an_index_of_an_earlier_version_learns_how_long_sessions_took(store):
    await record(store)
    await store.close()
    with sqlite3.connect(store.base_path / "index.sqlite3") as index:
        index.execute("DROP INDEX head_took")
        index.execute("ALTER TABLE head DROP COLUMN took")
    index.close()
    manager = await reopened(store)
    head = await manager.get_head("s")
    query = HeadQuery(sort="-duration")
    assert [query.sort_value(found) for found in await manager.storage.heads(query)] == [
        query.sort_value(head)
    ]
    with sqlite3.connect(store.base_path / "index.sqlite3") as index:
        assert index.execute("SELECT took FROM head").fetchall() == [(query.sort_value(head),)]
    index.close()
    await manager.close()


async def test_an_index_of_an_earlier_version_learns_who_has_worked(store):
    manager = StateManager(store)
    for session_id, agents in (("s", ["B", "A"]), ("t", ["A"]), ("u", [])):
        async with manager.session(session_id) as session:
            branch = await session.open_branch("b")
            for agent in agents:
                async with branch.step(agent):
                    pass
    await manager.close()
    with sqlite3.connect(store.base_path / "index.sqlite3") as index:
        index.execute("ALTER TABLE head DROP COLUMN worked")
        index.execute("UPDATE head SET head = json_remove(head, '$.worked')")
    index.close()
    manager = await reopened(store)
    await manager.log.append("u", [Event(kind=EventKind.STEP_STARTED, branch_id="b", agent="C")])
    assert (await manager.get_head("t")).worked == ["A"]
    found = await manager.storage.heads(HeadQuery(agent="A", sort="session_id"))
    assert [(head.session_id, head.worked) for head in found] == [("s", ["B", "A"]), ("t", ["A"])]
    assert sum((await manager.storage.count_by_status(HeadQuery(agent="C"))).values()) == 1
    await manager.close()


async def test_checkpoints_that_an_earlier_version_indexed_are_still_read(store):
    manager = await record(store)
    made = await manager.list_checkpoints("s")
    with sqlite3.connect(store.base_path / "index.sqlite3") as index:
        rows = [(orjson.dumps(checkpoint).decode(), checkpoint.id) for checkpoint in made]
        index.executemany("UPDATE checkpoint SET checkpoint = ? WHERE id = ?", rows)
    index.close()
    assert made
    assert await manager.list_checkpoints("s") == made
    assert [await manager.get_checkpoint(checkpoint.id) for checkpoint in made] == made
