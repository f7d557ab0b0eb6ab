"""Does an answer fit its question?"""

from __future__ import annotations

import json
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from state_core.exceptions import InvalidValue
from state_core.records import Document


def check_answer(question: Document, answer: Any) -> None:
    """Raises InvalidValue, saying what would fit."""
    choices = question.get("choices")
    if choices and answer not in choices:
        shown = ", ".join(map(_json, choices))
        raise InvalidValue(f"{_json(answer)} is not one of the choices: {shown}.")
    if question.get("schema"):
        _check_schema(question["schema"], answer)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=repr)


def _check_schema(schema: Document, answer: Any) -> None:
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise InvalidValue(f"The question's schema is not a JSON Schema: {error.message}") from error
    problem = next(iter(Draft202012Validator(schema).iter_errors(answer)), None)
    if problem:
        place = ".".join(map(str, problem.absolute_path))
        raise InvalidValue(f"The answer does not fit{' at ' + place if place else ''}: {problem.message}")
