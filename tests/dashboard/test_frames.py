"""What rows, frames and the head of a page say, without a store in between."""

from __future__ import annotations

import json
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from marsys_dashboard import logwords
from marsys_dashboard.contents import READ_BYTES, Text, as_text, messages_in, runs, values_set
from marsys_dashboard.frames import NEWEST_ROWS, Beat, content_places, session_frame, shown_of
from marsys_dashboard.outlines import Outline, Place
from marsys_dashboard.standing import some, standing
from state_core.events import Event, EventKind
from state_core.fold import empty_document
from state_core.records import Head

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def outline_of(*events: Event) -> Outline:
    outline = Outline(empty_document("s"))
    for seq, event in enumerate((Event(kind="session.created", at=AT), *events), start=1):
        outline.apply(_numbered(event, seq))
    return outline


def _numbered(event: Event, seq: int) -> Event:
    values = {name: getattr(event, name) for name in Event.__dataclass_fields__}
    return Event(**{**values, "seq": seq})


def opened(branch: str) -> Event:
    return Event(kind="branch.opened", branch_id=branch, status="running", data={"name": branch})


def started(branch: str, step: str, at: datetime = AT) -> Event:
    return Event(kind="step.started", branch_id=branch, step_id=step, status="running", agent="A", at=at)


def ended(branch: str, step: str) -> Event:
    return Event(kind="step.completed", branch_id=branch, step_id=step, status="completed", duration=1.0)


# Standing


def test_pausing_counts_the_branches_that_are_in_a_step_since_the_longest_began() -> None:
    outline = outline_of(
        opened("a"),
        opened("b"),
        opened("c"),
        started("a", "1", AT + timedelta(seconds=9)),
        started("b", "2", AT + timedelta(seconds=4)),
        started("c", "3"),
        ended("c", "3"),
        Event(kind="pause.requested"),
    )
    shown = standing(outline.document, Head("s"))
    assert shown.detail == "2 of 3 branches still in a step"
    assert shown.since == AT + timedelta(seconds=4)


def test_pausing_without_a_step_under_way_says_so() -> None:
    outline = outline_of(opened("a"), Event(kind="pause.requested"))
    assert standing(outline.document, Head("s")).detail == "no branch is in a step any more"


def test_running_names_the_agents_at_work() -> None:
    outline = outline_of(Event(kind="session.started"))
    head = Head("s", agents=["One", "Two", "Two", "Three", "Four", "Five"])
    assert standing(outline.document, head).detail == "One, Two, Three and 2 more"
    assert some(["One"]) == "One"


# Content


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, ""),
        ("plain", "plain"),
        ({"a": 1}, '{"a": 1}'),
        (["x" * 30, "y" * 40], f'[\n  "{"x" * 30}",\n  "{"y" * 40}"\n]'),
        ("a\x00b", "a␀b"),
    ],
)
def test_content_is_shown_as_text_or_as_json(value: Any, expected: str) -> None:
    assert as_text(value, 1_000).text == expected


def test_a_cut_text_knows_how_long_it_was() -> None:
    assert as_text("x" * 50, 10) == Text("x" * 10, 50)
    assert as_text("x" * 50, 10).is_cut
    assert not as_text("x" * 10, 10).is_cut


def test_a_preview_is_one_line() -> None:
    assert as_text("one\n\n  two\tthree", 100, flat=True).text == "one two three"


def test_large_content_is_left_out_of_what_is_read() -> None:
    places = [Place(seq, "message.added", "", size) for seq, size in
              ((1, 10), (2, 10), (3, READ_BYTES + 1), (4, 10), (9, 10))]  # fmt: skip
    assert list(runs(places)) == [(1, 2), (4, 9)]
    assert list(runs([])) == []


def test_what_a_change_sets_is_found_by_its_path() -> None:
    changes = [["set", ["a", "b", "x"], 1], ["set", ["a", "c", "y"], 2], ["set", ["a", "b"], {"z": 3}]]
    assert values_set(changes, ["a", "b"]) == {"x": 1, "z": 3}
    added = Event(kind="message.added", changes=[["append", ["m"], [{"role": "user"}, "no message"]]])
    assert messages_in(added) == [{"role": "user"}]


# Outlines


def test_a_copy_of_an_outline_stays_as_it_was() -> None:
    outline = outline_of(opened("a"), started("a", "1"))
    copy = outline.copy()
    outline.apply(_numbered(ended("a", "1"), 4))
    outline.apply(_numbered(opened("b"), 5))
    assert copy.document["branches"]["a"]["steps"]["1"]["status"] == "running"
    assert list(copy.document["branches"]) == ["a"]
    assert (copy.seq, outline.seq) == (3, 5)
    assert len(copy.steps["a", "1"]) == 1


EVERY_KIND = [
    opened("b"),
    Event(kind="branch.opened", branch_id="c", data={"parents": ["a", "b"], "name": "c"}),
    started("b", "2"),
    ended("a", "1"),
    Event(kind="step.retried", branch_id="a", step_id="1", data={"attempt": 2}),
    Event(kind="branch.joined", branch_id="c", data={"parent": "a"}),
    Event(kind="message.added", branch_id="a", data={"count": 1}),
    Event(kind="input.requested", branch_id="b", data={"question": "q"}),
    Event(kind="input.answered", branch_id="b", data={"question": "q"}),
    Event(kind="session.paused"),
    Event(kind="session.resumed"),
    Event(kind="branch.failed", branch_id="b", status="failed", data={"error": "it broke"}),
    Event(kind="session.completed"),
]


