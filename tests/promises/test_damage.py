"""Whatever is done to stored bytes: an error that names what is damaged, or the right state. Never another
state, and never "not found"."""

from __future__ import annotations

import random
from copy import deepcopy
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from state_core import Message, SessionState, StateManager
from state_core.exceptions import DamagedError
from state_core.storage.file import FileStorageBackend
from state_core.storage.filelog import BinaryFrames, JsonLines
from tests.promises.kill_driver import open_store
from tests.promises.shelves import KEYS, RedisShelf, SqlShelf

STEPS = 6


@dataclass
class Written:
    present: SessionState
    checkpoints: dict[str, SessionState]


async def write(manager: StateManager, *, rewritten: bool = False) -> Written:
    """A session with all that matters: steps, messages, checkpoints, and a restore."""
    async with manager.session("s", context={"number": 0}, on_pause="raise") as session:
        branch = await session.open_branch("work")
        for number in range(STEPS):
            async with branch.step("A", f"question {number}") as step:
                step.output = "word " * 100 if number == 2 else number
            await branch.add_message("user", f"text {number}")
            await session.set_context({"number": number})
            if number == 3:
                checkpoint = await session.checkpoint("first")
        await session.request_pause()
        await session.pause_point()
    await manager.create_checkpoint("s", "second")
    await manager.restore_checkpoint(checkpoint)
    async with manager.session("s") as session:
        async with session.branch("work").step("B") as step:
            step.output = "after the restore"
            step.messages = [Message("user", "the end")]
    places = await manager.list_checkpoints("s")
    states = {place.id: await manager.get_checkpoint_state(place.id) for place in places}
    if rewritten:
        await compact_and_rewrite(manager)
    return Written(await manager.get_session_state("s"), states)


async def compact_and_rewrite(manager: StateManager) -> None:
    """The log begins at its first checkpoint then, and every other event of it is not the one appended."""
    assert (await manager.compact_session("s")).events
    records = await manager.storage.read_events("s")
    await manager.storage.rewrite("s", [manager.log.codec.reseal("s", record) for record in records[::2]])


async def reads_right_or_not_at_all(make_store, written: Written) -> int:
    """How often it was told that something is damaged."""
    manager, told = StateManager(make_store()), 0
    try:
        told += not await is_right_or_damaged(manager.get_session_state("s"), written.present)
        for checkpoint_id, expected in written.checkpoints.items():
            reading = manager.get_checkpoint_state(checkpoint_id)
            told += not await is_right_or_damaged(reading, expected)
    finally:
        await manager.close()
    return told


async def is_right_or_damaged(reading, expected: Any) -> bool:
    try:
        found = await reading
    except DamagedError as error:
        assert error.session_id == "s"
        assert error.what
        return False
    assert without_names(found) == without_names(expected)
    return True


def without_names(state: SessionState) -> SessionState:
    """Checkpoints are names for places; what one leads to is looked at when it is used."""
    return replace(state, checkpoints=[], checkpoint_ids=[])


# Records of databases and of Redis


@pytest.fixture(params=["sqlite-rewritten", "postgres", "redis", "redis-rewritten"])
def kind(request):
    return request.param.split("-")


@pytest.fixture
def shelved(request, kind):
    """What makes the store, and its shelf."""
    url, prefix = request.getfixturevalue(f"{kind[0]}_place")
    shelf = RedisShelf(url, prefix, "s") if kind[0] == "redis" else SqlShelf(url)
    return (lambda: open_store(url, prefix)), shelf


@pytest.fixture
async def written(shelved, kind):
    manager = StateManager(shelved[0]())
    yield await write(manager, rewritten="rewritten" in kind)
    await manager.close()


