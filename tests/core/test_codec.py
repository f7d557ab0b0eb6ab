import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from state_core.codec import Codec, Key, new_encryption_key, plain
from state_core.dictionary import FIRST
from state_core.events import Event
from state_core.exceptions import ConfigurationError, DamagedError, EncryptionKeyError, InvalidValue, TooLarge

EVENT = Event(
    kind="step.completed",
    actor="ana",
    branch_id="b",
    step_id="b:1",
    agent="Collector",
    status="completed",
    duration=0.25,
    size=12,
    data={"attempt": 1},
    changes=[["set", ["context", "text"], "long enough to be compressed " * 40]],
)

CODECS = {
    "plain": Codec(compression_level=None),
    "compressed": Codec(),
    "encrypted": Codec(keys=[new_encryption_key()]),
}


@pytest.fixture(params=CODECS)
def codec(request):
    return CODECS[request.param]


def test_what_was_sealed_opens_as_it_was(codec):
    assert codec.open("s", codec.seal("s", EVENT)) == EVENT


def test_an_event_without_changes_is_sealed_too(codec):
    event = replace(EVENT, changes=[])
    record = codec.seal("s", event)
    assert record.body
    assert codec.open("s", record) == event


def test_a_store_may_give_a_whole_duration_back_as_a_fraction():
    record = Codec().seal("s", replace(EVENT, duration=2))
    assert Codec().open("s", replace(record, duration=2.0)).duration == 2.0


def test_compression_is_skipped_where_it_does_not_shrink():
    codec = Codec()
    assert codec.seal("s", replace(EVENT, changes=[["set", ["a"], 1]])).encoding == "j1"


def test_compression_makes_it_smaller():
    assert len(Codec().seal("s", EVENT).body) < len(Codec(compression_level=None).seal("s", EVENT).body) / 4


@pytest.mark.parametrize("level", range(1, 10))
def test_every_level_reads_back(level):
    long = replace(EVENT, changes=[["set", ["context", "text"], "long " * 2000]])
    for event, encoding in ((EVENT, "j1+d"), (long, "j1+s")):
        record = Codec(compression_level=level).seal("s", event)
        assert record.encoding == encoding
        assert Codec(compression_level=None).open("s", record) == event


def test_the_dictionary_of_what_is_stored_never_changes():
    assert (
        hashlib.sha256(FIRST).hexdigest()
        == "bbae20c7f27757b18603a9d9f9293168d6b125734a0371f88e5d621f829e5fd7"
    )


def test_a_short_body_costs_what_is_new_in_it():
    said = {"role": "user", "content": "What comes next?", "created_at": "2026-02-03T04:05:06.789+00:00"}
    event = replace(EVENT, changes=[["append", ["branches", "main", "memory"], [said]]])
    assert len(Codec().seal("s", event).body) < 0.6 * len(Codec(compression_level=None).seal("s", event).body)


def test_threads_share_a_codec():
    codec = Codec(keys=[new_encryption_key()])

    def seal_and_open(number):
        event = replace(EVENT, changes=[["set", ["context", "text"], f"number {number} " * 400]])
        return codec.open("s", codec.seal("s", event)) == event

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(seal_and_open, range(200)))


def test_another_setting_still_reads_what_was_written_before():
    record = Codec(compression_level=None).seal("s", EVENT)
    assert Codec(compression_level=9, keys=[new_encryption_key()]).open("s", record) == EVENT


def test_an_older_key_still_reads_while_the_newer_one_writes():
    old, new = new_encryption_key(), new_encryption_key()
    record = Codec(keys=[old]).seal("s", EVENT)
    rotated = Codec(keys=[new, old])
    assert rotated.open("s", record) == EVENT
    assert rotated.seal("s", EVENT).encoding.endswith(Key(new).id)


def test_a_missing_key_is_named():
    record = Codec(keys=[new_encryption_key()]).seal("s", EVENT)
    with pytest.raises(EncryptionKeyError, match="keys given: none"):
        Codec().open("s", record)


