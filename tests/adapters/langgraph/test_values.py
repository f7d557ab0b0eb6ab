"""Items of values: what a record says of new ones, and that it is read back byte for byte."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from state_core.adapters.langgraph.values import MSGPACK, Items, read_items, shown_items

TEXT = bytes(random.Random(1).randbytes(800))


def told(*batches: list[bytes]) -> tuple[list[list[object]], Items]:
    """What records say of these items, one after another, and the items as a reader has them."""
    writer, reader, records = Items(), Items(), []
    for batch in batches:
        new = [(MSGPACK, data) for data in dict.fromkeys(batch) if writer.number((MSGPACK, data)) is None]
        records.append(shown_items(writer, new))
        for item in new:
            writer.add(item)
        read_items(reader, records[-1])
    assert list(reader.pairs()) == list(writer.pairs())
    return records, reader


def message(text: bytes, name: bytes = b"") -> bytes:
    return b"headerlangchain_core.messages.ai AIMessage content" + text + b"additional_kwargs{} id=" + name


def test_a_message_that_got_an_id_is_told_by_the_one_without() -> None:
    records, _ = told([message(TEXT)], [message(TEXT, b"1234")])
    assert len(str(records[1])) < 100


def test_a_message_made_of_a_role_and_a_text_does_not_repeat_the_text() -> None:
    other = bytes(reversed(TEXT))
    records, _ = told([message(other, b"1")], [b"\x92ai" + TEXT], [message(TEXT, b"2")])
    assert len(str(records[2])) < 200


def test_what_earlier_versions_told_is_still_read() -> None:
    items = Items()
    read_items(items, ["0123456789 abc", [0, 4, 3, "x12345new"]])
    assert items[1] == (MSGPACK, b"x12345" + b"6789" + b"new" + b"abc")


@given(
    st.lists(
        st.lists(st.binary(max_size=12) | st.sampled_from([TEXT, TEXT[:300], TEXT[100:]]), max_size=4).map(
            b"".join
        ),
        max_size=16,
    )
)
def test_whatever_is_alike_comes_back_as_it_was(items: list[bytes]) -> None:
    told(*([item] for item in items))
