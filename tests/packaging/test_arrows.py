"""Who may import whom: one arrow from the dashboard to the library, and floors within each."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

LIBRARY_FLOORS = (
    {"exceptions", "records", "facts"},
    {"events"},
    {"snapshots"},
    {"changes", "codec", "dictionary", "words", "cache", "redaction", "names"},
    {"fold"},
    {"heads", "answers", "config", "diff", "preview"},
    {"storage.terms"},
    {"storage.base", "checkpoints", "compose"},
    {"batching"},
    {"log", "walk"},
    {"compaction"},
    {"retention", "writer", "saving", "copying", "lineage", "rotation"},
    {"storage", "sync", "housekeeping"},
    {"recording", "keeping"},
    {"pausing"},
    {"asking"},
    {"branch", "session"},
    {"reading"},
    {"control"},
    {"checkpointing"},
    {"history"},
    {"manager"},
    {"rounds"},
    {"bundles"},
    {"adapters.genai"},
    {"adapters.recorded"},
    {"adapters.recorder"},
    {"adapters.marsys.projection"},
    {"adapters.marsys.shelf", "adapters.marsys.states", "adapters.marsys.meanings"},
    {"adapters.marsys.live", "adapters.marsys.v03"},
    {"adapters.marsys.control"},
    {"orchestra", "adapters", "testing", "managers"},
    {"demo", "admin", "admin_actions", "management", "checks"},
)
"""Lowest first. A name stands for what begins with it, unless a longer name says otherwise."""

OUTSIDE_THE_FLOORS = {"models", "fields", "migrations", "apps", ""}
"""Django's own places, and the public face, which gathers from every floor."""

MAY_KNOW_MODELS = (
    "storage.database",
    "storage.schema",
    "storage.rows",
    "admin",
    "management",
    "migrations",
    "models",
    "apps",
)
COMMANDS_ABOUT_ADAPTERS = ("management.commands.import_langgraph", "management.commands.run_worker")
MAY_KNOW_DJANGO = (*MAY_KNOW_MODELS, "fields", "admin_actions", "checks", "storage")


def files_of(package: str) -> dict[str, Path]:
    """Module → file, for example ``state_core.storage.base``."""
    found = {}
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def imports_of(path: Path) -> list[str]:
    return list(_imports(ast.parse(path.read_text())))


def _imports(node: ast.AST) -> Iterator[str]:
    """Names imported anywhere in a file, save under ``if TYPE_CHECKING``."""
    if isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}:
        return
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert not node.level, f"relative import of {node.module}"
        yield from (f"{node.module}.{alias.name}" for alias in node.names)
    for child in ast.iter_child_nodes(node):
        yield from _imports(child)


def modules_imported(path: Path, package: str) -> set[str]:
    """Modules of the package that a file imports."""
    known = files_of(package)
    found = set()
    for name in imports_of(path):
        while name and name not in known:
            name = name.rpartition(".")[0]
        if name:
            found.add(name)
    return found


def floor_of(module: str) -> int | None:
    """None for what stands outside."""
    inner = module.removeprefix("state_core").lstrip(".")
    if inner.partition(".")[0] in OUTSIDE_THE_FLOORS:
        return None
    best = max(
        (
            (name, index)
            for index, floor in enumerate(LIBRARY_FLOORS)
            for name in floor
            if _under(inner, name)
        ),
        key=lambda pair: len(pair[0]),
        default=None,
    )
    assert best, f"{module} stands on no floor; put it on one in this test and in the architecture"
    return best[1]


def _under(module: str, name: str) -> bool:
    return module == name or module.startswith(f"{name}.")


def is_one_of(module: str, names: tuple[str, ...]) -> bool:
    inner = module.removeprefix("state_core").lstrip(".")
    return any(_under(inner, name) for name in names)


@pytest.mark.parametrize("module", files_of("state_core"))
def test_a_module_of_the_library_imports_only_from_its_floor_and_below(module: str) -> None:
    floor = floor_of(module)
    if floor is None:
        return
    for imported in modules_imported(files_of("state_core")[module], "state_core"):
        target = floor_of(imported)
        assert target is None or target <= floor, f"{module} imports {imported}, which is above it"


def test_the_library_does_not_know_the_dashboard() -> None:
    for module, path in files_of("state_core").items():
        above = [name for name in imports_of(path) if name.startswith("marsys_dashboard")]
        assert not above, f"{module} imports {above}"


@pytest.mark.parametrize("package", ["state_core", "marsys_dashboard"])
def test_modules_do_not_import_each_other_in_a_circle(package: str) -> None:
    graph = {
        module: modules_imported(path, package) - {module, package}
        for module, path in files_of(package).items()
    }
    TopologicalSorter(graph).prepare()


def test_only_the_database_store_the_admin_and_commands_know_the_models() -> None:
    for module, path in files_of("state_core").items():
        if any(name.startswith("state_core.models") for name in imports_of(path)):
            assert is_one_of(module, MAY_KNOW_MODELS), f"{module} imports the models"


def test_the_dashboard_never_touches_the_models() -> None:
    for module, path in files_of("marsys_dashboard").items():
        assert not [n for n in imports_of(path) if n.startswith("state_core.models")], module


def test_only_djangos_own_places_in_the_library_know_django() -> None:
    for module, path in files_of("state_core").items():
        if any(name.partition(".")[0] in {"django", "channels"} for name in imports_of(path)):
            assert is_one_of(module, MAY_KNOW_DJANGO), f"{module} imports Django"


def test_only_charts_know_plotly() -> None:
    for package in ("state_core", "marsys_dashboard"):
        for module, path in files_of(package).items():
            if any(name.partition(".")[0] == "plotly" for name in imports_of(path)):
                assert module.startswith("marsys_dashboard.charts"), f"{module} imports plotly"


def test_no_adapter_is_imported_by_the_library() -> None:
    """Save by a command that is about one, when it is called."""
    for module, path in files_of("state_core").items():
        if not is_one_of(module, ("adapters", *COMMANDS_ABOUT_ADAPTERS)):
            assert not [n for n in imports_of(path) if n.startswith("state_core.adapters")], module


@pytest.mark.parametrize("module", ["state_core", "state_core.orchestra", "state_core.storage"])
def test_importing_the_library_loads_no_django(module: str) -> None:
    code = f"import sys, {module}; sys.exit('django' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
