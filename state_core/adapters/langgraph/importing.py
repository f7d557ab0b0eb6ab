"""Threads of the framework's own savers into ours, with every checkpoint and every pending write.

Started again it goes on where it was stopped. What was imported is read back and compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from itertools import pairwise
from typing import Any

from langgraph.checkpoint.base import CheckpointTuple

from state_core.adapters.langgraph.ids import session_id_of
from state_core.adapters.langgraph.keeping import keep_put, keep_writes
from state_core.adapters.langgraph.saver import StateCoreSaver
from state_core.adapters.langgraph.serializing import Serializer
from state_core.adapters.langgraph.source import Place, Source, SourceWrites
from state_core.adapters.langgraph.writing import Put, Reader
from state_core.exceptions import Diverged, StateError, StorageUnavailable
from state_core.records import utc_now
from state_core.sync import shared

IMPORTED = Reader("import", 2**53)
"""What was there before has no say in what is imported."""


@dataclass(frozen=True, slots=True)
class ThreadImport:
    """What became of one thread."""

    thread_id: str
    checkpoints: int = 0
    """That the source has."""
    written: int = 0
    """Of them, by this import."""
    why: str = ""
    """Why it could not be imported."""


@dataclass(frozen=True, slots=True)
class ImportProgress:
    thread_id: str
    checkpoints: int
    of_checkpoints: int
    threads: int
    of_threads: int


OnProgress = Callable[[ImportProgress], None]


def import_threads(
    source: Source,
    saver: StateCoreSaver,
    thread_ids: Iterable[str] | None = None,
    *,
    on_progress: OnProgress = lambda _: None,
) -> list[ThreadImport]:
    """One that fails holds up no other. Raises StorageUnavailable; start it again to go on."""
    results: list[ThreadImport] = []
    chosen = None if thread_ids is None else list(thread_ids)
    total = source.count_threads() if chosen is None else len(chosen)

    def tell(thread_id: str, done: int, of: int) -> None:
        on_progress(ImportProgress(thread_id, done, of, len(results), max(total, len(results) + 1)))

    for thread_id in source.thread_ids() if chosen is None else chosen:
        try:
            results.append(import_thread(source, saver, thread_id, tell))
        except StorageUnavailable:
            raise
        except StateError as error:
            results.append(ThreadImport(thread_id, why=str(error)))
    return results


def import_thread(
    source: Source, saver: StateCoreSaver, thread_id: str, tell: Callable[[str, int, int], None]
) -> ThreadImport:
    """Raises Diverged where what stands here is not what stands there."""
    places = source.places(thread_id)
    there = _places_here(saver, thread_id)
    missing = [place for place in places if place not in there]
    # The last that is there may lack some of its writes.
    again = [place for place in places if place in there][-1:]
    following = _following(places)
    read = lru_cache(maxsize=16)(lambda place: source.checkpoint(thread_id, place))
    for number, place in enumerate([*again, *missing], start=len(places) - len(missing) - len(again) + 1):
        _import(source, saver, thread_id, place, [read(place), read(following.get(place, place))])
        tell(thread_id, number, len(places))
    _compare(source, saver, thread_id, places)
    return ThreadImport(thread_id, len(places), len(missing))


def _places_here(saver: StateCoreSaver, thread_id: str) -> set[Place]:
    thread = shared.run(saver.threads.read(thread_id))
    return {(kept.ns, kept.id) for kept in thread.all_checkpoints()} if thread else set()


def _following(places: list[Place]) -> dict[Place, Place]:
    """Place → the next of its namespace: when that was made, the tasks of this one were done."""
    by_namespace: dict[str, list[Place]] = {}
    for place in places:
        by_namespace.setdefault(place[0], []).append(place)
    return {one: other for line in by_namespace.values() for one, other in pairwise(line)}


def _import(
    source: Source,
    saver: StateCoreSaver,
    thread_id: str,
    place: Place,
    two: list[CheckpointTuple | None],
) -> None:
    """``two``: the checkpoint, and the one that follows."""
    found, after = two
    if found is None:
        return
    serializer = Serializer(saver.serde)
    shared.run(keep_put(saver.threads, thread_id, _put(saver, thread_id, found), serializer))
    at = _moment((after or found).checkpoint["ts"])
    for writes in source.writes_on(thread_id, place):
        encoded = saver.encoded_writes(found.config, _pairs(writes), writes.task_id, writes.path)
        indexed = [
            (idx, channel, value)
            for (idx, _, _), (_, channel, value) in zip(writes.writes, encoded.writes, strict=True)
        ]
        # Kept as they are: what is there already is the same.
        told = replace(encoded, writes=indexed, reader=IMPORTED, overwrites=False, at=at)
        shared.run(keep_writes(saver.threads, thread_id, told, serializer))


def _pairs(writes: SourceWrites) -> list[tuple[str, Any]]:
    return [(channel, value) for _, channel, value in writes.writes]


def _put(saver: StateCoreSaver, thread_id: str, found: CheckpointTuple) -> Put:
    parent = found.parent_config["configurable"]["checkpoint_id"] if found.parent_config else None
    place: Any = {
        "configurable": {
            "thread_id": thread_id,
            "checkpoint_ns": found.config["configurable"]["checkpoint_ns"],
            **({"checkpoint_id": parent} if parent else {}),
        }
    }
    put = saver.encoded_put(place, found.checkpoint, found.metadata, found.checkpoint["channel_versions"])
    return replace(put, reader=IMPORTED, at=_moment(put.ts), only_changes=True, imported=True)


def _moment(ts: str) -> datetime:
    at = datetime.fromisoformat(ts)
    return at if at.tzinfo else utc_now()


# Comparing


def _compare(source: Source, saver: StateCoreSaver, thread_id: str, places: list[Place]) -> None:
    """Both sides are read anew."""
    again = StateCoreSaver(saver.state_manager, serde=saver.serde)
    for ns, checkpoint_id in places:
        names = {"thread_id": thread_id, "checkpoint_ns": ns, "checkpoint_id": checkpoint_id}
        ours, theirs = (
            again.get_tuple({"configurable": names}),
            source.checkpoint(thread_id, (ns, checkpoint_id)),
        )
        if ours is None or theirs is None or _told(ours) != _told(theirs):
            raise Diverged(session_id_of(thread_id), f"checkpoint {checkpoint_id}")


def _told(found: CheckpointTuple) -> Any:
    """All of it, as far as it belongs to a checkpoint: a saver that keeps values inline may have others."""
    checkpoint = dict(found.checkpoint)
    versions = found.checkpoint["channel_versions"]
    values = found.checkpoint["channel_values"]
    checkpoint["channel_values"] = {name: values[name] for name in values if name in versions}
    parent = found.parent_config["configurable"]["checkpoint_id"] if found.parent_config else None
    return checkpoint, found.metadata, parent, found.pending_writes
