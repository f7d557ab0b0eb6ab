from __future__ import annotations

import pytest

from marsys_dashboard.choices import LONGEST, Choice, in_words


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("left", "left"),
        (7, "7"),
        (True, "true"),
        (None, "null"),
        ({"to": "rechts für alle"}, '{"to": "rechts für alle"}'),
        ({"title": " ", "to": 1}, '{"title": " ", "to": 1}'),
        ({"label": 3}, '{"label": 3}'),
    ],
)
def test_a_choice_is_shown_as_text_or_json(value: object, text: str) -> None:
    assert in_words([value]) == [Choice(text)]


def test_an_object_is_shown_by_its_title_or_label_and_says_on_hover_what_is_answered() -> None:
    assert in_words([{"title": "Keep it", "id": 1}, {"label": "Drop it"}]) == [
        Choice("Keep it", '{"title": "Keep it", "id": 1}'),
        Choice("Drop it", '{"label": "Drop it"}'),
    ]


def test_objects_of_the_same_name_are_told_apart_by_their_json() -> None:
    assert in_words([{"name": "a", "id": 1}, {"name": "a", "id": 2}]) == [
        Choice('{"name": "a", "id": 1}'),
        Choice('{"name": "a", "id": 2}'),
    ]


def test_a_long_choice_is_cut() -> None:
    assert in_words(["x" * 1000])[0].text == "x" * (LONGEST - 1) + "…"
