"""Deleting, copying and pruning threads."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from typing import Any

from state_core.adapters.langgraph.holding import items_gone, needed_by_others
from state_core.adapters.langgraph.ids import session_id_of
from state_core.adapters.langgraph.reading import metadata_of
from state_core.adapters.langgraph.thread import Kept, Thread
from state_core.adapters.langgraph.threads import Threads
from state_core.adapters.langgraph.values import Typed
from state_core.changes import keep_aside
from state_core.compaction import compact_session
from state_core.events import Event, EventKind
from state_core.exceptions import LeaseHeld, SessionNotFound, TooLarge, TransitionError

STRATEGIES = ("keep_latest", "delete")


async def delete_for_runs(threads: Threads, run_ids: Sequence[str], loads: Callable[[Typed], Any]) -> None:
    if not run_ids:
        return
    runs = set(run_ids)
    async for session_id in threads.session_ids():
        thread = await threads.read_session(session_id)
        if thread:
            await drop(threads, thread, lambda kept: metadata_of(kept, loads).get("run_id") in runs)


async def prune(threads: Threads, thread_ids: Sequence[str], strategy: str) -> None:
    if isinstance(thread_ids, str):
        raise TypeError(f"thread_ids is a string; pass a list: [{thread_ids!r}].")
    if strategy not in STRATEGIES:
        raise ValueError(f"Unknown strategy {strategy!r}. Choose one of {', '.join(STRATEGIES)}.")
    for thread_id in thread_ids:
        if strategy == "delete":
            await threads.delete(thread_id)
        else:
            await _keep_latest(threads, thread_id)


async def _keep_latest(threads: Threads, thread_id: str) -> None:
    thread = await threads.read(thread_id)
    if thread:
        await drop(threads, thread, lambda kept: thread.namespaces[kept.ns].latest is not kept)


async def drop(threads: Threads, thread: Thread, gone: Callable[[Kept], bool]) -> None:
    """Delete these, and what only they hold, and give back the room where nobody runs the thread."""

    def compose(present: Thread) -> list[Event]:
        ids = _by_namespace(kept for kept in present.all_checkpoints() if gone(kept))
        if not ids:
            return []
        needed = needed_by_others(present, gone)

        def stays(kept: Kept) -> bool:
            return kept.id in needed.get(kept.ns, ()) or not (kept.dropped or gone(kept))

        record = {"t": "drop", "ids": ids, "needed": needed, "gone": items_gone(present, stays)}
        return [Event(kind=EventKind.RECORD_KEPT, actor=threads.manager.actor, changes=[keep_aside(record)])]

    before = thread.seq
    after = (await threads.append(thread.thread_id, compose, create=False)).seq
    if after > before:
        with suppress(TransitionError, LeaseHeld, TooLarge):
            await compact_session(
                threads.manager.log, thread.session_id, actor=threads.manager.actor, carry=threads.carried
            )


def _by_namespace(chosen: Iterable[Kept]) -> dict[str, Collection[str]]:
    ids: dict[str, list[str]] = {}
    for kept in chosen:
        ids.setdefault(kept.ns, []).append(kept.id)
    return dict(ids)


async def copy_thread(threads: Threads, source: str, target: str) -> None:
    session_id = session_id_of(target)
    try:
        await threads.manager.fork_session(session_id_of(source), session_id, reason="copied")
    except SessionNotFound:
        return
    if session_id != target:
        await threads.append(target, lambda thread: [threads.naming(target)], create=False)
