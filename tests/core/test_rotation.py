"""Key rotation: what is stored goes under another key, while programs go on; and what cannot is told."""

from __future__ import annotations

import asyncio
import io
from dataclasses import replace

import pytest
from django.core.management import CommandError, call_command

from state_core import MemoryStorageBackend, StateManager, StateManagerConfig, new_encryption_key
from state_core.codec import Key, key_of
from state_core.exceptions import ConfigurationError, EncryptionKeyError
from state_core.management.commands import rotate_keys as command
from state_core.storage.base import StorageBackend

OLD, NEW, OTHER = (new_encryption_key() for _ in range(3))


def manager_of(storage: StorageBackend, *keys: str) -> StateManager:
    config = StateManagerConfig(encryption_key=keys or None, cache_enabled=False)
    return StateManager(storage, config=config)


async def write(manager: StateManager, session_id: str, steps: int = 3) -> None:
    """With a snapshot."""
    async with manager.session(session_id, context={"topic": "secret tides"}, on_pause="raise") as session:
        branch = await session.open_branch("a")
        for number in range(steps):
            async with branch.step("Agent", number, step_id=f"{manager.actor}:{number}") as step:
                step.output = "words " * 60
        await session.request_pause()
        await session.pause_point()
    manager.log.keep_snapshot(await manager.log.document(session_id))
    await manager.log.flush()


async def keys_in(storage: StorageBackend, session_id: str) -> set[str]:
    head = await storage.head(session_id)
    kept = await storage.snapshot(session_id, at_or_before=head.last_seq)
    records = await storage.read_events(session_id)
    return {key_of(encoding) for encoding in [*(r.encoding for r in records), kept.encoding if kept else ""]}


async def states(manager: StateManager, *session_ids: str) -> list:
    return [await manager.get_session_state(session_id) for session_id in session_ids]


async def test_everything_goes_under_the_first_key(storage: StorageBackend) -> None:
    await write(manager_of(storage, OLD), "old")
    await write(manager_of(storage), "plain")
    await write(manager_of(storage, NEW, OLD), "new")
    both = manager_of(storage, NEW, OLD)
    before = await states(both, "old", "plain", "new")
    heads = [await storage.head(name) for name in ("old", "plain", "new")]
    report = await both.rotate_keys()
    assert (report.sessions, report.snapshots, report.unreadable) == (2, 2, [])
    assert report.events == heads[0].last_seq + heads[1].last_seq
    assert report.unneeded == [Key(OLD).id]
    assert report.still_used == []
    for name in ("old", "plain", "new"):
        assert await keys_in(storage, name) == {Key(NEW).id}
    assert await states(manager_of(storage, NEW), "old", "plain", "new") == before
    with pytest.raises(EncryptionKeyError):
        await manager_of(storage, OLD).get_session_state("old")
    assert (await both.rotate_keys()).events == 0


async def test_old_and_new_settings_read_what_is_rotated_in_part(storage: StorageBackend) -> None:
    await write(manager_of(storage, OLD), "s", steps=6)
    records = await storage.read_events("s")
    both = manager_of(storage, NEW, OLD)
    before = await both.get_session_state("s")
    codec = both.log.codec
    await storage.rewrite("s", [codec.reseal("s", record) for record in records[::2]])
    assert await both.get_session_state("s") == before
    assert await manager_of(storage, OLD, NEW).get_session_state("s") == before
    report = await both.rotate_keys()
    assert report.events == len(records) // 2
    assert await manager_of(storage, NEW).get_session_state("s") == before


async def test_checkpoints_stay_what_they_were_through_rotation_compaction_and_clean_up(
    storage: StorageBackend,
) -> None:
    old = manager_of(storage, OLD)
    ids = []
    for round_number in range(3):
        old.actor = f"round-{round_number}"
        await write(old, "s")
        ids.append(await old.create_checkpoint("s", "kept"))
    await old.delete_checkpoint(ids[0])
    before = [await old.get_checkpoint_state(i) for i in ids[1:]]
    both = manager_of(storage, NEW, OLD)
    assert (await both.compact_session("s")).events
    assert (await both.rotate_keys()).unneeded == [Key(OLD).id]
    await both.cleanup()
    new = manager_of(storage, NEW)
    assert [await new.get_checkpoint_state(i) for i in ids[1:]] == before
    restored = await new.restore_checkpoint(ids[1])
    assert restored.branches == before[0].branches


