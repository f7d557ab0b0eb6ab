"""Several sessions in one `append_many`: each whole or not at all, each with its own outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from state_core.events import EventKind
from state_core.exceptions import CheckpointNotFound, InvalidValue
from state_core.records import SessionStatus
from state_core.storage.base import AppendRequest, Outcome, StorageBackend
from state_core.testing.records import (
    LONG,
    create,
    message,
    named_checkpoint,
    numbers,
    record,
    start,
)


def asked(session_id: str, *events: Any, **guards: Any) -> AppendRequest:
    return AppendRequest(session_id=session_id, events=events or (message(session_id),), **guards)


async def told(storage: StorageBackend, requests: Sequence[AppendRequest]) -> list[Any]:
    """For each, in order, the seq of its last event or the name of its error. Each is told once."""
    found: list[tuple[int, Outcome]] = []
    await storage.append_many(requests, lambda index, outcome: found.append((index, outcome)))
    assert sorted(index for index, _ in found) == list(range(len(requests)))
    return [
        type(outcome).__name__ if isinstance(outcome, Exception) else outcome
        for _, outcome in sorted(found, key=lambda pair: pair[0])
    ]


class BatchContract:
    """Several sessions in one `append_many`."""

    async def test_a_batch_appends_to_each_session(self, storage: StorageBackend) -> None:
        ids = [await create(storage, f"s{number}") for number in range(12)]
        requests = [asked(session_id, *[message(session_id)] * 3) for session_id in ids]
        assert await told(storage, requests) == [4] * 12
        for session_id in ids:
            events = await storage.read_events(session_id, after=1)
            assert [(event.seq, event.body) for event in events] == [
                (seq, session_id.encode()) for seq in (2, 3, 4)
            ]

    async def test_an_event_in_a_batch_comes_back_as_it_was(self, storage: StorageBackend) -> None:
        given = record(
            EventKind.STEP_COMPLETED,
            1.5,
            actor="an actor",
            branch_id="b",
            step_id="b:1",
            agent='Ä"\\ \N{SNOWMAN}',
            status="completed",
            duration=0.1 + 0.2,
            size=-7,
            data={"text": 'quoted "\x01\\', "list": [1, None, "ü"], "nul": "a\x00b"},
            body=bytes(range(256)),
        )
        for session_id in ("alone", "s", "t"):
            await create(storage, session_id)
        await storage.append("alone", [given])
        assert await told(storage, [asked("s", given), asked("t", record(EventKind.STEP_STARTED))]) == [2, 2]
        (alone,), (batched,) = [await storage.read_events(name, after=1) for name in ("alone", "s")]
        assert batched == alone

    async def test_a_batch_changes_heads_as_single_appends_do(self, storage: StorageBackend) -> None:
        for session_id in ("alone", "s", "t"):
            await create(storage, session_id)
        events = [
            record(EventKind.SESSION_STARTED, 1.0, data={"reason": "why not"}),
            record(EventKind.STEP_STARTED, 2.0, size=40),
            named_checkpoint("of-{}"),
        ]
        for session_id in ("alone", "s"):
            mine = [*events[:2], named_checkpoint(f"of-{session_id}")]
            if session_id == "alone":
                await storage.append(session_id, mine, head={"agents": ["A", 'B"']})
            else:
                await told(storage, [asked(session_id, *mine, head={"agents": ["A", 'B"']}), asked("t")])
        alone, batched = await storage.head("alone"), await storage.head("s")
        batched.session_id = "alone"
        batched.counts["stored_bytes"] = alone.counts["stored_bytes"]  # the ids' lengths are in it
        assert batched == alone
        assert [(c.id, c.seq) for c in await storage.checkpoints("s")] == [("of-s", 4)]
        assert (await storage.checkpoint("of-s")).session_id == "s"

    async def test_agents_join_those_that_have_worked_in_a_batch_as_in_single_appends(
        self, storage: StorageBackend
    ) -> None:
        for session_id in ("s", "t", "quiet"):
            await create(storage, session_id)
        for agents in (["B"], ["A", "B"], ["A"], ['C "x"', "A"]):
            begun = [record(EventKind.STEP_STARTED, 1.0, agent=agent) for agent in agents]
            await told(storage, [asked("s", *begun), asked("quiet"), asked("t", *begun)])
        assert [(await storage.head(session_id)).worked for session_id in ("s", "t", "quiet")] == [
            ["B", "A", 'C "x"'],
            ["B", "A", 'C "x"'],
            [],
        ]

    async def test_who_is_refused_in_a_batch_fails_alone(self, storage: StorageBackend) -> None:
        for session_id in ("conflict", "fence", "status", "good", "held", "big", "empty"):
            await create(storage, session_id)
        await start(storage, "good")
        lease = await storage.acquire("held", "me", LONG)
        await storage.acquire("fence", "me", LONG)
        too_much = record(EventKind.MESSAGE_ADDED, body=bytes(storage.max_append_bytes // 2 + 1))
        requests = [
            asked("conflict", expected_seq=7),
            asked("fence", fence=5),
            asked("status", statuses=[SessionStatus.RUNNING]),
            asked("unknown"),
            asked("good", expected_seq=2, statuses=[SessionStatus.RUNNING]),
            asked("held", fence=lease.fence),
            asked("big", too_much, too_much),
            AppendRequest(session_id="empty", events=[]),
            asked("no id!"),
            asked("new", record(EventKind.SESSION_CREATED), message()),
        ]
        assert await told(storage, requests) == [
            "ConflictError",
            "LeaseLost",
            "TransitionError",
            "SessionNotFound",
            3,
            2,
            "TooLarge",
            "InvalidValue",
            "InvalidId",
            2,
        ]
        assert await storage.last_seqs(["conflict", "fence", "status", "big", "empty"]) == dict.fromkeys(
            ["conflict", "fence", "status", "big", "empty"], 1
        )

    async def test_a_session_that_exists_is_not_created_by_a_batch(self, storage: StorageBackend) -> None:
        await create(storage, "old")
        created = record(EventKind.SESSION_CREATED)
        assert await told(storage, [asked("old", created), asked("new", created)]) == ["SessionExists", 1]
        assert await numbers(storage, "old") == [1]

    async def test_a_batch_does_not_name_a_session_twice(self, storage: StorageBackend) -> None:
        await create(storage, "s")
        with pytest.raises(InvalidValue):
            await told(storage, [asked("s"), asked("s")])
        assert await numbers(storage, "s") == [1]

    async def test_checkpoints_are_renamed_and_deleted_in_a_batch(self, storage: StorageBackend) -> None:
        for session_id in ("s", "t"):
            await create(storage, session_id)
            await storage.append(session_id, [named_checkpoint(f"of-{session_id}")])
        renamed = record(EventKind.CHECKPOINT_RENAMED, data={"id": "of-s", "name": "better"})
        deleted = record(EventKind.CHECKPOINT_DELETED, data={"ids": ["of-t"]})
        assert await told(storage, [asked("s", renamed), asked("t", deleted)]) == [3, 3]
        assert (await storage.checkpoint("of-s")).name == "better"
        with pytest.raises(CheckpointNotFound):
            await storage.checkpoint("of-t")

    async def test_batches_at_once_are_numbered_without_gaps(self, storage: StorageBackend) -> None:
        ids = [await create(storage, f"s{number}") for number in range(5)]
        rounds = [told(storage, [asked(session_id) for session_id in ids]) for _ in range(6)]
        found = await asyncio.gather(*rounds)
        for seqs in zip(*found, strict=True):
            assert sorted(seqs) == [2, 3, 4, 5, 6, 7]
        for session_id in ids:
            assert await numbers(storage, session_id) == [1, 2, 3, 4, 5, 6, 7]

    async def test_an_empty_batch_does_nothing(self, storage: StorageBackend) -> None:
        assert await told(storage, []) == []
