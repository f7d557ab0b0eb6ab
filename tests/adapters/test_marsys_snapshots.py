"""The storage of MARSYS's 0.3 line: bytes under keys, as its protocol asks for."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from types import SimpleNamespace

import pytest

from state_core import StateManager
from state_core.adapters.marsys import MarsysLive, MarsysSink, MarsysSnapshotStorage
from state_core.exceptions import DamagedError

KEY = "s/snapshot.json"


def a_snapshot(turns: int) -> bytes:
    memory = [{"role": "user", "content": f"turn {number}", "cost": 0.1} for number in range(turns)]
    value = {"framework_version": "0.3", "branches": {"br_0": {"memory": memory, "status": "RUNNING"}}}
    return json.dumps(value, indent=2, ensure_ascii=False).encode()


@pytest.fixture
def snapshots(storage):
    return MarsysSnapshotStorage(storage)


@pytest.mark.parametrize(
    "data", [a_snapshot(3), b'{"b":1,"a":[1.5,null]}', b"\x00\xff no JSON", b"", b'{"a": 1, "a": 2}', b"7"]
)
async def test_what_is_written_is_read_to_the_byte(snapshots, data):
    await snapshots.write(KEY, a_snapshot(1))
    await snapshots.write(KEY, data)
    assert await snapshots.read(KEY) == data


async def test_the_order_of_names_comes_back_when_it_changes(snapshots):
    for value in ({"a": 1, "b": {"x": 1, "y": 2}}, {"b": {"y": 2, "x": 1}, "a": 1}, {"c": 0, "a": 1}):
        data = json.dumps(value, indent=2).encode()
        await snapshots.write(KEY, data)
        assert await snapshots.read(KEY) == data


async def test_what_is_not_there_is_the_error_that_the_framework_relies_on(snapshots):
    with pytest.raises(FileNotFoundError):
        await snapshots.read("nobody/snapshot.json")
    await snapshots.delete("nobody/snapshot.json")
    await snapshots.write(KEY, b"{}")
    await snapshots.delete(KEY)
    await snapshots.delete(KEY)
    with pytest.raises(FileNotFoundError):
        await snapshots.read(KEY)


async def test_entries_are_listed_and_expire(snapshots):
    for key in ("a/snapshot.json", "b c/snapshot.json", "../x/snapshot.json", "alone"):
        await snapshots.write(key, b"{}")
    entries = await snapshots.list_with_metadata()
    assert sorted(entry.key for entry in entries) == [
        "../x/snapshot.json",
        "a/snapshot.json",
        "alone",
        "b c/snapshot.json",
    ]
    assert all(entry.size_bytes == 2 and entry.modified_at.tzinfo for entry in entries)
    assert await snapshots.expire_older_than(timedelta(hours=1)) == 0
    assert await snapshots.expire_older_than(timedelta(0)) == 4
    assert await snapshots.list_with_metadata() == []


async def test_earlier_snapshots_stay(snapshots):
    for turns in (1, 2, 3):
        await snapshots.write(KEY, a_snapshot(turns))
    await snapshots.delete(KEY)
    history = await snapshots.history(KEY)
    assert [await snapshots.read_at(place.id) for place in history] == [a_snapshot(n) for n in (1, 2, 3)]


async def test_a_write_costs_what_changed(snapshots, storage):
    await snapshots.write(KEY, a_snapshot(2000))
    before = (await storage.head("s")).counts["stored_bytes"]
    await snapshots.write(KEY, a_snapshot(2001))
    assert (await storage.head("s")).counts["stored_bytes"] - before < 2000


async def test_of_writers_at_once_none_is_torn_and_none_fails(snapshots, storage):
    writers = [MarsysSnapshotStorage(storage) for _ in range(8)]
    written = [a_snapshot(number + 1) for number in range(8)]
    await snapshots.write(KEY, a_snapshot(1))
    await asyncio.gather(*(one.write(KEY, data) for one, data in zip(writers, written, strict=True)))
    assert await snapshots.read(KEY) in written
    history = [await snapshots.read_at(place.id) for place in await snapshots.history(KEY)]
    assert sorted(history[1:], key=len) == written


async def test_damage_is_damage(tmp_path):
    snapshots = MarsysSnapshotStorage(f"file:{tmp_path}/state")
    await snapshots.write(KEY, a_snapshot(50))
    logs = [path for path in (tmp_path / "state").rglob("*.state*") if path.is_file()]
    log = max(logs, key=lambda path: path.stat().st_size)
    content = bytearray(log.read_bytes())
    content[len(content) // 2] ^= 1
    log.write_bytes(content)
    with pytest.raises(DamagedError):
        await MarsysSnapshotStorage(f"file:{tmp_path}/state").read(KEY)


class AgentStartEvent(SimpleNamespace):
    pass


class AgentCompleteEvent(SimpleNamespace):
    pass


class BranchCreatedEvent(SimpleNamespace):
    pass


class ConvergenceEvent(SimpleNamespace):
    pass


class AssistantMessageEvent(SimpleNamespace):
    pass


class Bus:
    def __init__(self):
        self.listeners = {}

    def subscribe(self, kind, listener):
        self.listeners.setdefault(kind, []).append(listener)

    async def emit(self, event):
        for listener in self.listeners.get(type(event).__name__, ()):
            await listener(event)


async def test_events_and_spans_of_the_newer_line_are_told(storage):
    live = MarsysLive(storage, linger=60)
    bus, sink = Bus(), MarsysSink(live, session_id="s")
    live.attach(SimpleNamespace(event_bus=bus))
    one = {"session_id": "s", "branch_id": "br_0", "agent_name": "A", "step_number": 1, "step_span_id": "x1"}
    for event in (
        BranchCreatedEvent(
            session_id="s", branch_id="br_0", branch_name="A", source_agent="Start", target_agents=["A"]
        ),
        AgentStartEvent(**one),
        AssistantMessageEvent(**one, content="Hello", tool_calls=None),
        AgentCompleteEvent(**one, success=True, duration=0.5, next_action="invoke_agent", error=None),
        BranchCreatedEvent(
            session_id="s", branch_id="br_1", branch_name="B", source_agent="A", target_agents=["B"]
        ),
        ConvergenceEvent(session_id="s", branch_id=None, parent_branch_id="br_0", child_branch_ids=["br_1"]),
    ):
        await bus.emit(event)
    tool = {"tool_name": "search", "api_key": "k"}
    step = {"agent_name": "A", "step_number": 1}
    for span_id, parent, kind, attributes in (("t", "st", "tool", tool), ("st", "b", "step", step)):
        await sink.publish_span(
            SimpleNamespace(
                span_id=span_id,
                parent_span_id=parent,
                trace_id="s",
                kind=kind,
                name=kind,
                status="ok",
                duration_ms=2.0,
                attributes=attributes,
            )
        )
    await sink.close()
    assert live.flush()
    state = await StateManager(storage).get_session_state("s")
    first, second = state.branches
    assert (second.parent_id, first.joined_ids) == ("br_0", ["br_1"])
    assert [message.content for message in first.memory] == ["Hello"]
    told = first.steps[0].metadata["telemetry"]
    assert told["spans"]["tool t"]["attributes"] == {"tool_name": "search", "api_key": "[redacted]"}
    live.close()
