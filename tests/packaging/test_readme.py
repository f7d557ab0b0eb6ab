"""What the README says is so."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.core.management import get_commands

from marsys_dashboard import managers
from tests.dashboard.api.conftest import token_of
from tests.dashboard.pages.conftest import MEMORY, use_stores

__all__ = ["use_stores"]

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
SNIPPETS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
PRINTED = ["completed 1", "Tides have causes: ", "completed ['search']", "You said: Explain tides"]
"""What each snippet's output begins with."""


@pytest.mark.parametrize(("code", "printed"), list(zip(SNIPPETS, PRINTED, strict=True)))
def test_a_snippet_runs_as_it_stands(code: str, printed: str, tmp_path: Path) -> None:
    script = tmp_path / "snippet.py"
    script.write_text(code)
    done = subprocess.run(
        [sys.executable, "-W", "error", script], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(printed)


def test_in_a_database_the_session_stays_for_others_to_see(tmp_path: Path) -> None:
    place = f"sqlite:///{tmp_path}/state.sqlite3"
    code = SNIPPETS[1].replace("MemoryStorageBackend()", f"DatabaseStorageBackend({place!r})")
    code = code.replace("import MemoryStorageBackend", "import DatabaseStorageBackend")
    script = tmp_path / "snippet.py"
    script.write_text(code)
    subprocess.run([sys.executable, script], cwd=tmp_path, check=True, timeout=60, capture_output=True)
    with closing(sqlite3.connect(tmp_path / "state.sqlite3")) as connection:
        (row,) = connection.execute("SELECT session_id, status FROM marsys_state_session")
    assert row == ("tides_2024", "completed")


def test_what_other_programs_send_is_answered(live_server: Any, use_stores: Callable[..., None]) -> None:
    use_stores(default=MEMORY)
    managers.manager("default").sync.create_session("tides_2024")
    (script,) = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    done = subprocess.run(
        ["sh", "-eu", "-c", script.replace("http://127.0.0.1:8000", live_server.url)],
        env={**os.environ, "TOKEN": token_of("ana"), "no_proxy": "*"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    listed, preview, paused, followed = map(json.loads, done.stdout.replace("}{", "}\n{").splitlines())
    assert listed["counts"] == {"pending": 1}
    assert preview["becomes"] == "Paused"
    assert paused["session"]["status"] == "paused"
    assert [event["kind"] for event in followed["events"]] == ["session.paused"]


def test_each_management_command_is_there() -> None:
    named = set(re.findall(r"manage\.py (\w+)", README))
    assert named
    assert named <= set(get_commands())


def test_each_variable_of_the_table_is_read_by_the_settings() -> None:
    source = "".join(
        (ROOT / "marsys_dashboard" / name).read_text() for name in ("settings.py", "environment.py")
    )
    table = README.split("| Variable |")[1].split("\n\n")[0]
    for name in re.findall(r"^\| `([A-Z_]+)`", table, re.MULTILINE):
        assert f'"{name}"' in source, name


def test_each_variable_of_the_settings_stands_in_the_table() -> None:
    source = (ROOT / "marsys_dashboard" / "settings.py").read_text()
    read = set(re.findall(r'(?:is_on|words|environ\.get)\(\s*"([A-Z_]+)"', source))
    assert read
    assert {name for name in read if f"`{name}`" not in README} == set()


@pytest.mark.django_db
def test_each_permission_of_the_table_exists() -> None:
    named = re.findall(r"^\| `state_core\.(\w+)`", README, re.MULTILINE)
    assert named
    assert set(named) <= set(Permission.objects.values_list("codename", flat=True))


def test_each_file_that_is_linked_is_there() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert links
    assert [link for link in links if "://" not in link and not (ROOT / link).exists()] == []


def test_each_make_target_is_there() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(
        r"\bmake ([a-z]+)\b", " ".join(re.findall(r"`[^`]+`|^    .*$", README, re.MULTILINE))
    ):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_it_names_what_the_library_has() -> None:
    for module in ("state_core.testing", "state_core.orchestra"):
        assert subprocess.run([sys.executable, "-c", f"import {module}"], cwd=ROOT).returncode == 0
