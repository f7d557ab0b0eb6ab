"""LangGraph's checkpoints: an `add_messages` graph, with our saver and with the framework's own."""

from __future__ import annotations

import asyncio
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from benchmarks.figures import Bar, Figure
from benchmarks.machine import Machine, Place, Sizes, texts
from benchmarks.peers import PeerMissing, langgraph

PEERS = {"postgresql": langgraph.postgresql_saver, "sqlite": langgraph.sqlite_saver}
MOST_TURNS = 400
MB = 1e6
KEPT = Bar("ours", "≤", 1.5)


@dataclass
class Talked:
    """Of each round."""

    megabytes: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    milliseconds: list[float] = field(default_factory=list)
    """For the newest 20 of its checkpoints."""


async def graph(machine: Machine, sizes: Sizes, kind: str) -> list[Figure]:
    """A short question and a kilobyte of answer a turn; three checkpoints each."""
    turns = min(sizes.turns, MOST_TURNS)
    ours, theirs, note = Talked(), Talked(), ""
    for _ in range(min(sizes.rounds, 3)):
        with machine.place(kind) as place:
            await asyncio.to_thread(_talk, place, langgraph.our_saver(place), turns, ours)
        if kind not in PEERS or note:
            continue
        with machine.place(kind) as place:
            try:
                await asyncio.to_thread(_talk, place, PEERS[kind](place), turns, theirs)
            except PeerMissing as missing:
                note = str(missing)
    name = "LangGraph" if theirs.seconds else ""
    row = f"LangGraph graph, {turns:,} turns, {kind}"
    return [
        Figure(f"{row}: kept", "MB", ours.megabytes, name, theirs.megabytes, bar=KEPT, note=note),
        Figure(f"{row}: time", "s", ours.seconds, name, theirs.seconds),
        Figure(
            f"{row}: 20 of {3 * turns:,} checkpoints listed",
            "ms",
            ours.milliseconds,
            name,
            theirs.milliseconds,
            bar=Bar("ours", "≤", 20),
        ),
    ]


def _talk(place: Place, opened: AbstractContextManager[Any], turns: int, found: Talked) -> None:
    with opened as saver:
        empty = place.stored_bytes()
        compiled = langgraph.talk(saver, texts())
        thread: Any = {"configurable": {"thread_id": "talk"}}
        began = time.perf_counter()
        for turn in range(turns):
            compiled.invoke(
                {"messages": [("user", f"Question {turn}: what next?")]}, thread, durability="sync"
            )
        found.seconds.append(time.perf_counter() - began)
        began = time.perf_counter()
        assert list(saver.list(thread, limit=20))
        found.milliseconds.append((time.perf_counter() - began) * 1000)
        served = place.kind in ("postgresql", "redis")
        if served:
            found.megabytes.append((place.stored_bytes() - empty) / MB)
    if not served:
        found.megabytes.append(place.stored_bytes() / MB)
