"""A row of the report, beside what a peer was seen to take."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.figures import Bar, Figure
from benchmarks.ui.peers import Peer


def row(
    name: str,
    unit: str,
    ours: Sequence[float],
    *,
    most: float | None = None,
    least: float | None = None,
    peer: Peer | None = None,
    theirs: float = 0.0,
    note: str = "",
) -> Figure:
    """``most``, ``least``: the bar that ours has to meet."""
    bar = Bar("ours", "≤", most) if most is not None else Bar("ours", "≥", least) if least else None
    beside = {"peer_name": peer.name, "peer": [theirs]} if peer else {}
    return Figure(name, unit, ours, bar=bar, note=note, **beside)  # type: ignore[arg-type]