def test_of_two_outlines_that_share_their_past_neither_sees_what_the_other_does() -> None:
    whole = outline_of(opened("a"), started("a", "1"))
    apart = deepcopy(whole)
    for seq, event in enumerate(EVERY_KIND, start=4):
        shared = whole.copy()
        before = deepcopy(shared)
        for outline in (whole, apart):
            outline.apply(_numbered(event, seq))
        assert shared.document == before.document
        assert (shared.steps, shared.messages) == (before.steps, before.messages)
        assert whole.document == apart.document
        assert (whole.steps, whole.messages) == (apart.steps, apart.messages)


def test_windows_of_steps_go_back_from_an_event() -> None:
    outline = outline_of(opened("a"), *(started("a", str(number)) for number in range(5)))
    assert outline.newest_steps(limit=2) == [("a", "3"), ("a", "4")]
    assert outline.newest_steps(limit=2, before=6) == [("a", "1"), ("a", "2")]
    assert outline.newest_steps(limit=2, branch_id="b") == []


# Frames


def frame(*events: Event) -> dict[str, Any]:
    outline = outline_of(*events)
    numbered = [_numbered(event, seq) for seq, event in enumerate(events, start=2)]
    contents = {event.seq: event for event in numbered}
    made = session_frame(Beat("default", Head("s"), outline, numbered, contents, []), 1, outline.seq)
    decoded: dict[str, Any] = json.loads(made.text)
    assert (decoded["after"], decoded["seq"]) == (made.after, made.seq)
    return decoded


def test_a_step_that_several_events_touch_has_one_row() -> None:
    rows = frame(opened("a"), started("a", "1"), ended("a", "1"))["rows"]
    assert [row["key"] for row in rows["steps"]] == ["a/1"]
    assert 'data-status="completed"' in rows["steps"][0]["html"]
    assert [row["key"] for row in rows["log"]] == ["2", "3", "4"]


def test_each_message_of_an_event_has_a_row_in_its_place() -> None:
    items = [{"role": "user", "content": "first"}, {"role": "assistant", "content": "second"}]
    added = Event(
        kind="message.added", branch_id="a", changes=[["append", ["branches", "a", "memory"], items]]
    )
    rows = frame(opened("a"), added)["rows"]["messages"]
    assert [row["key"] for row in rows] == ["3-0", "3-1"]
    assert rows[0]["place"] < rows[1]["place"] < 4


def test_an_answered_question_goes_off_the_page() -> None:
    asked = Event(kind="input.requested", branch_id="a", data={"question": "q"})
    answered = Event(kind="input.answered", branch_id="a", data={"question": "q"})
    assert frame(opened("a"), asked)["rows"]["questions"][0]["html"]
    assert frame(opened("a"), asked, answered)["rows"]["questions"] == [{"key": "q", "html": None}]


# The log


def test_every_kind_of_event_reads_as_a_line() -> None:
    for kind in EventKind:
        assert logwords.title(kind)[0].isupper()
        assert "." not in logwords.title(kind)


def test_the_details_of_an_event_are_said_in_words() -> None:
    event = Event(kind="session.restored", data={"to": 402, "reason": "wrong turn"})
    assert logwords.detail(Event(kind="session.created", data={"title": ""})) == ""
    assert logwords.detail(event) == "back to event 402 · wrong turn"
    assert logwords.detail(Event(kind="message.added", data={"count": 1, "role": "user"})) == "user"
    assert logwords.detail(Event(kind="step.started", data={"attempt": 1})) == ""


def test_data_of_an_unexpected_type_is_no_error() -> None:
    assert logwords.detail(Event(kind="message.added", data={"count": "many"})) == "many"


# Much at once


def test_of_much_at_once_the_newest_rows_are_in_a_frame_and_those_of_steps_that_had_begun_before() -> None:
    events = [
        _numbered(event, seq)
        for seq, event in enumerate(
            [ended("a", "old"), *(e for n in range(200) for e in (started("b", f"{n}"), ended("b", f"{n}")))],
            start=10,
        )
    ]
    shown = shown_of(events)
    assert shown.steps[0] == ("a", "old")
    assert shown.steps[1:] == [("b", f"{n}") for n in range(200 - NEWEST_ROWS, 200)]
    assert [event.seq for event in shown.log] == list(range(411 - NEWEST_ROWS, 411))
    assert shown.omitted == {"steps": 200 - NEWEST_ROWS, "log": 401 - NEWEST_ROWS}
    assert len(content_places(events)) == 1 + 2 * NEWEST_ROWS


def test_of_little_nothing_is_left_out() -> None:
    shown = shown_of([_numbered(started("a", "1"), 2), _numbered(ended("a", "1"), 3)])
    assert shown.omitted == {}
    assert len(shown.log) == 2


def test_content_that_lies_far_apart_is_asked_for_one_after_the_other() -> None:
    places = [Place(seq, "step.completed", "a", 10) for seq in (1, 2, 50, 400, 401)]
    assert list(runs(places)) == [(1, 50), (400, 401)]
