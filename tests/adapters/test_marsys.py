"""The real MARSYS 0.2.1, which needs Python 3.12 or later: the checks in `marsys_021` run in a Python of
that kind, each reported here."""

from __future__ import annotations

import ast
import os
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from tests.marsys_python import marsys_python  # noqa: F401

HERE = Path(__file__).parent / "marsys_021"
ROOT = HERE.parents[2]


def checks() -> list[str]:
    """``check_state::check_1_…``, of every check that there is."""
    return [
        f"{path.stem}::{node.name}"
        for path in sorted(HERE.glob("check_*.py"))
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("check_")
    ]


@pytest.fixture(scope="session")
def outcomes(
    marsys_python: Path,  # noqa: F811
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, list[str]]:
    """Check → what went wrong in it; of every check that ran."""
    report = tmp_path_factory.mktemp("marsys") / "report.xml"
    # The settings of Django's are this process's own.
    kept = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    done = subprocess.run(
        [
            marsys_python, "-m", "pytest", HERE, "-q", "-c", HERE / "pytest.ini", "-p", "no:cacheprovider",
            f"--rootdir={HERE}", f"--confcutdir={HERE}", f"--junit-xml={report}",
        ],
        env={**kept, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=240,
    )  # fmt: skip
    assert report.exists(), done.stdout + done.stderr
    found: dict[str, list[str]] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        name = f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name', '').partition('[')[0]}"
        wrong = [part.text or "" for part in case if part.tag in {"failure", "error", "skipped"}]
        found.setdefault(name, []).extend(wrong)
    return found


@pytest.mark.parametrize("check", checks())
def test_with_the_real_marsys(check: str, outcomes: dict[str, list[str]]) -> None:
    assert check in outcomes, "it did not run"
    assert outcomes[check] == [], "\n".join(outcomes[check])
