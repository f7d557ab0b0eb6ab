"""What a row of the report is: our figure, the peer's, the limit's, and the bar that it has to meet."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Of = Literal["ours", "peer", "limit"]


@dataclass(frozen=True)
class Bar:
    """``of``: our figure itself, or its ratio to the peer's or to the limit's."""

    of: Of
    sign: Literal["≤", "≥"]
    value: float

    def __str__(self) -> str:
        what = {"ours": "", "peer": "peer × ", "limit": "limit × "}[self.of]
        return f"{self.sign} {what}{number(self.value)}"

    def is_met(self, value: float) -> bool:
        return value <= self.value if self.sign == "≤" else value >= self.value


@dataclass(frozen=True)
class Figure:
    """One row. Values of several rounds, taken in turns: what counts is the median, and of a ratio the
    median of each round's own ratio, since the machine may be slower in one round than in another."""

    row: str
    unit: str
    ours: Sequence[float]
    peer_name: str = ""
    peer: Sequence[float] = ()
    limit_name: str = ""
    limit: Sequence[float] = ()
    bar: Bar | None = None
    note: str = ""

    def ratio(self, other: Sequence[float]) -> float | None:
        if not other:
            return None
        if len(other) != len(self.ours):
            return statistics.median(self.ours) / statistics.median(other)
        return statistics.median(a / b for a, b in zip(self.ours, other, strict=True))

    @property
    def compared(self) -> float | None:
        """What the bar is held against, or None where the other side could not be measured."""
        of = self.bar.of if self.bar else "ours"
        if of == "ours":
            return statistics.median(self.ours)
        return self.ratio(self.peer if of == "peer" else self.limit)

    @property
    def met(self) -> bool | None:
        if self.bar is None or self.compared is None:
            return None
        return self.bar.is_met(self.compared)

    def document(self) -> dict[str, Any]:
        """For JSON: the medians and ratios, and the values that they were made of."""
        return {
            **asdict(self),
            "bar": str(self.bar) if self.bar else "",
            "medians": {name: _median(getattr(self, name)) for name in ("ours", "peer", "limit")},
            "ratio_to_peer": self.ratio(self.peer),
            "ratio_to_limit": self.ratio(self.limit),
            "met": self.met,
        }

    def cells(self) -> list[str]:
        return [
            self.row,
            f"{number(_median(self.ours))} {self.unit}",
            _beside(self.peer, self.peer_name),
            _beside(self.limit, self.limit_name),
            number(self.ratio(self.peer)),
            number(self.ratio(self.limit)),
            str(self.bar or ""),
            {True: "met", False: "NOT MET", None: ""}[self.met],
        ]


HEADINGS = ["row", "ours", "peer", "limit", "to peer", "to limit", "bar", ""]


def table(figures: Sequence[Figure]) -> str:
    """As text, the notes below."""
    lines = [HEADINGS, *(figure.cells() for figure in figures)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    shown = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
    notes = [f"{figure.row}: {figure.note}" for figure in figures if figure.note]
    return "\n".join([shown[0], "-" * sum(widths, 2 * len(widths) - 2), *shown[1:], "", *notes]).rstrip()


def number(value: float | None) -> str:
    if value is None:
        return ""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None


def _beside(values: Sequence[float], name: str) -> str:
    return f"{number(_median(values))} ({name})" if values else ""
