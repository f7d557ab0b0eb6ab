"""A body's place in its log, kept in front of it.

A body is bound to its session and its header when it is sealed, and its number is not known yet then. Where
records are rows, one could stand in another's place, or twice, and nothing would tell: so stores that keep
rows write the number with the body.
"""

from __future__ import annotations

from state_core.exceptions import DamagedError

MARK = b"seq "
MARK_NUMBER = int.from_bytes(MARK, "big") << 32
"""``MARK_NUMBER + seq`` as 8 bytes, the highest first, is what stands in front."""
PLACE_BYTES = 8


def placed(seq: int, body: bytes) -> bytes:
    return (MARK_NUMBER + seq).to_bytes(PLACE_BYTES, "big") + body


def body_at(session_id: str, seq: int, stored: bytes) -> bytes:
    """The body alone. Raises DamagedError where it is another event's, or no event's."""
    if not stored.startswith(MARK):
        raise DamagedError(session_id, f"event {seq}", "its body does not begin with its place")
    written = int.from_bytes(stored[:PLACE_BYTES], "big") - MARK_NUMBER
    if written != seq:
        raise DamagedError(session_id, f"event {seq}", f"event {written} stands in its place")
    return stored[PLACE_BYTES:]
