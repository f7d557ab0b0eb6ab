"""The answers that a question offers, in words."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from marsys_dashboard.templatetags.state import shortened

NAMES = ("title", "label", "name")
"""What an object may call itself, the first of these that it has."""
LONGEST = 200
LONGEST_WHOLE = 1000


@dataclass(frozen=True, slots=True)
class Choice:
    text: str
    whole: str = ""
    """What is answered by it, as JSON; empty where the text says it."""


def in_words(choices: Sequence[Any]) -> list[Choice]:
    """Objects by their names, where those tell them apart; everything else as text or JSON."""
    names = [_name(value) for value in choices]
    count = Counter(names)
    return [
        Choice(shortened(name, LONGEST), shortened(_json(value), LONGEST_WHOLE))
        if name and count[name] == 1
        else Choice(shortened(value if isinstance(value, str) else _json(value), LONGEST))
        for name, value in zip(names, choices, strict=True)
    ]


def _name(value: Any) -> str:
    if not isinstance(value, Mapping):
        return ""
    names = (value.get(name) for name in NAMES)
    return next((name for name in names if isinstance(name, str) and name.strip()), "")


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
