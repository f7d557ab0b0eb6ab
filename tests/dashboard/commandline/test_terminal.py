from __future__ import annotations

import json

import pytest

from marsys_dashboard.commandline.terminal import fitted, json_line, plain, table, width_of
from state_core.records import utc_now


@pytest.mark.parametrize(
    "hostile",
    [
        "\x1b[2J",
        "\x1b]0;owned\x07",
        "\x9b31m",
        "safe\rEVIL",
        "one\ntwo",
        "one\u2028two",
        "\u202egnp.exe",
        "zero\u200bwidth",
        "half \ud83d of a pair",
        "\x00\x08\x7f",
    ],
)
def test_what_agents_write_does_nothing_on_a_terminal(hostile):
    assert plain(hostile).isprintable()
    assert json_line({"title": hostile}).isascii()
    assert json_line({"title": hostile}).isprintable()
    assert json.loads(json_line({"title": hostile})) == {"title": hostile}


def test_what_cannot_be_seen_is_shown_by_its_number_and_the_rest_as_it_is():
    assert plain("héllo 日本\x1b[31m") == "héllo 日本\\x1b[31m"


def test_a_text_is_cut_whatever_its_length():
    assert plain("x" * 1_000_000, 20) == "x" * 19 + "…"
    assert len(plain("\x1b" * 1_000_000, 20)) == 20


def test_moments_are_iso_8601_for_programs():
    moment = utc_now()
    assert json.loads(json_line({"at": moment})) == {"at": moment.isoformat()}


def test_a_cell_is_cut_by_columns_not_by_characters():
    assert fitted("日本語日本語", 7) == "日本語…"
    assert fitted("e\u0301e\u0301", 2) == "e\u0301e\u0301"


ROWS = [("SESSION", "TITLE", "AT WORK"), ("research_2024", "Causes of the tides", "Collector, Writer")]


@pytest.mark.parametrize("width", [40, 36, 30, 24])
def test_a_table_fits_the_terminal_and_cuts_no_id(width):
    lines = table(ROWS, width, (1, 2))
    assert max(map(width_of, lines)) <= width
    assert lines[1].startswith("research_2024")


def test_a_table_for_a_pipe_is_whole():
    assert table(ROWS, None, (1, 2))[1] == "research_2024  Causes of the tides  Collector, Writer"
