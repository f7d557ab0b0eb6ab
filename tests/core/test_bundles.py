"""A session as one file, and out of it again, on every store."""

from __future__ import annotations

import gzip
import io
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from state_core import HeadQuery, StateManager, StorageBackend, new_encryption_key
from state_core.bundles import ENDS_HERE, read_bundle, write_bundle
from state_core.exceptions import EncryptionKeyError, InvalidValue, SessionExists, TransitionError
from state_core.storage.file import FileStorageBackend
from state_core.storage.memory import MemoryStorageBackend
from tests.core.test_compaction import work

SECRET = "sk-" + "a1B2" * 8


async def bundle_of(manager: StateManager, session_id: str = "s", **options: Any) -> bytes:
    file = io.BytesIO()
    await write_bundle(manager, session_id, file, **options)
    return file.getvalue()


async def test_a_session_is_the_same_out_of_its_bundle_and_takes_no_commands(storage: StorageBackend) -> None:
    manager, elsewhere = StateManager(MemoryStorageBackend()), StateManager(storage)
    await work(manager, steps=5)
    await manager.create_checkpoint("s", "here")
    await work(manager, steps=2)
    assert await read_bundle(elsewhere, io.BytesIO(await bundle_of(manager))) == "s"
    assert await elsewhere.get_session_state("s") == await manager.get_session_state("s")
    assert [head.worked for head in await storage.heads(HeadQuery(agent="Agent"))] == [["Agent"]]
    here, there = [(await each.list_checkpoints("s"))[0] for each in (manager, elsewhere)]
    assert there == here
    assert await elsewhere.get_checkpoint_state(there.id) == await manager.get_checkpoint_state(here.id)
    with pytest.raises(TransitionError):
        await elsewhere.resume_execution("s")


async def test_a_compacted_session_keeps_its_numbers(storage: StorageBackend) -> None:
    manager, elsewhere = StateManager(storage), StateManager(MemoryStorageBackend())
    await work(manager)
    await manager.compact_session("s")
    await read_bundle(elsewhere, io.BytesIO(await bundle_of(manager)), session_id="copy")
    assert (await elsewhere.get_head("copy")).first_seq == (await manager.get_head("s")).first_seq
    assert (await elsewhere.get_session_state("copy")).context == (
        await manager.get_session_state("s")
    ).context


async def test_secrets_are_masked_by_name_and_by_shape_unless_they_are_asked_for() -> None:
    manager = StateManager(MemoryStorageBackend())
    async with manager.session("s", context={"api_key": "hunter2", "tokens": 7}) as session:
        branch = await session.open_branch("b")
        async with branch.step("Agent", {"password": "swordfish", "text": f"use {SECRET}"}) as step:
            step.output = "done"
    masked = gzip.decompress(await bundle_of(manager)).decode()
    for secret in ("hunter2", "swordfish", SECRET):
        assert secret not in masked
    assert '"tokens"' in masked
    assert SECRET in gzip.decompress(await bundle_of(manager, redact=None)).decode()


async def test_what_was_at_work_is_interrupted_where_the_bundle_ends() -> None:
    manager, elsewhere = StateManager(MemoryStorageBackend()), StateManager(MemoryStorageBackend())
    async with manager.session("s"):
        bundle = await bundle_of(manager)
    await read_bundle(elsewhere, io.BytesIO(bundle))
    head = await elsewhere.get_head("s")
    assert (head.status, head.reason) == ("interrupted", ENDS_HERE)


async def test_a_bundle_of_an_encrypted_session_needs_the_key() -> None:
    store, key = MemoryStorageBackend(), new_encryption_key()
    await work(StateManager(store, encryption_key=key), steps=2)
    with pytest.raises(EncryptionKeyError):
        await bundle_of(StateManager(store))
    assert b"tides" in gzip.decompress(await bundle_of(StateManager(store, encryption_key=key)))


async def test_what_does_not_fit_is_refused_in_words() -> None:
    manager = StateManager(MemoryStorageBackend())
    await work(manager, steps=1)
    await manager.create_checkpoint("s", "here")
    bundle = await bundle_of(manager)
    for wrong in (b"", b"no gzip", gzip.compress(b"{}\n"), gzip.compress(b'{"bundle": 9}\n')):
        with pytest.raises(InvalidValue, match="bundle"):
            await read_bundle(manager, io.BytesIO(wrong))
    with pytest.raises(InvalidValue, match="another store"):
        await read_bundle(manager, io.BytesIO(bundle), session_id="twin")
    elsewhere = StateManager(MemoryStorageBackend())
    await read_bundle(elsewhere, io.BytesIO(bundle))
    with pytest.raises((SessionExists, InvalidValue)):
        await read_bundle(elsewhere, io.BytesIO(bundle))


@pytest.mark.django_db(transaction=True)
def test_the_commands_write_a_file_and_read_it(tmp_path: Any, settings: Any) -> None:
    settings.STATE_STORES = {
        "default": {"URL": f"file:{tmp_path}/one"},
        "other": {"URL": f"file:{tmp_path}/two"},
    }
    manager = StateManager(FileStorageBackend(tmp_path / "one"))
    manager.sync.create_session("s", context={"topic": "tides"})
    file = str(tmp_path / "s.jsonl.gz")
    call_command("export_session", "s", file)
    call_command("import_session", file, "--store", "other")
    other = StateManager(FileStorageBackend(tmp_path / "two"))
    assert other.sync.get_session_state("s").context == {"topic": "tides"}
    with pytest.raises(CommandError, match="cannot be written"):
        call_command("export_session", "s", file)
    with pytest.raises(CommandError, match="There is no session"):
        call_command("export_session", "nobody", f"{file}.2")
    manager.sync.close()
    other.sync.close()
