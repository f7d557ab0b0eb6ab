"""Growth: turns of 1 KB with a checkpoint each; how much is kept, and how long it took."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from itertools import islice

from benchmarks.figures import Bar, Figure
from benchmarks.machine import Machine, Place, Sizes, opened, texts
from benchmarks.peers import PeerMissing, langgraph, marsys
from state_core.records import Message

PEERS = {"postgresql": langgraph.postgresql, "sqlite": langgraph.sqlite, "file": marsys.growth}
DURABLE_PEERS = ("postgresql", "sqlite")
"""MARSYS 0.2.1 writes without waiting for the disk."""
SERVED = ("postgresql", "redis")
TEXT_BYTES = 1024
MB = 1e6


@dataclass
class Grown:
    """Of each round."""

    megabytes: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def add(self, stored_bytes: int, seconds: float) -> None:
        self.megabytes.append(stored_bytes / MB)
        self.seconds.append(seconds)


async def growth(machine: Machine, sizes: Sizes, kind: str) -> list[Figure]:
    ours, theirs, note = Grown(), Grown(), ""
    for _ in range(sizes.rounds):
        with machine.place(kind) as place:
            ours.add(*await _ours(place, sizes.turns))
        if kind not in PEERS or note:
            continue
        with machine.place(kind) as place:
            try:
                theirs.add(*await PEERS[kind](place, sizes.turns))
            except PeerMissing as missing:
                note = str(missing)
    name = {"file": "MARSYS 0.2.1"}.get(kind, "LangGraph") if theirs.seconds else ""
    if name and sizes.turns < 1000:
        note = f"only {sizes.turns} turns: the peer keeps the whole list anew each turn, so its figures grow "
        note += "with the square of the turns."
    row = f"growth, {sizes.turns:,} turns, {kind}"
    quota = [TEXT_BYTES * sizes.turns / MB] * len(ours.seconds)
    size_bar = Bar("ours", "≤", 2.0)
    time_bar = Bar("peer", "≤", 0.1) if kind in DURABLE_PEERS else None
    return [
        Figure(
            f"{row}: kept", "MB", ours.megabytes, name, theirs.megabytes, "the texts", quota, size_bar, note
        ),
        Figure(f"{row}: time", "s", ours.seconds, name, theirs.seconds, bar=time_bar),
    ]


async def _ours(place: Place, turns: int) -> tuple[int, float]:
    async with opened(place) as manager:
        await manager.get_storage_metrics()
        empty = place.stored_bytes() if place.kind == "redis" else 0
        began = time.perf_counter()
        async with manager.session("growth") as session:
            branch = await session.open_branch("talk")
            for text in islice(texts(), turns):
                await session.checkpoint("turn", branch.messages_event([Message("user", text)]))
        seconds = time.perf_counter() - began
        if place.kind in SERVED:
            return place.stored_bytes() - empty, seconds
    return place.stored_bytes(), seconds
