"""JSON that people type."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from django.core.exceptions import ValidationError


def read_json(text: str) -> Any:
    """JSON as the standard has it. Raises ValidationError that says where it is not."""
    try:
        return json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise ValidationError(
            f"This is no JSON: {error.msg.lower()} at line {error.lineno}, column {error.colno}."
        ) from error
    except RecursionError as error:
        raise ValidationError("This JSON is nested too deeply.") from error


def _no_constant(name: str) -> NoReturn:
    raise ValidationError(f"This is no JSON: {name} is not a value that it knows.")


def read_object(text: str) -> dict[str, Any]:
    """A JSON object; nothing is an empty one."""
    if not text.strip():
        return {}
    value = read_json(text)
    if not isinstance(value, dict):
        raise ValidationError('It must be a JSON object, in braces: {"key": "value"}.')
    return value
