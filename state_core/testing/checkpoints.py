"""Checkpoints and snapshots."""

from __future__ import annotations

from dataclasses import replace

import pytest

from state_core.events import EventKind
from state_core.exceptions import (
    CheckpointNotFound,
)
from state_core.heads import checkpoint_change
from state_core.records import CheckpointKind
from state_core.storage.base import Snapshot, StorageBackend
from state_core.testing.records import (
    create,
    message,
    named_checkpoint,
    numbers,
    record,
)


class CheckpointContract:
    """Checkpoints, snapshots, leases, deletion, and the whole."""

    async def test_a_checkpoint_is_a_place_in_the_log(self, storage: StorageBackend) -> None:
        data = {"id": "c", "name": "Näme", "size": 7, "kind": "auto", "reason": "why", "counts": {"steps": 2}}
        await create(storage, "s")
        created = record(EventKind.CHECKPOINT_CREATED, 5, actor="ann", data=data)
        await storage.append("s", [message(), created, message()])
        place = await storage.checkpoint("c")
        assert (place.session_id, place.name, place.seq, place.size_bytes) == ("s", "Näme", 3, 7)
        assert (place.kind, place.actor, place.reason, place.pinned) == (
            CheckpointKind.AUTO,
            "ann",
            "why",
            False,
        )
        assert (place.created_at, place.counts) == (created.at, {"steps": 2})
        assert [place] == await storage.checkpoints("s")
        assert checkpoint_change("s", [replace(created, seq=3)]).added == [(0, place)]

    async def test_checkpoints_come_oldest_first(self, storage: StorageBackend) -> None:
        await create(storage, "s")
        await create(storage, "t")
        for session_id, ids in (("s", "cab"), ("t", "x"), ("s", "0")):
            await storage.append(session_id, [named_checkpoint(i) for i in ids])
        assert [(c.id, c.seq) for c in await storage.checkpoints("s")] == [
            ("c", 2),
            ("a", 3),
            ("b", 4),
            ("0", 5),
        ]
        assert [c.id for c in await storage.checkpoints("t")] == ["x"]
        assert await storage.checkpoints("nobody") == []

    async def test_a_session_may_begin_with_a_checkpoint(self, storage: StorageBackend) -> None:
        await storage.append("s", [record(EventKind.SESSION_CREATED), named_checkpoint("c")])
        assert (await storage.checkpoint("c")).seq == 2

    async def test_checkpoints_are_renamed_pinned_and_deleted(self, storage: StorageBackend) -> None:
        await create(storage, "s")
        await storage.append("s", [named_checkpoint("a"), named_checkpoint("b"), named_checkpoint("c")])
        await storage.append("s", [record(EventKind.CHECKPOINT_RENAMED, data={"id": "a", "name": "new"})])
        await storage.append("s", [record(EventKind.CHECKPOINT_PINNED, data={"id": "b", "pinned": True})])
        await storage.append("s", [record(EventKind.CHECKPOINT_DELETED, data={"ids": ["c"]})])
        assert [(c.id, c.name, c.pinned) for c in await storage.checkpoints("s")] == [
            ("a", "new", False),
            ("b", "b", True),
        ]
        await storage.append("s", [record(EventKind.CHECKPOINT_PINNED, data={"id": "b", "pinned": False})])
        assert not (await storage.checkpoint("b")).pinned
        with pytest.raises(CheckpointNotFound):
            await storage.checkpoint("c")
        assert (await storage.head("s")).counts["checkpoints"] == 2

    async def test_one_append_may_add_and_change_checkpoints(self, storage: StorageBackend) -> None:
        await create(storage, "s")
        await storage.append("s", [named_checkpoint("a")])
        events = [
            named_checkpoint("b"),
            record(EventKind.CHECKPOINT_RENAMED, data={"id": "b", "name": "B"}),
            record(EventKind.CHECKPOINT_DELETED, data={"ids": ["a"]}),
        ]
        assert await storage.append("s", events, expected_seq=2) == 5
        assert [(c.id, c.name, c.seq) for c in await storage.checkpoints("s")] == [("b", "B", 3)]

    async def test_changing_a_checkpoint_that_is_gone_is_no_error(self, storage: StorageBackend) -> None:
        await create(storage, "s")
        await storage.append("s", [record(EventKind.CHECKPOINT_RENAMED, data={"id": "gone", "name": "x"})])
        await storage.append("s", [record(EventKind.CHECKPOINT_PINNED, data={"id": "gone", "pinned": True})])
        await storage.append("s", [record(EventKind.CHECKPOINT_DELETED, data={"ids": ["gone"]})])
        assert await numbers(storage, "s") == [1, 2, 3, 4]

    async def test_an_unknown_checkpoint_is_not_found(self, storage: StorageBackend) -> None:
        for unknown in ("nothing", "", "a\x00b", "../x"):
            with pytest.raises(CheckpointNotFound):
                await storage.checkpoint(unknown)

    async def test_the_newest_snapshot_that_fits_is_found(self, storage: StorageBackend) -> None:
        await create(storage, "s")
        assert await storage.snapshot("s", at_or_before=99) is None
        ten, twenty = Snapshot(10, b"ten\x00", "j1"), Snapshot(20, b"twenty" * 100_000, "j1+z")
        for kept in (twenty, ten):
            await storage.put_snapshot("s", kept)
        assert await storage.snapshot("s", at_or_before=9) is None
        assert await storage.snapshot("s", at_or_before=10) == ten
        assert await storage.snapshot("s", at_or_before=19) == ten
        assert await storage.snapshot("s", at_or_before=20) == twenty
        assert await storage.snapshot("s", at_or_before=10**12) == twenty

    async def test_a_snapshot_replaces_one_of_the_same_place(self, storage: StorageBackend) -> None:
        await create(storage, "s")
        await storage.put_snapshot("s", Snapshot(5, b"old", "j1"))
        await storage.put_snapshot("s", Snapshot(5, b"new", "j1+z"))
        assert await storage.snapshot("s", at_or_before=5) == Snapshot(5, b"new", "j1+z")

    async def test_a_snapshot_of_a_session_that_is_gone_is_no_error(self, storage: StorageBackend) -> None:
        await storage.put_snapshot("nobody", Snapshot(5, b"x", "j1"))
        assert await storage.snapshot("nobody", at_or_before=5) is None
        assert await storage.read_events("nobody") == []