async def test_a_dry_run_tells_what_would_be_done(storage: StorageBackend) -> None:
    await write(manager_of(storage, OLD), "old")
    await write(manager_of(storage, OTHER), "other")
    events = (await storage.head("old")).last_seq
    report = await manager_of(storage, NEW, OLD).rotate_keys(dry_run=True)
    assert (report.events, report.snapshots, report.sessions) == (events, 1, 1)
    assert report.in_use == {Key(OLD).id: events + 1, Key(OTHER).id: events + 1}
    assert report.missing == [Key(OTHER).id]
    assert await keys_in(storage, "old") == {Key(OLD).id}


async def test_all_can_be_decrypted(storage: StorageBackend) -> None:
    await write(manager_of(storage, OLD), "s")
    before = await manager_of(storage, OLD).get_session_state("s")
    report = await manager_of(storage, NEW, OLD).rotate_keys(decrypt=True)
    assert report.unneeded == [Key(NEW).id, Key(OLD).id]
    assert await keys_in(storage, "s") == {""}
    assert await manager_of(storage).get_session_state("s") == before


async def test_what_cannot_be_read_is_left_and_told(storage: StorageBackend) -> None:
    await write(manager_of(storage, OLD), "old")
    await write(manager_of(storage, OTHER), "other")
    await write(manager_of(storage, OTHER, OLD), "old")  # the same session goes on under another key
    report = await manager_of(storage, NEW, OLD).rotate_keys()
    assert report.missing == [Key(OTHER).id]
    assert {entry.session_id for entry in report.unreadable} == {"old", "other"}
    assert await keys_in(storage, "other") == {Key(OTHER).id}
    assert Key(OLD).id not in await keys_in(storage, "old")
    assert report.unneeded == [Key(OLD).id]
    finished = await manager_of(storage, NEW, OTHER).rotate_keys()
    assert finished.unneeded == [Key(OTHER).id]
    assert await keys_in(storage, "other") == {Key(NEW).id}


async def test_a_damaged_event_is_left_and_the_rest_is_rotated(storage: StorageBackend) -> None:
    await write(manager_of(storage, OLD), "s")
    (third,) = await storage.read_events("s", after=2, before=4)
    spoiled = third.body[:-1] + bytes([third.body[-1] ^ 1])
    await storage.rewrite("s", [replace(third, body=spoiled)])
    report = await manager_of(storage, NEW, OLD).rotate_keys()
    (entry,) = report.unreadable
    assert "event 3" in entry.why
    assert "damaged" in entry.why
    assert await keys_in(storage, "s") == {Key(OLD).id, Key(NEW).id}
    assert report.unneeded == []


async def test_orchestrators_go_on_meanwhile(storage: StorageBackend, monkeypatch) -> None:
    monkeypatch.setattr(type(storage), "rewrite_bytes", 40_000)  # many batches
    await write(manager_of(storage, OLD), "s", steps=30)
    both = manager_of(storage, NEW, OLD)
    both.actor = "second"
    _, report = await asyncio.gather(write(both, "s", steps=20), manager_of(storage, NEW, OLD).rotate_keys())
    assert not report.unreadable
    again = await both.rotate_keys()
    assert again.events == 0
    state = await manager_of(storage, NEW).get_session_state("s")
    assert [len(branch.steps) for branch in state.branches] == [50]
    assert {step.output for step in state.branches[0].steps} == {"words " * 60}


async def test_a_session_compacted_or_deleted_meanwhile_is_no_trouble(
    storage: StorageBackend, monkeypatch
) -> None:
    monkeypatch.setattr(type(storage), "rewrite_bytes", 40_000)
    old, both = manager_of(storage, OLD, NEW), manager_of(storage, NEW, OLD)
    for name in ("a", "b", "c"):
        await write(old, name, steps=30)

    async def meanwhile() -> None:
        await old.compact_session("a")
        await old.delete_session("b")
        await old.compact_session("c")

    _, report = await asyncio.gather(meanwhile(), both.rotate_keys())
    assert report.unreadable == []
    await both.rotate_keys()
    assert await keys_in(storage, "c") == await keys_in(storage, "a") == {Key(NEW).id}
    assert len(await states(manager_of(storage, NEW), "a", "c")) == 2


async def test_a_program_with_old_settings_that_goes_on_is_told_of(memory_store) -> None:
    old, both = manager_of(memory_store, OLD, NEW), manager_of(memory_store, NEW, OLD)
    await write(old, "s")
    await both.rotate_keys()
    await old.create_checkpoint("s", "under the old key")
    report = await both.rotate_keys(dry_run=True)
    assert (report.events, report.unneeded) == (1, [])


