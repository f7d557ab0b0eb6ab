"""`make bench-ui` in its quick form: that it makes its report, not what the figures are."""

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.ui.__main__ import chosen
from benchmarks.ui.crowd import Viewer, report
from benchmarks.ui.probe import delays

ROOT = Path(__file__).parents[2]


def test_rows_are_measured_in_a_browser_and_reported_as_a_table_and_as_json(tmp_path):
    written = tmp_path / "report.json"
    command = [sys.executable, "-m", "benchmarks.ui", "--quick", "--store", "sqlite", "--json", str(written)]
    found = subprocess.run(
        [*command, "--only", "list", "viewers-one"], cwd=ROOT, capture_output=True, text=True, timeout=200
    )
    assert found.returncode == 0, found.stderr
    figures = {figure["row"]: figure for figure in json.loads(written.read_text())["figures"]}
    warm = figures["list of 60: useful, warm"]
    assert 0 < warm["medians"]["ours"] < 60
    assert warm["peer_name"] == "Dagster 1.13"
    assert figures["20 viewers of one session, 20 updates/s: delivered"]["medians"]["ours"] == 1
    assert "list of 60: useful, warm" in found.stdout


def test_rows_are_chosen_by_pattern():
    assert set(chosen(["viewers-*", "page"])) == {
        "viewers-one", "viewers-many", "viewers-not-reading", "page"
    }  # fmt: skip


def test_an_event_is_seen_with_the_first_painting_that_has_it_or_a_later_one():
    shown = [("s", 5, 12.0), ("other", 9, 10.5), ("s", 8, 14.0)]
    assert delays({4: 10.0, 5: 11.0, 6: 13.0}, shown, "s") == [2.0, 1.0, 1.0]


def test_an_event_that_was_never_seen_takes_for_ever():
    assert delays({4: 10.0}, [("s", 3, 11.0)], "s") == [float("inf")]


def test_an_update_that_a_viewer_is_sent_twice_counts_once():
    viewer = Viewer("here", "", reads=True)
    viewer.heard = [(11.0, 0, 2), (12.0, 1, 3)]
    found = report([viewer], {"here": {"2": 10.0, "3": 10.0, "4": 10.0}})
    assert (found["updates"], found["expected"]) == (2, 3)
    assert found["delays"] == [2.0, 2.0]
