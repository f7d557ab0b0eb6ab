"""What may come onto a terminal: it obeys what it is sent, and agents write titles, messages and errors."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from io import TextIOWrapper
from typing import Any
from unicodedata import category, east_asian_width

from django.core.management.base import CommandError, OutputWrapper

LONGEST = 240
"""Characters of one text of somebody else's."""
NARROWEST = 8
"""Columns that a cut cell keeps."""
GAP = INDENT = "  "


def plain(text: object, most: int = LONGEST) -> str:
    """On one line, at most so long; what a terminal would act on, or nobody could see, is shown by its
    number."""
    line = " ".join(str(text)[: 4 * most].split())
    visible = "".join(map(_visible, line))
    return visible if len(visible) <= most else f"{visible[: most - 1]}…"


def _visible(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode()


def width_of(text: str) -> int:
    return sum(map(_columns, text))


def _columns(character: str) -> int:
    if category(character) in {"Mn", "Me"}:
        return 0
    return 2 if east_asian_width(character) in "WF" else 1


def fitted(text: str, width: int) -> str:
    """Cut so that it takes no more columns."""
    if width_of(text) <= width:
        return text
    kept, left = "", width - 1
    for character in text:
        left -= _columns(character)
        if left < 0:
            break
        kept += character
    return f"{kept}…"


def table(rows: Sequence[Sequence[str]], width: int | None, flexible: Sequence[int] = ()) -> list[str]:
    """Lines of aligned columns. ``flexible``: those that are cut where a line is wider than ``width``; where
    that does not do, the last of them are left out."""
    if not rows:
        return []
    widths = [max(map(width_of, column)) for column in zip(*rows, strict=True)]
    shown = list(range(len(widths)))
    if width is not None:
        _shrink(widths, width, flexible)
        _leave_out(shown, widths, width, flexible)
    return [_line([row[i] for i in shown], [widths[i] for i in shown]) for row in rows]


def _shrink(widths: list[int], width: int, flexible: Iterable[int]) -> None:
    """Always the widest, as far as it can be read."""
    while _total(widths) > width:
        widest = max(flexible, key=lambda column: widths[column], default=None)
        if widest is None or widths[widest] <= NARROWEST:
            return
        widths[widest] -= 1


def _leave_out(shown: list[int], widths: Sequence[int], width: int, flexible: Sequence[int]) -> None:
    for column in reversed(flexible):
        if _total([widths[i] for i in shown]) > width:
            shown.remove(column)


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + len(GAP) * (len(widths) - 1)


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [fitted(cell, width) for cell, width in zip(row, widths, strict=True)]
    return GAP.join(
        cell + " " * (width - width_of(cell)) for cell, width in zip(cells, widths, strict=True)
    ).rstrip()


class Console:
    """The streams of a command."""

    def __init__(self, out: OutputWrapper, err: OutputWrapper) -> None:
        self._out, self._err = out, err

    @property
    def width(self) -> int | None:
        """Columns; None where nobody looks, so that nothing is cut for whoever reads on."""
        return shutil.get_terminal_size().columns if self._out.isatty() else None

    def say(self, line: str = "") -> None:
        self._out.write(line)

    def say_at_once(self, lines: Iterable[str]) -> None:
        """Also to a pipe."""
        for line in lines:
            self._out.write(line)
        self._out.flush()

    def note(self, line: str) -> None:
        """What is about the output, and no part of it."""
        self._err.write(line, _as_it_is)

    def section(self, title: str, lines: Iterable[str]) -> None:
        """Nothing where there are no lines."""
        for number, line in enumerate(lines):
            if not number:
                self.say(f"\n{title}")
            self.say(f"{INDENT}{line}")


def _as_it_is(text: str) -> str:
    return text


def json_line(value: object) -> str:
    """In ASCII, so that it does nothing on a terminal either."""
    return json.dumps(value, default=_plain_value)


def _plain_value(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def write_what_cannot_be_encoded_as_numbers() -> None:
    """A terminal of another language must not end the command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def is_yes(answer: str) -> bool:
    return answer.lower() in {"y", "yes"}


def ask(question: str, fits: Callable[[str], bool]) -> None:
    """Raises CommandError where the answer does not fit, or nobody is there to give one."""
    if not sys.stdin.isatty():
        raise CommandError("Nobody is there to be asked; pass --yes to do it without.")
    try:
        answer = input(question)
    except EOFError:
        answer = ""
    if not fits(answer.strip()):
        raise CommandError("Nothing was done.")