async def test_without_any_key_it_is_said_that_one_is_needed(memory_store) -> None:
    with pytest.raises(ConfigurationError, match="no encryption_key"):
        await manager_of(memory_store).rotate_keys()


async def test_a_snapshot_under_a_key_that_is_gone_costs_only_time(memory_store) -> None:
    await write(manager_of(memory_store, OLD), "s")
    both = manager_of(memory_store, NEW, OLD)
    before = await both.get_session_state("s")
    records = await memory_store.read_events("s")
    await memory_store.rewrite("s", [both.log.codec.reseal("s", record) for record in records])
    assert await manager_of(memory_store, NEW).get_session_state("s") == before


# manage.py rotate_keys


@pytest.fixture
def rotated(monkeypatch, db):
    """Runs the command on a store, with these keys."""
    store = MemoryStorageBackend()
    for name in ("one", "two"):
        asyncio.run(write(manager_of(store, OLD), name))

    def run(*arguments: str, keys=(NEW, OLD), out=None) -> str:
        monkeypatch.setattr(command, "manager", lambda alias, **options: manager_of(store, *keys))
        out = out or io.StringIO()
        try:
            call_command("rotate_keys", *arguments, stdout=out, stderr=out, no_color=True)
        except CommandError as error:
            out.write(f"exit: {error}")
        return out.getvalue()

    run.store = store
    return run


def test_the_command_asks_and_says_which_keys_are_not_needed(rotated, monkeypatch):
    asked = []
    monkeypatch.setattr("builtins.input", lambda question: asked.append(question) or "y")
    out = rotated()
    assert asked == [
        f"Put 22 events and 2 snapshots of 2 sessions under key {Key(NEW).id}? "
        "Programs without this key cannot read it then. [y/N] "
    ]
    assert f"Under key {Key(OLD).id}: 24" in out
    assert f"Put under key {Key(NEW).id}: 22 events and 2 snapshots of 2 sessions." in out
    assert f"Not needed any more: key {Key(OLD).id}." in out
    assert "exit" not in out
    assert f"All is under key {Key(NEW).id} already." in rotated("--yes")


@pytest.mark.parametrize("answer", ["n", "", "no"])
def test_the_command_takes_no_for_an_answer(rotated, monkeypatch, answer):
    monkeypatch.setattr("builtins.input", lambda question: answer)
    assert "Nothing was changed." in rotated()
    assert asyncio.run(keys_in(rotated.store, "one")) == {Key(OLD).id}


def test_a_dry_run_of_the_command_changes_nothing(rotated):
    out = rotated("--dry-run")
    assert f"To put under key {Key(NEW).id}: 22 events and 2 snapshots of 2 sessions." in out
    assert asyncio.run(keys_in(rotated.store, "two")) == {Key(OLD).id}


def test_the_command_takes_one_session(rotated):
    out = rotated("--yes", "--session", "two")
    assert "11 events and 1 snapshot of 1 session." in out
    assert "Not needed" not in out
    assert asyncio.run(keys_in(rotated.store, "one")) == {Key(OLD).id}


def test_the_command_decrypts_where_that_is_asked_for(rotated, monkeypatch):
    asked = []
    monkeypatch.setattr("builtins.input", lambda question: asked.append(question) or "yes")
    assert "Put under no key: 22 events" in rotated("--decrypt")
    assert "Whoever can read the store can read all of it then." in asked[0]
    assert asyncio.run(keys_in(rotated.store, "one")) == {""}


def test_the_command_says_which_key_is_missing_and_fails(rotated):
    out = rotated("--yes", keys=(NEW,))
    assert f"one: 12 of its events and snapshots left: it is encrypted with key {Key(OLD).id}" in out
    assert f"exit: Some of it cannot be read without key {Key(OLD).id}. Add that key" in out


def test_the_command_says_where_no_key_is_given(rotated):
    assert "exit: There is no encryption_key" in rotated("--yes", keys=())


def test_the_command_draws_its_progress_on_a_terminal(rotated):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    assert "100%  session 2 of 2: two, event 11 of 11" in rotated("--yes", out=Terminal())


def test_nobody_can_be_asked(rotated, monkeypatch):
    def nobody(question):
        raise EOFError

    monkeypatch.setattr("builtins.input", nobody)
    assert "exit: Nobody is there to be asked; pass --yes" in rotated()


def test_who_is_asked_can_end_the_command_at_once(rotated, ctrl_c_at_the_question):
    assert "exit: Nothing was changed." in rotated()
    assert asyncio.run(keys_in(rotated.store, "one")) == {Key(OLD).id}
