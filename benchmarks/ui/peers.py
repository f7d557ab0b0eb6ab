"""Figures of other dashboards, taken once on a machine of this class (2 processors) with 200 branches,
5,000 steps and 2,000 sessions. They are not taken anew in a run: they stand beside ours for comparison."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Peer:
    name: str
    page: tuple[float, float] = (0.0, 0.0)
    """Event to detail page, p50 and p95 in seconds."""
    list: tuple[float, float] = (0.0, 0.0)
    page_useful: tuple[float, float] = (0.0, 0.0)
    """Warm and cold, in seconds."""
    list_useful: tuple[float, float] = (0.0, 0.0)
    nodes: int = 0
    heap_mb: float = 0.0
    longest_task: float = 0.0
    """Milliseconds."""
    cold_mb: float = 0.0
    idle_requests: int = 0
    """A minute."""
    idle_bytes: int = 0
    back: float = 0.0
    """Seconds after 30 s off the line."""
    wide: float = 0.0
    """Seconds until a run of 5,000 branches can be seen."""
    memory_mb: float = 0.0
    start: float = 0.0
    """Seconds to the first answer."""
    recorded: float = 0.0
    """Events a second."""


DAGSTER = Peer(
    name="Dagster 1.13",
    page=(0.04, 0.09), list=(10.6, 18.8), page_useful=(1.24, 1.66), list_useful=(1.07, 1.48), nodes=955,
    heap_mb=28, longest_task=590, cold_mb=6.6, idle_requests=20, idle_bytes=14_000, back=7.7, memory_mb=676,
    start=15, recorded=211,
)  # fmt: skip
PREFECT = Peer(
    name="Prefect 3.9",
    page=(3.0, 5.0), list=(14.0, 27.5), page_useful=(3.2, 4.0), list_useful=(2.2, 3.0), nodes=438, heap_mb=44,
    longest_task=940, cold_mb=2.7, idle_requests=63, idle_bytes=60_000, back=0.1, wide=52, memory_mb=238,
    start=14, recorded=148,
)  # fmt: skip
"""After 30 s off the line a third of it is seen only after scrolling."""
BURR = Peer(
    name="Burr 0.43",
    page=(0.27, 0.5), page_useful=(3.2, 3.7), list_useful=(3.9, 4.1), nodes=142_000, heap_mb=170,
    longest_task=8600, cold_mb=8.8, memory_mb=326, start=12,
)  # fmt: skip
PHOENIX = Peer(name="Phoenix", list=(1.5, 2.6))
