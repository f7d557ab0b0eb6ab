"""When a snapshot is worth its bytes."""

import pytest

from state_core.events import Event
from state_core.snapshots import EVENT_BYTES, FROM_BYTES, PATIENCE, Unsnapshotted


def after(events: int, size: int) -> Unsnapshotted:
    since = Unsnapshotted()
    for _ in range(events):
        since.add(Event(kind="message.added", size=size))
    return since


def test_a_short_log_needs_none():
    assert not after(10, 1000).is_worth_a_snapshot(10_000)


def test_many_small_events_are_worth_one():
    assert after(FROM_BYTES // (EVENT_BYTES + 100) + 1, 100).is_worth_a_snapshot(100_000)


def test_values_that_replaced_each_other_are_worth_one():
    assert after(FROM_BYTES // EVENT_BYTES + 1, 0).is_worth_a_snapshot(500)


@pytest.mark.parametrize("size", [1_000, 20_000, 1_000_000])
def test_a_conversation_of_long_messages_is_not_kept_twice(size):
    assert not after(1_000, size).is_worth_a_snapshot(1_000 * size)


def test_but_a_long_one_is_where_reading_it_would_be_felt():
    assert after(PATIENCE + 1, 1_000).is_worth_a_snapshot(PATIENCE * 1_000)


def test_a_large_state_is_not_written_again_before_as_much_came_as_it_holds():
    since = after(2 * PATIENCE, 100)
    assert not since.is_worth_a_snapshot(since.bytes + 1)
