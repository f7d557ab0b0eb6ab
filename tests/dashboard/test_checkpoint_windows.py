"""Which checkpoints a page shows of very many."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from marsys_dashboard.checkpoint_windows import MARKS, OFFERED, marks, neighbours, offered, window
from state_core.records import Checkpoint, utc_now


def checkpoints(*seqs: int) -> list[Checkpoint]:
    return [
        Checkpoint(id=f"c{n}", session_id="s", name=f"at {seq}", seq=seq, created_at=utc_now())
        for n, seq in enumerate(seqs)
    ]


def seqs(found: Sequence[Checkpoint]) -> list[int]:
    return [each.seq for each in found]


MANY = checkpoints(*range(10, 1010, 10))


def test_the_newest_come_first_and_say_what_is_before_them() -> None:
    shown = window(MANY, limit=3)
    assert (seqs(shown.checkpoints), shown.is_later, shown.before) == ([1000, 990, 980], False, 980)


def test_windows_follow_one_another_down_to_the_first() -> None:
    met, before = [], None
    while True:
        shown = window(MANY, before=before, limit=7)
        met += seqs(shown.checkpoints)
        before = shown.before
        if before is None:
            break
    assert met == seqs(MANY)[::-1]


def test_one_that_is_asked_for_stands_among_its_neighbours() -> None:
    shown = window(MANY, around="c49", limit=4)
    assert (seqs(shown.checkpoints), shown.is_later, shown.before) == ([520, 510, 500, 490], True, 490)


@pytest.mark.parametrize("name", ["c99", "unknown", ""])
def test_around_the_newest_or_one_that_is_gone_are_the_newest(name: str) -> None:
    assert seqs(window(MANY, around=name, limit=2).checkpoints) == [1000, 990]


def test_checkpoints_of_one_event_are_not_parted() -> None:
    shown = window(checkpoints(5, 7, 7, 7, 9), limit=2)
    assert (seqs(shown.checkpoints), shown.before) == ([9, 7, 7, 7], 7)


def test_none_are_an_empty_window() -> None:
    shown = window([])
    assert (list(shown.checkpoints), shown.is_later, shown.before) == ([], False, None)


def test_a_menu_offers_the_newest_and_the_one_that_is_chosen() -> None:
    many = checkpoints(*range(1, OFFERED + 100))
    assert seqs(offered(many)) == seqs(many)[::-1][:OFFERED]
    assert seqs(offered(many, "c3"))[OFFERED:] == [4]
    assert len(offered(many, many[-1].id)) == OFFERED


def test_marks_are_few_and_spread_evenly() -> None:
    assert marks(MANY) == seqs(MANY)
    found = marks(checkpoints(*range(1, 5 * MARKS)))
    assert len(found) <= MARKS
    assert (found[0], found[1] - found[0]) == (1, 5)
    assert marks([]) == []


def test_neighbours_of_an_event_are_the_nearest_before_and_after_it() -> None:
    previous, following = neighbours(MANY, 505)
    assert previous and following and (previous.seq, following.seq) == (500, 510)
    previous, following = neighbours(MANY, 500)
    assert previous and following and (previous.seq, following.seq) == (490, 510)
    assert neighbours(MANY, 10)[0] is None
    assert neighbours(MANY, 1000)[1] is None
