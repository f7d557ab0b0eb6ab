"""When a snapshot is worth its bytes.

Reading an event takes about as long whatever its size (some 30 µs), and reading a snapshot as long as it is
large (some 6 µs a kilobyte). A snapshot of long messages would keep each of them twice and save little time;
one of many short events, or of values that replaced each other, saves most of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from state_core.events import Header

FROM_BYTES = 256 * 1024
"""Not before this much was read since the last one."""
EVENT_BYTES = 200
"""What an event takes besides its content, for that reckoning."""
BYTES_AN_EVENT = 400
"""So much state a snapshot may repeat for each event that nobody has to read again …"""
PATIENCE = 2500
"""… up to this many events, from where on reading them would be felt."""


@dataclass(slots=True)
class Unsnapshotted:
    """What was read or written since the last snapshot."""

    events: int = 0
    bytes: int = 0

    def add(self, event: Header) -> None:
        self.events += 1
        self.bytes += abs(event.size) + EVENT_BYTES

    def is_worth_a_snapshot(self, state_bytes: int) -> bool:
        """Of a state of this size. Snapshots take as much as the log at most: each waits until as much as
        it holds came since the last."""
        if self.bytes <= max(FROM_BYTES, state_bytes):
            return False
        return self.events > min(PATIENCE, state_bytes // BYTES_AN_EVENT)
