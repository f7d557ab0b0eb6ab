"""JSON that people type."""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any, NoReturn

from django.core.exceptions import ValidationError

LEAST, MOST = -(2**63), 2**64 - 1
"""Of the integers that can be stored."""
LONGEST_INTEGER = 20
"""Characters that those take."""


def read_json(text: str) -> Any:
    """JSON as the standard has it. Raises ValidationError that says where it is not."""
    try:
        return json.loads(
            text,
            parse_constant=_no_constant,
            parse_int=_integer,
            parse_float=_float,
            object_pairs_hook=_object,
        )
    except json.JSONDecodeError as error:
        raise ValidationError(
            f"This is no JSON: {error.msg.lower()} at line {error.lineno}, column {error.colno}."
        ) from error
    except RecursionError as error:
        raise ValidationError("This JSON is nested too deeply.") from error


def _no_constant(name: str) -> NoReturn:
    raise ValidationError(f"This is no JSON: {name} is not a value that it knows.")


def _integer(digits: str) -> int:
    """Python itself reads none of more than 4,300 digits."""
    if len(digits) > LONGEST_INTEGER or not LEAST <= int(digits) <= MOST:
        raise ValidationError(f"{_shown(digits)} is too large a number. Write it as text, in quotes.")
    return int(digits)


def _float(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise ValidationError(f"{_shown(digits)} is too large a number. Write it as text, in quotes.")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of two values under one name, one would be lost without a word."""
    values = dict(pairs)
    if len(values) < len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise ValidationError(f"{_shown(twice)!r} stands there twice in one object. Leave one of them out.")
    return values


def _shown(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:40]}…"


def read_object(text: str) -> dict[str, Any]:
    """A JSON object; nothing is an empty one."""
    if not text.strip():
        return {}
    value = read_json(text)
    if not isinstance(value, dict):
        raise ValidationError('It must be a JSON object, in braces: {"key": "value"}.')
    return value
