"""Does an answer fit its question?"""

from __future__ import annotations

import json
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from referencing import Registry
from referencing.exceptions import Unresolvable

from state_core.exceptions import InvalidValue
from state_core.heads import short
from state_core.records import Document

NOTHING_ELSE: Registry[Any] = Registry()
"""A schema is what an agent wrote: by itself, jsonschema would ask whatever address stands in a ``$ref``."""


def check_answer(question: Document, answer: Any) -> None:
    """Raises InvalidValue, saying what would fit."""
    choices = question.get("choices")
    if choices and answer not in choices:
        shown = ", ".join(map(_json, choices))
        raise InvalidValue(short(f"{short(_json(answer), 80)} is not one of the choices: {shown}."))
    if question.get("schema"):
        _check_schema(question["schema"], answer)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=repr)


def _check_schema(schema: Document, answer: Any) -> None:
    try:
        Draft202012Validator.check_schema(schema)
        problem = next(Draft202012Validator(schema, registry=NOTHING_ELSE).iter_errors(answer), None)
    except SchemaError as error:
        raise InvalidValue(f"The question's schema is not a JSON Schema: {short(error.message)}") from error
    except Unresolvable as error:
        raise InvalidValue(
            f"The question's schema refers to {short(error.ref, 80)!r}, which is not in it. "
            "Only cancelling helps, or asking anew with a schema that is whole."
        ) from error
    except RecursionError as error:
        raise InvalidValue(
            "The question's schema refers to itself without end. "
            "Only cancelling helps, or asking anew with another schema."
        ) from error
    if problem:
        place = ".".join(map(str, problem.absolute_path))
        message = f"The answer does not fit{' at ' + place if place else ''}: {problem.message}"
        raise InvalidValue(short(message))
