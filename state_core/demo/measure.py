"""What can be found out about Python source: counted from its syntax tree, nothing guessed."""

from __future__ import annotations

import ast
import re
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from state_core.demo.sources import Package, read_source

_TODO = re.compile(r"#.*\b(TODO|FIXME|XXX)\b")
_DECISIONS = (
    ast.If,
    ast.IfExp,
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.ExceptHandler,
    ast.comprehension,
    ast.Assert,
)

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass
class Findings:
    """Sums over files; two of them can be added."""

    files: int = 0
    lines: int = 0
    functions: int = 0
    documented: int = 0
    todos: int = 0
    complexity: int = 0
    longest: tuple[int, str] = (0, "")
    """(lines, where)"""
    hardest: tuple[int, str] = (0, "")
    """(cyclomatic complexity, where)"""
    imports: Counter[str] = field(default_factory=Counter)
    unreadable: list[str] = field(default_factory=list)

    def __add__(self, other: Findings) -> Findings:
        return Findings(
            files=self.files + other.files,
            lines=self.lines + other.lines,
            functions=self.functions + other.functions,
            documented=self.documented + other.documented,
            todos=self.todos + other.todos,
            complexity=self.complexity + other.complexity,
            longest=max(self.longest, other.longest),
            hardest=max(self.hardest, other.hardest),
            imports=self.imports + other.imports,
            unreadable=self.unreadable + other.unreadable,
        )

    def as_result(self) -> dict[str, Any]:
        """Plain values, as a step's output keeps them."""
        return {
            "files": self.files,
            "lines": self.lines,
            "functions": self.functions,
            "documented_percent": percent(self.documented, self.functions),
            "todos_per_1000_lines": round(1000 * self.todos / self.lines, 2) if self.lines else 0.0,
            "mean_complexity": round(self.complexity / self.functions, 2) if self.functions else 0.0,
            "longest_function": {"lines": self.longest[0], "where": self.longest[1]},
            "hardest_function": {"complexity": self.hardest[0], "where": self.hardest[1]},
            "most_imported": dict(self.imports.most_common(5)),
            "unreadable": self.unreadable[:20],
        }


def percent(part: int, whole: int) -> float:
    return round(100 * part / whole, 1) if whole else 0.0


UNPARSABLE = (SyntaxError, ValueError, RecursionError, MemoryError, SystemError)
"""Not Python, or nested more deeply than Python's own parser bears."""

_parsing = threading.Lock()


def parse(source: str | bytes, where: str = "<source>") -> ast.Module:
    """Raises SyntaxError or ValueError where it is not Python.

    One at a time: Python 3.11 counts the depth of the trees that it builds for all threads together, and
    fails with SystemError where two of them build one.
    """
    with _parsing:
        return ast.parse(source, filename=where)


def measure_source(source: str, where: str) -> Findings:
    """Raises SyntaxError or ValueError where it is not Python."""
    tree = parse(source, where)
    functions = list(_functions(tree))
    hardness = [(complexity(function), f"{where}:{function.name}") for function in functions]
    return Findings(
        files=1,
        lines=source.count("\n") + 1,
        functions=len(functions),
        documented=sum(ast.get_docstring(function) is not None for function in functions),
        todos=len(_TODO.findall(source)),
        complexity=sum(score for score, _ in hardness),
        longest=max(((_length(f), f"{where}:{f.name}") for f in functions), default=(0, "")),
        hardest=max(hardness, default=(0, "")),
        imports=Counter(_imported(tree)),
    )


def measure_files(paths: Iterable[Path], root: Path) -> Findings:
    """Together; a file that is not Python as this interpreter reads it is named, not counted."""
    total = Findings()
    for path in paths:
        where = str(path.relative_to(root))
        try:
            total += measure_source(read_source(path), where)
        except UNPARSABLE:
            total.unreadable.append(where)
    return total


def measure_package(package: Package, limit: int | None = None) -> Findings:
    """``limit``: at most so many of its files, evenly spread over it."""
    return measure_files(spread(package.files(), limit), package.folder.parent)


def spread(paths: list[Path], limit: int | None) -> list[Path]:
    if limit is None or len(paths) <= limit:
        return paths
    return [paths[index * len(paths) // limit] for index in range(limit)]


def complexity(function: Function) -> int:
    """Cyclomatic: one, and one more for each place where it can go two ways."""
    return 1 + sum(_ways(node) for node in ast.walk(function))


def hardest_functions(source: str) -> list[dict[str, Any]]:
    """Each function with its complexity, the hardest first."""
    found = [
        {"name": f.name, "line": f.lineno, "lines": _length(f), "complexity": complexity(f)}
        for f in _functions(parse(source))
    ]
    return sorted(found, key=lambda function: (-function["complexity"], function["line"]))


def _ways(node: ast.AST) -> int:
    if isinstance(node, ast.BoolOp):
        return len(node.values) - 1
    if isinstance(node, ast.match_case):
        return 1
    return int(isinstance(node, _DECISIONS))


def _functions(tree: ast.AST) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def _length(function: Function) -> int:
    return (function.end_lineno or function.lineno) - function.lineno + 1


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]
