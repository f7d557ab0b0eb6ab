from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from marsys_dashboard.templatetags.state import (
    duration,
    exact,
    lasting,
    made_by,
    moment,
    number,
    relative,
    status,
)
from state_core.records import Checkpoint, CheckpointKind
from state_core.words import size


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0 ms"),
        (0.842, "842 ms"),
        (0.9996, "1.0 s"),
        (12.44, "12.4 s"),
        (59.96, "1 m 00 s"),
        (187, "3 m 07 s"),
        (3599.6, "1 h 00 m"),
        (8100, "2 h 15 m"),
        (86400 * 3 + 3600 * 4, "3 d 4 h"),
        (-1, "0 ms"),
        (None, ""),
    ],
)
def test_durations(seconds, shown):
    assert duration(seconds) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(3, "just now"), (42, "42 s ago"), (185, "3 min ago"), (7300, "2 h ago"), (200_000, "2 d ago")],
)
def test_times_are_told_from_now(seconds, shown):
    assert relative(timezone.now() - timedelta(seconds=seconds)) == shown


def test_a_time_carries_the_exact_stamp_and_its_zone():
    at = datetime(2026, 3, 1, 12, 0, 5, tzinfo=UTC)
    assert exact(at) == "2026-03-01 12:00:05 UTC"
    html = moment(at, "clock")
    assert 'datetime="2026-03-01T12:00:05+00:00"' in html
    assert ">12:00:05<" in html


def test_a_duration_that_goes_on_says_since_when():
    at = datetime(2026, 3, 1, tzinfo=UTC)
    assert 'data-since="2026-03-01T00:00:00+00:00"' in lasting(5, at)
    assert "data-since" not in lasting(5)


@pytest.mark.parametrize(
    ("count", "shown"),
    [(0, "0 B"), (842, "842 B"), (12_400, "12.4 kB"), (1_800_000, "1.8 MB"), (None, "0 B")],
)
def test_sizes(count, shown):
    assert size(count) == shown


def test_numbers_have_thin_spaces():
    assert number(1284) == "1\u202f284"


def test_a_status_of_a_later_version_is_shown_as_unknown():
    assert "<span>Unknown</span>" in status("hibernating")


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (CheckpointKind.MANUAL, "Ana"),
        (CheckpointKind.AUTO, "automatic"),
        (CheckpointKind.PRE_RESTORE, "kept before a restore"),
        (CheckpointKind.ERROR, "on error"),
    ],
)
def test_who_or_what_made_a_checkpoint(kind, words):
    assert made_by(Checkpoint("c", "s", "name", 3, timezone.now(), kind=kind, actor="Ana")) == words
