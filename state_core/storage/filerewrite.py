"""A log written anew beside the old one: events replaced, those before the new beginning left out.

Most of it is copied while appends go on; only what came since is copied under the session's lock. The first
frame of the copy gets a mark, so that every reader notices that it is another log, whatever its size.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import BinaryIO

from state_core.events import EventRecord
from state_core.exceptions import EventGone
from state_core.storage.base import check_replaces, stored_size
from state_core.storage.filefolders import sync_folder
from state_core.storage.filelog import LogFile


class LogRewrite:
    """Of one log, into a file that is still empty."""

    def __init__(
        self, log: LogFile, records: Sequence[EventRecord], first_seq: int | None, file: BinaryIO
    ) -> None:
        self._log = log
        self._records = {record.seq: record for record in records}
        self._file = file
        self.first_seq = max(first_seq or 1, log.first_seq)
        self.grown = 0
        """By how many bytes the session grows, as heads count them."""

    def copy(self) -> None:
        """As far as the log goes now. Raises EventGone."""
        for gone in set(self._records).difference(range(self.first_seq, self._log.last_seq + 1)):
            raise EventGone(self._log.session_id, gone)
        for removed in self._log.read(self._log.first_seq - 1, self.first_seq - 1):
            self.grown -= stored_size(removed)
        for piece in self._pieces():
            self._file.write(piece)
        self._sync()

    def _pieces(self) -> Iterator[bytes]:
        upto = self.first_seq - 1
        for seq in sorted({self.first_seq, *self._records}):
            yield from self._log.raw(upto, seq - 1)
            yield self._rewritten(seq)
            upto = seq
        yield from self._log.raw(upto, self._log.last_seq)

    def _rewritten(self, seq: int) -> bytes:
        frame = self._log.frame(seq)
        record = self._records.get(seq, frame.record)
        if seq in self._records:
            check_replaces(self._log.session_id, frame.record, record)
            self.grown += stored_size(record) - stored_size(frame.record)
        mark = secrets.token_hex(4) if seq == self.first_seq else ""
        return self._log.pack(replace(frame, record=record, mark=mark))

    def finish(self, now: LogFile) -> None:
        """Under the session's lock: copy what came since, and let it take the log's place, durably."""
        if now.place[0] != self._log.place[0]:
            raise EventGone(self._log.session_id, next(iter(self._records), self.first_seq))
        for piece in now.raw(self._log.last_seq, now.last_seq):
            self._file.write(piece)
        self._sync()
        os.replace(self._file.name, now.path)  # noqa: PTH105 - a file's name is text
        sync_folder(now.path.parent)

    def _sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
