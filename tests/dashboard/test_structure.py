"""Structured values as lines that people read."""

from __future__ import annotations

from typing import Any

import pytest
from django.template.loader import render_to_string

from marsys_dashboard.structure import DEPTH, LINES, LINES_OF_ONE, Line, structure


def lines_of(value: Any) -> dict[str, str]:
    whole = structure(value)
    assert whole
    return {line.name: line.text for line in whole.lines}


def test_names_stand_beside_their_values() -> None:
    value = {"files": 24, "complete": True, "nothing": None, "where": "difflib.py:_mdiff"}
    assert lines_of(value) == {
        "files": "24",
        "complete": "true",
        "nothing": "null",
        "where": "difflib.py:_mdiff",
    }


def test_what_is_small_stands_on_the_line_of_its_name() -> None:
    value = {"longest": {"lines": 268, "where": "difflib.py"}, "packages": ["attr", "yaml"], "unread": []}
    assert lines_of(value) == {
        "longest": "lines: 268 · where: difflib.py",
        "packages": "attr, yaml",
        "unread": "none",
    }


def test_what_is_larger_is_nested_and_says_how_much_it_is() -> None:
    whole = structure({"found": {"a": {"b": 1}, "c": ["x" * 80]}})
    assert whole
    (found,) = whole.lines
    assert (found.name, found.text, len(found.lines)) == ("found", "2 values", 2)


def test_what_is_nested_shows_at_a_glance_what_it_is() -> None:
    value = [{"package": "attr", "hardest": {"lines": 1}, "files": 10, "remark": "x" * 80, "after": 1}]
    assert lines_of(value) == {"1": "package: attr · files: 10 …"}


def test_items_of_a_list_are_numbered() -> None:
    assert lines_of([{"files": 42, "lines": 7}, "text"]) == {"1": "files: 42 · lines: 7", "2": "text"}


@pytest.mark.parametrize("value", [None, "", "text", 3, True, {}, []])
def test_what_has_no_structure_has_no_lines(value: Any) -> None:
    assert structure(value) is None


def count(line: Line) -> int:
    return sum(1 + count(inner) for inner in line.lines)


def depth(line: Line) -> int:
    return 1 + max(map(depth, line.lines), default=0)


def nested(levels: int) -> Any:
    return {"x": nested(levels - 1), "y": [1]} if levels else "end"


@pytest.mark.parametrize(
    "value",
    [
        {str(number): number for number in range(10_000)},
        [[{"deep": ["x" * 10_000] * 50}] * 50] * 50,
        {"k" * 10_000: "v" * 1_000_000},
        nested(200),
    ],
    ids=["wide", "large", "long", "deep"],
)
def test_the_lines_of_any_value_are_bounded(value: Any) -> None:
    whole = structure(value)
    assert whole
    assert count(whole) <= LINES
    assert len(whole.lines) <= LINES_OF_ONE
    assert depth(whole) <= DEPTH + 1
    assert len(render_to_string("session/_structure.html", {"lines": whole.lines})) < 40_000


def test_how_many_are_left_out_is_said() -> None:
    whole = structure(list(range(1_000)))
    assert whole and whole.left_out == 1_000 - LINES_OF_ONE
    html = render_to_string("session/_structure.html", {"lines": whole.lines, "left_out": whole.left_out})
    assert "and 984 more" in html


def test_names_and_values_are_text_and_nothing_else() -> None:
    whole = structure({"<b>name</b>": "<script>alert(1)</script>", "zero": "a\x00b"})
    assert whole
    html = render_to_string("session/_structure.html", {"lines": whole.lines})
    assert "<script>" not in html and "<b>" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "a\N{SYMBOL FOR NULL}b" in html
