"""`make bench` in its quick form: that it makes its report, not what the figures are."""

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.__main__ import chosen
from benchmarks.figures import Bar, Figure, table

ROOT = Path(__file__).parents[2]


def test_two_rows_are_measured_and_reported_as_a_table_and_as_json(tmp_path):
    report = tmp_path / "report.json"
    command = [sys.executable, "-m", "benchmarks", "--quick", "--json", str(report)]
    found = subprocess.run(
        [*command, "--only", "steps-sqlite", "list-file"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert found.returncode == 0, found.stderr
    steps, listed = json.loads(report.read_text())["figures"]
    assert steps["row"] == "steps one after another, sqlite"
    assert steps["ratio_to_limit"] > 0
    assert steps["met"] in (True, False)
    assert listed["medians"]["ours"] > 0
    assert "steps one after another, sqlite" in found.stdout
    assert "list of 200 checkpoints, file" in found.stdout


def test_no_question_that_has_an_index_reads_the_whole_table(tmp_path):
    report = tmp_path / "report.json"
    command = [
        sys.executable,
        "-m",
        "benchmarks",
        "--quick",
        "--json",
        str(report),
        "--only",
        "explain-sqlite",
    ]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert found.returncode == 0, found.stderr
    *asked, by_scan = json.loads(report.read_text())["figures"]
    assert by_scan["ours"] == [0], by_scan["note"]
    assert "500 sessions, sqlite: newest" in [figure["row"] for figure in asked]


def test_an_unknown_row_is_refused_with_the_names_there_are():
    command = [sys.executable, "-m", "benchmarks", "--only", "nonsense"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert found.returncode == 2
    assert "growth-postgresql" in found.stdout.splitlines()


def test_rows_are_chosen_by_pattern():
    assert set(chosen(["steps-s*", "crowd-*"])) == {"steps-sqlite", "crowd-postgresql"}


def test_a_ratio_is_the_median_of_each_rounds_own():
    slow_second_round = Figure("r", "s", ours=[1, 10, 1], limit=[2, 20, 2], bar=Bar("limit", "≤", 0.5))
    assert slow_second_round.compared == 0.5
    assert slow_second_round.met is True


def test_a_bar_that_is_missed_says_so():
    missed = Figure("r", "appends/s", ours=[40.0], limit=[100.0], bar=Bar("limit", "≥", 0.5))
    assert missed.met is False
    assert "NOT MET" in table([missed])


def test_without_its_peer_a_bar_is_neither_met_nor_missed():
    alone = Figure("r", "s", ours=[1.0], bar=Bar("peer", "≤", 0.1), note="The peer is not installed.")
    assert alone.met is None
    assert "The peer is not installed." in table([alone])