@pytest.mark.parametrize("key", ["short", b"x" * 31, "ä" * 44, ""])
def test_a_key_that_is_no_key_is_refused_with_the_way_to_make_one(key):
    with pytest.raises(ConfigurationError, match="new_encryption_key"):
        Codec(keys=[key])


def test_a_key_does_not_show_in_its_codec():
    key = new_encryption_key()
    assert key not in repr(Codec(keys=[key]))
    assert key not in repr(Key(key))


@given(st.data())
@settings(max_examples=150)
def test_a_flipped_bit_in_a_body_is_damage(data):
    codec = CODECS[data.draw(st.sampled_from(sorted(CODECS)))]
    record = codec.seal("s", EVENT)
    place = data.draw(st.integers(0, len(record.body) - 1))
    body = bytearray(record.body)
    body[place] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(DamagedError):
        codec.open("s", replace(record, body=bytes(body)))


@given(st.integers(0, 200))
def test_a_body_that_was_cut_is_damage(length):
    record = Codec(compression_level=None).seal("s", EVENT)
    with pytest.raises(DamagedError):
        Codec().open("s", replace(record, body=record.body[:length]))


@pytest.mark.parametrize(
    "moved",
    [
        {"kind": "step.failed"},
        {"branch_id": "c"},
        {"actor": "bo"},
        {"status": "failed"},
        {"size": 13},
        {"data": {"attempt": 2}},
        {"at": datetime(2020, 1, 1, tzinfo=UTC)},
        {"encoding": "j1"},
    ],
)
def test_a_body_belongs_to_its_header(codec, moved):
    record = codec.seal("s", EVENT)
    if replace(record, **moved) == record:
        moved = {"encoding": "j1+s"}
    with pytest.raises(DamagedError):
        codec.open("s", replace(record, **moved))


def test_a_body_belongs_to_its_session(codec):
    with pytest.raises(DamagedError):
        codec.open("other", codec.seal("s", EVENT))


def test_an_encoding_of_a_later_version_is_not_guessed_at():
    with pytest.raises(DamagedError, match="unknown encoding 'j9'"):
        Codec().open("s", replace(Codec().seal("s", EVENT), encoding="j9"))


def test_a_value_over_the_limit_is_refused_with_its_size():
    event = replace(EVENT, changes=[["set", ["context", "big"], "x" * 20_000_000]])
    with pytest.raises(TooLarge, match=r"20\.0 MB .*max_value_mb"):
        Codec().seal("s", event)


def test_a_snapshot_belongs_to_its_place(codec):
    body, encoding = codec.seal_snapshot("s", 5, {"seq": 5})
    assert codec.open_snapshot("s", 5, body, encoding) == {"seq": 5}
    with pytest.raises(DamagedError, match="snapshot at 6"):
        codec.open_snapshot("s", 6, body, encoding)


class Colour(Enum):
    RED = "red"


@dataclass
class Point:
    x: int


def test_common_values_become_plain_json():
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    value = {
        "when": moment,
        "id": UUID(int=1),
        "colour": Colour.RED,
        "point": Point(3),
        "set": {2, 1},
        "pair": (1, 2),
        "path": Path("/tmp/x"),
        7: "number as key",
        "nan": float("nan"),
    }
    assert plain(value) == {
        "when": moment.isoformat(),
        "id": str(UUID(int=1)),
        "colour": "red",
        "point": {"x": 3},
        "set": [1, 2],
        "pair": [1, 2],
        "path": "/tmp/x",
        "7": "number as key",
        "nan": None,
    }


@pytest.mark.parametrize("bad", [object(), b"bytes", lambda: 0, 2**70, "\ud800"])
def test_what_cannot_be_stored_is_named_with_its_place(bad):
    with pytest.raises(InvalidValue, match=r"context\['deep'\]\[1\]"):
        plain({"fine": 1, "deep": [1, bad]}, "context")


def test_a_plain_value_is_a_copy():
    original = {"list": [1]}
    copy = plain(original)
    original["list"].append(2)
    assert copy == {"list": [1]}
