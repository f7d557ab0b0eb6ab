"""The numbers that the demonstration reports."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from state_core.demo.measure import (
    Findings,
    complexity,
    hardest_functions,
    measure_files,
    measure_source,
    percent,
    spread,
)

SOURCE = '''
import os
import json, os.path
from collections.abc import Iterator


def documented(a):
    """It says what it does."""
    return a  # TODO: more


async def hard(a, b):
    # FIXME
    for item in a:
        if item and b or not b:
            while b:
                b -= 1
    return [x for x in a if x]
'''


def test_it_counts_functions_lines_docstrings_and_notes() -> None:
    found = measure_source(SOURCE, "sample.py")
    assert (found.files, found.lines, found.functions, found.documented, found.todos) == (1, 19, 2, 1, 2)


def test_it_names_the_longest_and_the_hardest_function() -> None:
    found = measure_source(SOURCE, "sample.py")
    assert found.longest == (7, "sample.py:hard")
    assert found.hardest == (7, "sample.py:hard")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("pass", 1),
        ("if a: pass", 2),
        ("if a and b and c: pass", 4),
        ("for x in a: pass", 2),
        ("return [x for x in a]", 2),
        ("match a:\n  case 1: pass\n  case _: pass", 3),
        ("try: pass\nexcept ValueError: pass", 2),
    ],
)
def test_complexity_is_one_and_one_more_for_each_place_where_it_can_go_two_ways(
    body: str, expected: int
) -> None:
    indented = body.replace("\n", "\n ")
    function = ast.parse(f"def f(a, b, c):\n {indented}\n").body[0]
    assert isinstance(function, ast.FunctionDef)
    assert complexity(function) == expected


def test_imports_are_counted_by_top_level_module() -> None:
    assert measure_source(SOURCE, "x").imports == {"os": 2, "json": 1, "collections": 1}


def test_findings_add_up() -> None:
    one = measure_source(SOURCE, "a.py")
    two = measure_source("def f(): pass\n", "b.py")
    both = one + two
    assert both.functions == 3
    assert both.lines == one.lines + two.lines
    assert both.hardest == one.hardest


def test_a_file_that_is_not_python_is_named_and_not_counted(tmp_path: Path) -> None:
    (tmp_path / "good.py").write_text("x = 1\n")
    (tmp_path / "bad.py").write_text("print 'two'\n")
    (tmp_path / "null.py").write_bytes(b"x = 1\0")
    (tmp_path / "coding.py").write_bytes(b"# coding: no-such-thing\n")
    found = measure_files(sorted(tmp_path.glob("*.py")), tmp_path)
    assert found.files == 1
    assert found.unreadable == ["bad.py", "coding.py", "null.py"]


def test_a_result_of_nothing_divides_by_nothing() -> None:
    assert Findings().as_result()["mean_complexity"] == 0.0
    assert percent(1, 0) == 0.0


def test_the_hardest_functions_come_first() -> None:
    assert [found["name"] for found in hardest_functions(SOURCE)] == ["hard", "documented"]


def test_a_sample_is_spread_evenly() -> None:
    paths = [Path(str(number)) for number in range(10)]
    assert spread(paths, 5) == paths[::2]
    assert spread(paths, None) == paths
    assert spread(paths, 20) == paths
