"""What earlier versions wrote is read by this one."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

import pytest

from state_core import DatabaseStorageBackend, FileStorageBackend, HeadQuery, SessionStatus, StateManager
from state_core.copying import CopyOutcome, copy_sessions
from state_core.exceptions import EncryptionKeyError
from state_core.storage import from_url
from tests.stored.sessions import ROTATED
from tests.stored.write import FILES, FRAMES, HERE, RECORDED, SQL, main, recorded, write

VERSIONS = sorted(path.parent for path in HERE.glob(f"*/{RECORDED}"))
IDS = {"compressed", "encrypted", "failed", "forked", "mixed", "pending", "plain"}


@pytest.fixture(params=VERSIONS, ids=lambda path: path.name)
def sample(request):
    """The folder of a version's samples."""
    return request.param


@pytest.fixture(params=[FILES, FRAMES, SQL])
async def store(request, sample, tmp_path, django_db_blocker):
    """A copy of a store that this version wrote."""
    with django_db_blocker.unblock():
        store = opened(sample / request.param, tmp_path / "copy")
        if isinstance(store, DatabaseStorageBackend):
            await store.migrate()
        yield store
        await store.close()


def opened(path: Path, copy: Path):
    if path.is_dir():
        shutil.copytree(path, copy)
        return FileStorageBackend(copy)
    with closing(sqlite3.connect(copy)) as connection:
        connection.executescript(path.read_text("utf-8"))
    return from_url(f"sqlite:///{copy}")


@pytest.fixture
def manager(store):
    return StateManager(store, config=ROTATED)


def recorded_in(sample):
    return json.loads((sample / RECORDED).read_text("utf-8"))


def assert_holds(found, kept):
    """A later version may know more of a thing than was recorded of it."""
    assert {name: found[name] for name in kept} == kept


async def assert_reads_as_recorded(store, kept):
    found = await recorded(store)
    assert found.keys() == kept.keys()
    for session_id, session in kept.items():
        assert_holds(found[session_id]["head"], session["head"])
        assert found[session_id]["encodings"] == session["encodings"]
        assert found[session_id]["states"].keys() == session["states"].keys()
        for seq, state in session["states"].items():
            assert_holds(found[session_id]["states"][seq], state)
        places = found[session_id]["checkpoints"]
        for place, checkpoint in zip(places, session["checkpoints"], strict=True):
            assert_holds(place, checkpoint)


def test_this_version_has_samples():
    assert version("marsys-dashboard") in [path.name for path in VERSIONS]


def test_samples_hold_what_they_are_kept_for(sample):
    kept = recorded_in(sample)
    assert kept.keys() >= IDS
    encodings = {encoding for session in kept.values() for encoding in session["encodings"]}
    assert {"j1", "j1+z"} <= encodings
    assert sum(encoding.startswith("j1+e:") for encoding in encodings) == 2
    assert sum(encoding.startswith("j1+z+e:") for encoding in encodings) == 2
    whole = kept["encrypted"]
    assert whole["head"]["counts"]["restores"] == 1
    assert {place["kind"] for place in whole["checkpoints"]} == {"manual", "pre_restore"}
    assert {"Zoë"} == {q["answered_by"] for s in whole["states"].values() for q in s["questions"].values()}
    assert kept["forked"]["head"]["origin"].startswith("compressed@")
    assert {session["head"]["status"] for session in kept.values()} >= {"completed", "failed", "paused"}


async def test_states_heads_and_checkpoints_are_as_recorded(store, sample):
    await assert_reads_as_recorded(store, recorded_in(sample))


async def test_snapshots_are_read(store, manager, sample):
    for session_id in ("plain", "encrypted"):
        kept = recorded_in(sample)[session_id]
        seq = kept["checkpoints"][0]["seq"]
        snapshot = await store.snapshot(session_id, at_or_before=10_000)
        assert snapshot.seq == seq
        document = manager.log.codec.open_snapshot(session_id, seq, snapshot.body, snapshot.encoding)
        assert_holds(document, kept["states"][str(seq)])


async def test_without_the_key_it_is_said_which_one_is_missing(store):
    with pytest.raises(EncryptionKeyError, match="keys given: none"):
        await StateManager(store).get_session_state("encrypted")


async def test_sessions_go_on(manager):
    async with manager.session("pending") as session:
        await session.set_context(found=1)
    assert (await manager.get_session_state("pending")).context == {"topic": "tides", "found": 1}
    async with manager.session("forked") as session:
        branch = await session.open_branch("a")
        async with branch.step("First") as step:
            assert step.done
    undo = (await manager.list_checkpoints("encrypted"))[-1]
    assert undo.kind == "pre_restore"
    state = await manager.restore_checkpoint(undo.id)
    assert state.status == SessionStatus.PAUSED
    assert [question.answer for question in state.questions] == ["yes"]


async def test_they_are_found_by_who_has_worked_in_them(store):
    begun = {}
    for session_id in IDS:
        events = await store.read_events(session_id, kinds=["step.started"], bodies=False)
        begun[session_id] = list(dict.fromkeys(event.agent for event in events))
    assert {tuple(agents) for agents in begun.values()} > {()}
    assert {head.session_id: head.worked for head in await store.heads(HeadQuery())} == begun
    for agent in {agent for agents in begun.values() for agent in agents}:
        found = {head.session_id for head in await store.heads(HeadQuery(agent=agent))}
        assert found == {session_id for session_id, agents in begun.items() if agent in agents}


async def test_fences_go_on_rising(sample, tmp_path):
    store = opened(sample / FILES, tmp_path / "copy")
    kept = await store.head("plain")
    assert kept.fence > 0
    assert (await store.acquire("plain", "somebody", 10)).fence == kept.fence + 1
    await store.close()


async def test_sessions_are_copied_to_a_new_store(store, memory_store, sample):
    results = await copy_sessions(store, memory_store)
    assert {result.outcome for result in results} == {CopyOutcome.COPIED}
    await assert_reads_as_recorded(memory_store, recorded_in(sample))


@pytest.mark.parametrize("name", [FILES, FRAMES, SQL])
async def test_what_this_version_would_keep_is_read_as_recorded(name, tmp_path, django_db_blocker):
    with django_db_blocker.unblock():
        await write(tmp_path)
        store = opened(tmp_path / name, tmp_path / "copy")
        await assert_reads_as_recorded(store, recorded_in(tmp_path))
        await store.close()


def test_samples_are_never_written_over():
    before = (HERE / version("marsys-dashboard") / RECORDED).read_bytes()
    with pytest.raises(SystemExit, match="never written again"):
        main()
    assert (HERE / version("marsys-dashboard") / RECORDED).read_bytes() == before