def spoiled(value: Any, chance: random.Random) -> list[Any]:
    """What this might become."""
    if isinstance(value, bytes):
        return [flipped(value, chance), value[: len(value) // 2], b"", value + b"\0"]
    if isinstance(value, str):
        middle = len(value) // 2
        return [value[:middle], value + "x", value[:middle] + "~" + value[middle + 1 :]]
    if isinstance(value, datetime):
        return [value + timedelta(microseconds=1)]
    if value is None:
        return [0.5]
    return [value + 1, -value - 1]


def flipped(value: bytes, chance: random.Random) -> bytes:
    if not value:
        return b"\x01"
    place, bit = chance.randrange(len(value)), 1 << chance.randrange(8)
    return value[:place] + bytes([value[place] ^ bit]) + value[place + 1 :]


def hidden(entry) -> set[str]:
    """Of a log's first event in Redis, what stands behind what it was compacted to."""
    is_compacted = entry.get("rewritten", b"").startswith(b"{")
    return {"kind", "branch", "header"} if is_compacted else set()


async def test_a_spoiled_field_of_any_event_is_told(shelved, written):
    make_store, shelf = shelved
    entries, chance = shelf.take(), random.Random(1)
    for name in sorted(entries[0].keys() - KEYS):
        having = [n for n, entry in enumerate(entries) if name in entry and name not in hidden(entry)]
        for index in chance.sample(having, 3):
            before = entries[index][name]
            same = {before, b""} if name == "rewritten" else {before}  # here the encoding is what it was
            for value in (value for value in spoiled(before, chance) if value not in same):
                damaged = deepcopy(entries)
                damaged[index][name] = value
                shelf.put(damaged)
                assert await reads_right_or_not_at_all(make_store, written), (name, index, value)


def content(entry):
    return {name: value for name, value in entry.items() if name not in KEYS}


def swapped(entries, one, other):
    entries[one], entries[other] = (
        {**entries[one], **content(entries[other])},
        {**entries[other], **content(entries[one])},
    )


def written_twice(entries, one, other):
    entries[other] = {**entries[other], **content(entries[one])}


def deleted(entries, one, other):
    del entries[one]


def cut_off(entries, one, other):
    del entries[min(one, other) :]


@pytest.mark.parametrize("damage", [swapped, written_twice, deleted, cut_off])
async def test_events_that_are_in_another_place_are_told(damage, shelved, written):
    make_store, shelf = shelved
    entries, chance = shelf.take(), random.Random(2)
    for one in chance.sample(range(len(entries)), 10):
        damaged = deepcopy(entries)
        other = chance.choice([n for n in range(len(entries)) if n != one])
        damage(damaged, one, other)
        shelf.put(damaged)
        assert await reads_right_or_not_at_all(make_store, written), (one, other)


async def test_events_beyond_what_was_acknowledged_change_nothing(shelved, written):
    make_store, shelf = shelved
    entries = shelf.take()
    extra = {**entries[5], "seq": entries[-1]["seq"] + 1, **({"id": 10**6} if "id" in entries[5] else {})}
    shelf.put([*entries, extra])
    await reads_right_or_not_at_all(make_store, written)


async def test_a_checkpoint_whose_place_is_spoiled_is_told(shelved, written):
    make_store, shelf = shelved
    entries = shelf.take("checkpoint")
    for index, entry in enumerate(entries):
        for change in (-3, -1, 1, 100):
            damaged = deepcopy(entries)
            if "content" in entry:
                seq, _, rest = entry["content"].partition(b" ")
                damaged[index]["content"] = b"%d %s" % (int(seq) + change, rest)
            else:
                damaged[index]["seq"] += change
            shelf.put(damaged, "checkpoint")
            assert await reads_right_or_not_at_all(make_store, written), change


async def test_a_spoiled_checkpoint_is_told(shelved, written):
    make_store, shelf = shelved
    entries, chance = shelf.take("checkpoint"), random.Random(3)
    names = {"content", "kind", "counts", "created_at", "size_bytes", "pinned"}
    for index, entry in enumerate(entries):
        for name in names & entry.keys():
            for value in spoiled(entry[name], chance):
                damaged = deepcopy(entries)
                damaged[index][name] = value if name != "pinned" else not entry[name]
                shelf.put(damaged, "checkpoint")
                await reads_right_or_not_at_all(make_store, written)


async def test_a_spoiled_snapshot_never_leads_to_another_state(shelved, written):
    make_store, shelf = shelved
    manager, chance = StateManager(make_store()), random.Random(4)
    manager.log.keep_snapshot(await manager.log.document("s"))
    await manager.log.flush()
    entries = shelf.take("snapshot")
    for name in {"body", "content", "encoding", "seq"} & entries[0].keys():
        for value in spoiled(entries[0][name], chance) * 3:
            shelf.put([{**entries[0], name: value}], "snapshot")
            await reads_right_or_not_at_all(make_store, written)
    await manager.close()


# Bytes of files


@pytest.fixture(params=["lines", "binary", "lines-rewritten"])
def form(request):
    return request.param.split("-")


@pytest.fixture
def make_file_store(form, tmp_path):
    return lambda: FileStorageBackend(tmp_path / "state", use_json=form[0] == "lines")


@pytest.fixture
async def in_files(make_file_store, form):
    manager = StateManager(make_file_store())
    yield await write(manager, rewritten="rewritten" in form)
    await manager.close()


@pytest.fixture
def log_path(tmp_path) -> Path:
    return tmp_path / "state" / "sessions" / "s" / "log.state"


def frames(data: bytes) -> list[bytes]:
    framing, found, start = (BinaryFrames() if data.startswith(b"ev1") else JsonLines()), [], 0
    while start < len(data):
        end = framing.end(data, start)
        found.append(data[start:end])
        start = end
    return found


async def test_a_flipped_bit_anywhere_in_a_log_is_told(in_files, log_path, make_file_store):
    """Save in a checksum's letters, where an upper-case one means the same, and in a blank."""
    data, chance, told = log_path.read_bytes(), random.Random(5), 0
    for _ in range(100):
        log_path.write_bytes(flipped(data, chance))
        told += bool(await reads_right_or_not_at_all(make_file_store, in_files))
    assert told > 95


async def test_a_log_that_is_cut_anywhere_is_told(in_files, log_path, make_file_store):
    data, chance = log_path.read_bytes(), random.Random(6)
    for length in [0, 1, 9, *(chance.randrange(len(data)) for _ in range(40)), len(data) - 1]:
        log_path.write_bytes(data[:length])
        assert await reads_right_or_not_at_all(make_file_store, in_files)
    log_path.unlink()
    assert await reads_right_or_not_at_all(make_file_store, in_files)


async def test_a_log_with_anything_behind_it_reads_right(in_files, log_path, make_file_store):
    data, chance = log_path.read_bytes(), random.Random(7)
    for extra in (b"\0" * 4096, b"x", data[:100], data[-60:], chance.randbytes(80)):
        log_path.write_bytes(data + extra)
        await reads_right_or_not_at_all(make_file_store, in_files)


def frame_swapped(pieces, one, other):
    pieces[one], pieces[other] = pieces[other], pieces[one]


def frame_over_another(pieces, one, other):
    pieces[other] = pieces[one]


def frame_twice(pieces, one, other):
    pieces.insert(other, pieces[one])


@pytest.mark.parametrize("damage", [frame_swapped, frame_over_another, frame_twice, deleted])
async def test_frames_that_are_in_another_place_are_told(damage, in_files, log_path, make_file_store):
    pieces, chance = frames(log_path.read_bytes()), random.Random(8)
    for one in range(len(pieces)):
        damaged = list(pieces)
        other = chance.choice([n for n in range(len(pieces)) if n != one])
        damage(damaged, one, other)
        log_path.write_bytes(b"".join(damaged))
        assert await reads_right_or_not_at_all(make_file_store, in_files)


async def test_a_spoiled_snapshot_file_never_leads_to_another_state(in_files, log_path, make_file_store):
    store, chance = make_file_store(), random.Random(9)
    manager = StateManager(store)
    manager.log.keep_snapshot(await manager.log.document("s"))
    await manager.close()
    (path,) = (log_path.parent / "snapshots").iterdir()
    data = path.read_bytes()
    for spoilt in [b"", b"\n", data[:20], *(flipped(data, chance) for _ in range(20))]:
        path.write_bytes(spoilt)
        await reads_right_or_not_at_all(make_file_store, in_files)


async def test_a_spoiled_lease_is_told(in_files, log_path, make_file_store):
    path, chance = log_path.with_name("lease.json"), random.Random(10)
    data = path.read_bytes()
    for spoilt in [b"", b"{}", b"[]", data[:-2], b"null", *(flipped(data, chance) for _ in range(20))]:
        path.write_bytes(spoilt)
        await reads_right_or_not_at_all(make_file_store, in_files)


async def test_a_session_that_is_damaged_leaves_the_others_alone(in_files, log_path, make_file_store):
    manager = StateManager(make_file_store())
    await manager.create_session("other")
    await manager.close()
    log_path.write_bytes(b"rubbish" + log_path.read_bytes())
    manager = StateManager(make_file_store())
    assert {head.session_id for head in await manager.list_sessions()} == {"s", "other"}
    assert (await manager.get_session_state("other")).session_id == "other"
    with pytest.raises(DamagedError, match="'s'"):
        await manager.get_session_state("s")
    await manager.close()
