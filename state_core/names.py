"""Lists of names as text, in which a name is found by itself: JSON, and no name imitates another's quotes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import orjson

_ESCAPE = re.compile(r"\\(.)")


def names_json(names: Iterable[str]) -> str:
    return f"[{','.join(map(needle, names))}]"


def quoted(names: Sequence[str]) -> list[str]:
    """As they stand there between the quotes."""
    return [needle(name)[1:-1] for name in names]


def needle(name: str) -> str:
    """A name as it stands there: in quotes that no name's own text can imitate."""
    text = orjson.dumps(name).decode()[1:-1]
    return f'"{_ESCAPE.sub(_plain_quote, text)}"'


def _plain_quote(match: re.Match[str]) -> str:
    return "\\u0022" if match[1] == '"' else match[0]
