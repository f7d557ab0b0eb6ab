"""A question's JSON Schema as a form: fields that people fill in, and the answer read back from them.

What a form cannot express stays a field of JSON. Whether the answer fits is decided where it is recorded,
by the whole schema; the fields only help.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from django.core.exceptions import ValidationError

from marsys_dashboard.choices import Choice, in_words
from marsys_dashboard.jsontext import read_json

PREFIX = "answer."
"""Of the names of fields that make up an object."""
MOST_FIELDS = 40
LONG_TEXT = 120
"""Characters from which on a text gets a field of several lines."""


@dataclass(frozen=True)
class Field:
    """One value of an answer."""

    name: str
    """Of its input."""
    key: str
    """Of the object that it belongs to."""
    label: str
    kind: str
    """``text``, ``lines``, ``integer``, ``number``, ``boolean``, ``choice`` or ``json``."""
    required: bool = False
    hint: str = ""
    initial: str = ""
    choices: list[Any] = field(default_factory=list)
    limits: Mapping[str, Any] = field(default_factory=dict)
    """Attributes of the input that say what may be typed."""

    @property
    def offered(self) -> list[Choice]:
        return in_words(self.choices)

    @property
    def step(self) -> str:
        return "1" if self.kind == "integer" else "any"


def fields_of(schema: Mapping[str, Any] | None, sent: Mapping[str, str] | None = None) -> list[Field]:
    """The fields of an object; none where the schema is of something else, or too large for a form.
    ``sent``: what stands in them instead of the schema's defaults."""
    properties = (schema or {}).get("properties")
    if not schema or schema.get("type") != "object" or not isinstance(properties, dict):
        return []
    if not 0 < len(properties) <= MOST_FIELDS:
        return []
    required = schema.get("required")
    needed = set(map(str, required)) if isinstance(required, list) else set()
    fields = [_field(str(key), part, str(key) in needed) for key, part in properties.items()]
    return [replace(each, initial=sent.get(each.name, "")) for each in fields] if sent else fields


def _field(key: str, part: Any, required: bool) -> Field:
    part = part if isinstance(part, dict) else {}
    choices = part.get("enum")
    kind = "choice" if isinstance(choices, list) and choices else _kind(part)
    return Field(
        name=f"{PREFIX}{key}",
        key=key,
        label=str(part.get("title") or key),
        kind=kind,
        required=required,
        hint=str(part.get("description") or ""),
        initial=_initial(part, kind, choices),
        choices=list(choices) if kind == "choice" and choices else [],
        limits={html: part[name] for name, html in LIMITS.items() if isinstance(part.get(name), int | float)},
    )


LIMITS = {"minimum": "min", "maximum": "max", "minLength": "minlength", "maxLength": "maxlength"}


def _kind(part: Mapping[str, Any]) -> str:
    kind = part.get("type")
    if kind == "string":
        longest = part.get("maxLength")
        return "lines" if not isinstance(longest, int) or longest > LONG_TEXT else "text"
    return kind if kind in {"integer", "number", "boolean"} else "json"


def _initial(part: Mapping[str, Any], kind: str, choices: Any) -> str:
    if "default" not in part:
        return ""
    default = part["default"]
    if kind == "choice":
        return str(choices.index(default)) if default in choices else ""
    return default if isinstance(default, str) and kind != "json" else json.dumps(default)


def is_filled_in(data: Mapping[str, Any]) -> bool:
    """Was a form of fields sent, and not one text?"""
    return "answer_fields" in data


def read_fields(schema: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """The object that was filled in; what was left empty is not in it. Raises ValidationError."""
    found = {}
    for each in fields_of(schema):
        text = str(data.get(each.name) or "")
        if text.strip():
            found[each.key] = _value(each, text)
        elif each.required and each.kind not in {"text", "lines"}:
            raise ValidationError(f"{each.label}: this is needed.")
        elif each.required:
            found[each.key] = text
    return found


def _value(each: Field, text: str) -> Any:
    if each.kind in {"text", "lines"}:
        return text
    try:
        if each.kind == "choice":
            return chosen(each.choices, text)
        return _number(text) if each.kind in {"integer", "number"} else read_json(text)
    except ValidationError as error:
        raise ValidationError(f"{each.label}: {error.messages[0]}") from error


def chosen(choices: Sequence[Any], text: str) -> Any:
    """The one whose number was sent. Raises ValidationError."""
    by_number = {str(number): choice for number, choice in enumerate(choices)}
    if text not in by_number:
        raise ValidationError("Choose one of the answers.")
    return by_number[text]


def _number(text: str) -> Any:
    value = read_json(text.strip())
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValidationError("write a number.")
    return value
