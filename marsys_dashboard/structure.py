"""A structured value as a few lines that people read: names and values, what is nested behind a disclosure.

Whatever the value is, the lines are bounded in number, depth and length; the whole is asked for on its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

LINES = 60
"""Lines of one value, those behind disclosures among them."""
LINES_OF_ONE = 16
"""Lines on one level."""
DEPTH = 3
"""Levels; what lies deeper is said as JSON on one line."""
NAME = 60
"""Characters of a name."""
VALUE = 200
"""Characters of a value on its line."""
INLINE = 72
"""Characters of a small object or list that is said on the line of its name."""


@dataclass(frozen=True, slots=True)
class Line:
    """``name``: value, or ``name`` and what is in it."""

    name: str
    text: str = ""
    lines: tuple[Line, ...] = ()
    left_out: int = 0
    """How many more there are beside ``lines``."""


class _Budget:
    def __init__(self, lines: int) -> None:
        self.lines = lines

    def take(self) -> bool:
        self.lines -= 1
        return self.lines >= 0


def structure(value: Any) -> Line | None:
    """Of a dictionary or a list that holds something; None of anything else."""
    if not isinstance(value, (dict, list)) or not value:
        return None
    return _nested("", value, _Budget(LINES), DEPTH)


def _line(name: str, value: Any, budget: _Budget, depth: int) -> Line:
    if not isinstance(value, (dict, list)):
        return Line(name, _cut(_scalar(value)))
    inline = _inline(value)
    if inline is not None:
        return Line(name, inline)
    if depth == 0 or budget.lines <= 0:
        return Line(name, _cut(json.dumps(value, ensure_ascii=False)))
    return _nested(name, value, budget, depth)


def _nested(name: str, value: dict[str, Any] | list[Any], budget: _Budget, depth: int) -> Line:
    lines: list[Line] = []
    for key, inner in _items(value):
        if len(lines) == LINES_OF_ONE or not budget.take():
            break
        lines.append(_line(key, inner, budget, depth - 1))
    return Line(name, _glance(value), tuple(lines), len(value) - len(lines))


def _items(value: dict[str, Any] | list[Any]) -> Iterator[tuple[str, Any]]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value, start=1)
    for key, inner in pairs:
        yield _cut(str(key), NAME), inner


def _glance(value: dict[str, Any] | list[Any]) -> str:
    """What can be said on one line of what is nested: the plain values that fit, or how many there are."""
    said = ""
    for key, inner in _items(value):
        if isinstance(inner, (dict, list)):
            continue
        more = f"{said} · {key}: {_cut(_scalar(inner))}" if said else f"{key}: {_cut(_scalar(inner))}"
        if len(more) > INLINE:
            break
        said = more
    return f"{said} …" if said and isinstance(value, dict) else _count(value)


def _count(value: dict[str, Any] | list[Any]) -> str:
    noun = "value" if isinstance(value, dict) else "item"
    return f"{len(value)} {noun}{'' if len(value) == 1 else 's'}"


def _inline(value: dict[str, Any] | list[Any]) -> str | None:
    """``lines: 268 · where: difflib.py`` or ``attr, yaml``, where that is short."""
    if not value:
        return "none"
    inner = value.values() if isinstance(value, dict) else value
    if len(value) > INLINE or any(isinstance(one, (dict, list)) for one in inner):
        return None
    if isinstance(value, dict):
        text = " · ".join(f"{key}: {_scalar(one)}" for key, one in value.items())
    else:
        text = ", ".join(_scalar(one) for one in value)
    return _cut(text) if len(text) <= INLINE else None


def _scalar(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _cut(text: str, limit: int = VALUE) -> str:
    """On one line. Characters that no screen should act on are shown as what they are."""
    line = " ".join(text[: 2 * limit].split()).replace("\x00", "\N{SYMBOL FOR NULL}")
    return f"{line[:limit]}…" if len(line) > limit or len(text) > 2 * limit else line
