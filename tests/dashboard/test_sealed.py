"""Files in which nothing can be changed without being noticed."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from marsys_dashboard.sealed import BrokenSeal, check, sealed

ENTRIES = [{"actor": "ana", "reason": "nächtlich\u2028\n"}, {"actor": "bo", "is_person": True}, {"seq": 3}]


async def written(entries: list[dict[str, Any]]) -> list[str]:
    async def given() -> AsyncIterator[dict[str, Any]]:
        for entry in entries:
            yield entry

    return [line async for line in sealed(given())]


async def test_a_file_is_whole_as_it_was_written() -> None:
    assert check(await written(ENTRIES)) == 3
    assert check(await written([])) == 0


CHANGES: dict[str, Callable[[list[str]], list[str]]] = {
    "Line 1 is not as it was": lambda lines: [lines[0].replace("ana", "eve"), *lines[1:]],
    "Line 2 is not as it was": lambda lines: [lines[0], *lines[2:]],
    "Line 1 is not": lambda lines: [lines[1], lines[0], *lines[2:]],
    "Line 3 is not as it was": lambda lines: [*lines[:2], lines[1], *lines[2:]],
    "without its seal": lambda lines: lines[:-1],
    "is for 3, and here are 2": lambda lines: [*lines[:2], lines[-1]],
    "Line 5 stands behind the seal": lambda lines: [*lines, lines[0]],
    "Line 2 is no JSON": lambda lines: [lines[0], "{", *lines[2:]],
    "Line 2 is no entry": lambda lines: [lines[0], "[]", *lines[2:]],
}


@pytest.mark.parametrize("told", CHANGES)
async def test_what_was_changed_is_told(told: str) -> None:
    with pytest.raises(BrokenSeal, match=told):
        check(CHANGES[told](await written(ENTRIES)))


async def test_who_chains_the_lines_anew_lacks_the_signature(settings) -> None:
    settings.SECRET_KEY = "somebody else's"
    forged = await written([{"actor": "eve"}])
    settings.SECRET_KEY = "the dashboard's"
    with pytest.raises(BrokenSeal, match="SECRET_KEY"):
        check(forged)


async def test_a_key_that_was_changed_still_checks_what_it_sealed(settings) -> None:
    settings.SECRET_KEY = "old"
    lines = await written(ENTRIES)
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "new", ["old"]
    assert check(lines) == 3


async def test_the_command_says_whether_a_file_is_as_it_was(tmp_path: Path, capsys) -> None:
    file = tmp_path / "activity.sealed.jsonl"
    file.write_text("".join(await written(ENTRIES)), encoding="utf-8")
    call_command("check_activity", str(file))
    assert "All 3 entries are as they were written." in capsys.readouterr().out
    first, *others = file.read_text(encoding="utf-8").split("\n")
    file.write_text("\n".join([json.dumps({**json.loads(first), "actor": "eve"}), *others]), encoding="utf-8")
    with pytest.raises(CommandError, match="Line 1 is not as it was"):
        call_command("check_activity", str(file))
    with pytest.raises(CommandError, match="cannot be read: No such file"):
        call_command("check_activity", str(tmp_path / "nothing"))
