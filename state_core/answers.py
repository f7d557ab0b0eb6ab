"""Does an answer fit its question?"""

from __future__ import annotations

import json
from typing import Any

from jsonschema_rs import Draft202012Validator

from state_core.exceptions import InvalidValue
from state_core.heads import short
from state_core.records import Document


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
    elsewhere: list[str] = []

    def refuse(address: str) -> Any:
        """A schema is what an agent wrote: no address that stands in it is asked."""
        elsewhere.append(address)
        raise LookupError(address)

    try:
        problem = next(Draft202012Validator(schema, retriever=refuse).iter_errors(answer), None)
    except ValueError as error:
        if elsewhere:
            line = f"refers to {short(elsewhere[0], 80)!r}, which is not in it"
        else:
            line = f"is not a JSON Schema: {short(getattr(error, 'message', error), 200)}"
        raise InvalidValue(
            f"The question's schema {line}. Only cancelling helps, or asking anew with another schema."
        ) from error
    if problem:
        place = ".".join(map(str, problem.instance_path))
        message = f"The answer does not fit{' at ' + place if place else ''}: {problem.message}"
        raise InvalidValue(short(message))
