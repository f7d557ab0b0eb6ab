from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError

from marsys_dashboard.jsontext import read_json


@pytest.mark.parametrize(
    "text", ["null", "-9223372036854775808", "18446744073709551615", "1e308", '{"a": {"a": 1}}']
)
def test_what_can_be_stored_is_read(text):
    assert read_json(f"[{text}]")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("1" * 5000, "is too large a number"),
        ("18446744073709551616", "is too large a number"),
        ("-9223372036854775809", "is too large a number"),
        ("1e999", "is too large a number"),
        ("NaN", "is not a value that it knows"),
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "'c' stands there twice"),
        ("[" * 100_000, "nested too deeply"),
        ("{", "no JSON: expecting property name"),
    ],
)
def test_what_would_be_stored_as_something_else_is_refused(text, told):
    with pytest.raises(ValidationError, match=told):
        read_json(text)
