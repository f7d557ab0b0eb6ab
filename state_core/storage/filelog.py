"""A session's log as one append-only file: frames, their places, torn tails and damage.

A frame is one event. Those of one append follow each other and count down in ``left``; an append counts
only when its last frame (``left`` 0) is there, so that a reader sees all of it or nothing.

JSON frames are lines, ``<crc32> <json>``, readable with any editor. Binary frames are a fixed prefix
(lengths and crc32), the header as JSON, and the body as it is.
"""

from __future__ import annotations

import base64
import os
import re
import struct
import zlib
from array import array
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar

import orjson

from state_core.codec import CHECKSUM_BYTES, FORMAT
from state_core.events import EventRecord
from state_core.exceptions import DamagedError
from state_core.facts import fact
from state_core.heads import is_compacted

T = TypeVar("T")

_PREFIX = struct.Struct("<4sIII")
_MAGIC = b"ev1\n"
_BEGINNING_BYTES = _PREFIX.size
"""As much of a file as tells it from any other: in both forms the first checksum is in it."""


@fact()
class Frame:
    record: EventRecord
    left: int
    mark: str = ""
    """In the first frame of a log that was rewritten: what tells it from the log that was there before."""


class Framing(Protocol):
    def pack(self, frame: Frame) -> bytes: ...

    def end(self, data: bytes, start: int) -> int | None:
        """Where the frame at ``start`` ends, or None where the data ends before it does."""

    def unpack(self, data: bytes) -> Frame:
        """Raises ValueError when the bytes are not those of a whole frame."""

    def place(self, data: bytes) -> tuple[int, int]:
        """Its seq and ``left`` alone, which takes a quarter of the time; raises as `unpack` does."""


def _header(frame: Frame) -> dict[str, Any]:
    record = frame.record
    given = {
        "seq": record.seq,
        "left": frame.left,
        "mark": frame.mark,
        "kind": str(record.kind),
        "at": record.at.isoformat(),
        "actor": record.actor,
        "branch_id": record.branch_id,
        "step_id": record.step_id,
        "agent": record.agent,
        "status": record.status,
        "duration": record.duration,
        "size": record.size,
        "data": dict(record.data),
        "encoding": record.encoding,
    }
    return {name: value for name, value in given.items() if value not in ("", None, {}) or name == "left"}


def _frame(header: dict[str, Any], body: bytes) -> Frame:
    left, mark = header.pop("left"), header.pop("mark", "")
    header["at"] = datetime.fromisoformat(header["at"])
    return Frame(EventRecord(**header, body=body), left, mark)


def _place(text: bytes) -> tuple[int, int]:
    """Of a header that is written as JSON, without reading all of it where it begins as ours do."""
    found = _PLACE_IN_FRONT.match(text)
    if found:
        return int(found[1]), int(found[2])
    header = orjson.loads(text)
    return header["seq"], header["left"]


_PLACE_IN_FRONT = re.compile(rb'\{"seq":(\d+),"left":(\d+)[,}]')


class JsonLines:
    """One line an event. A body that is neither compressed nor encrypted stands there as JSON."""

    def pack(self, frame: Frame) -> bytes:
        text = orjson.dumps({**_header(frame), **_readable(frame.record)})
        return b"%08x %s\n" % (zlib.crc32(text), text)

    def end(self, data: bytes, start: int) -> int | None:
        newline = data.find(b"\n", start)
        return newline + 1 if newline >= 0 else None

    def unpack(self, data: bytes) -> Frame:
        values = self._values(data)
        return _frame(values, _body(values))

    def place(self, data: bytes) -> tuple[int, int]:
        return _place(self._text(data))

    def _values(self, data: bytes) -> dict[str, Any]:
        values: dict[str, Any] = orjson.loads(self._text(data))
        return values

    def _text(self, data: bytes) -> bytes:
        text = data[9:-1]
        if not text or int(data[:8], 16) != zlib.crc32(text):
            raise ValueError("its checksum does not match")
        return text


def _readable(record: EventRecord) -> dict[str, Any]:
    changes = _changes_of(record)
    if changes is not None:
        return {"sum": record.body[:CHECKSUM_BYTES].hex(), "changes": changes}
    return {"body": base64.b64encode(record.body).decode()} if record.body else {}


def _changes_of(record: EventRecord) -> Any:
    """The body as JSON, where it is JSON that comes back to the same bytes."""
    payload = record.body[CHECKSUM_BYTES:]
    if record.encoding != FORMAT or not payload:
        return None
    try:
        changes = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return None
    return changes if orjson.dumps(changes) == payload else None


def _body(values: dict[str, Any]) -> bytes:
    if "changes" in values:
        return bytes.fromhex(values.pop("sum")) + orjson.dumps(values.pop("changes"))
    return base64.b64decode(values.pop("body", ""))


class BinaryFrames:
    """The smaller form, for ``use_json=False``."""

    def pack(self, frame: Frame) -> bytes:
        header, body = orjson.dumps(_header(frame)), frame.record.body
        return _PREFIX.pack(_MAGIC, len(header), len(body), zlib.crc32(header + body)) + header + body

    def end(self, data: bytes, start: int) -> int | None:
        if len(data) < start + _PREFIX.size:
            return None
        magic, header, body, _ = _PREFIX.unpack_from(data, start)
        if magic != _MAGIC:
            return len(data)
        end = start + _PREFIX.size + int(header) + int(body)
        return end if end <= len(data) else None

    def unpack(self, data: bytes) -> Frame:
        split = self._split(data)
        return _frame(orjson.loads(data[_PREFIX.size : split]), data[split:])

    def place(self, data: bytes) -> tuple[int, int]:
        return _place(data[_PREFIX.size : self._split(data)])

    def _split(self, data: bytes) -> int:
        """Where the header ends and the body begins."""
        if len(data) < _PREFIX.size:
            raise ValueError("it is too short")
        magic, length, _, crc = _PREFIX.unpack_from(data)
        if magic != _MAGIC or crc != zlib.crc32(data[_PREFIX.size :]):
            raise ValueError("its checksum does not match")
        return _PREFIX.size + int(length)


class LogFile:
    """One log, as far as this process has scanned it. Not safe for threads: its owner locks.

    A log goes on in the form it was begun in; ``framing`` is for one that is not begun yet.
    """

    def __init__(self, path: Path, session_id: str, framing: Framing) -> None:
        self.path = path
        self.session_id = session_id
        self._framing = framing
        self._forget()
        self._beginning = b""
        self._seen: tuple[int, ...] = ()
        """What tells the file, as it was scanned last, from any other state of it."""
        self.torn_bytes = 0
        """Bytes after the last whole append: a write that is under way, or one that was cut off."""

    def _forget(self) -> None:
        self.first_seq = 1
        """Higher where it was compacted."""
        self._ends = array("Q", [0])
        """Where the frame of each event ends: any is found without reading those before it."""

    @property
    def last_seq(self) -> int:
        return self.first_seq + len(self._ends) - 2

    @property
    def size(self) -> int:
        """Where the last whole append ends. Bytes."""
        return self._ends[-1]

    @property
    def place(self) -> tuple[bytes, int]:
        """Which log it is, and how long."""
        return self._beginning, self.size

    def scan(self) -> None:
        """Take in what was appended since. Raises DamagedError."""
        seen = self._look()
        if seen and seen == self._seen:
            return
        self._read_on()
        self._seen = seen

    def _look(self) -> tuple[int, ...]:
        try:
            return _state(os.stat(self.path))  # noqa: PTH116 - once for each append
        except FileNotFoundError:
            return ()

    def _read_on(self) -> None:
        try:
            with self.path.open("rb") as file:
                self._notice_new_file(file.read(_BEGINNING_BYTES), os.fstat(file.fileno()).st_size)
                file.seek(self.size)
                tail = file.read()
        except FileNotFoundError:
            self._forget()
            return
        self._take(tail)

    def _notice_new_file(self, beginning: bytes, size: int) -> None:
        """Another process deleted the session and created it anew, or rewrote or cut the file: begin again.

        The first frame begins with its checksum, and its moment and mark are in it: no two logs begin alike.
        """
        if beginning != self._beginning or size < self.size:
            self._forget()
        if beginning:
            self._framing = BinaryFrames() if beginning.startswith(_MAGIC) else JsonLines()
        self._beginning = beginning

    def _take(self, tail: bytes) -> None:
        start, base = 0, self.size
        if not base:
            self.first_seq = self._first_seq_in(tail)
        pending: list[int] = []
        while start < len(tail) and (end := self._framing.end(tail, start)) is not None:
            seq = self.last_seq + len(pending) + 1
            if tail[start] == 0 and not tail[start:].strip(b"\0"):
                break  # A crash can leave a file longer than what was written to it: blocks of zeros.
            left = self._left(tail[start:end], seq)
            pending.append(base + end)
            start = end
            if left == 0:
                self._ends.extend(pending)
                pending = []
        self.torn_bytes = len(tail) - (self.size - base)

    def _first_seq_in(self, data: bytes) -> int:
        """Only a log that was compacted begins elsewhere than at 1."""
        end = self._framing.end(data, 0)
        try:
            first = self._framing.unpack(data[:end]).record if end else None
        except (ValueError, KeyError, TypeError):
            return 1  # whoever reads it is told that it is damaged
        return first.seq if first and is_compacted(first) else 1

    def _unpack(self, data: bytes, seq: int) -> Frame:
        frame = self._whole(self._framing.unpack, data, seq)
        self._check_seq(frame.record.seq, seq)
        return frame

    def _left(self, data: bytes, seq: int) -> int:
        found, left = self._whole(self._framing.place, data, seq)
        self._check_seq(found, seq)
        return left

    def _whole(self, read: Callable[[bytes], T], data: bytes, seq: int) -> T:
        try:
            return read(data)
        except (ValueError, KeyError, TypeError) as error:
            raise self._damaged(seq, str(error)) from error

    def _check_seq(self, found: int, expected: int) -> None:
        if found != expected:
            raise self._damaged(expected, f"the log goes on with {found}")

    def _damaged(self, seq: int, why: str) -> DamagedError:
        return DamagedError(self.session_id, f"event {seq} in {self.path.name}", why)

    def read(self, after: int, upto: int, kinds: Collection[str] | None = None) -> Iterator[EventRecord]:
        """Events with ``after < seq <= upto``, a megabyte of the file at a time. With ``kinds``, those of
        other kinds are mostly left out, and looked at no closer."""
        signs = [b'"kind":"%s"' % kind.encode() for kind in kinds or ()]
        for first, last, data in self._chunks(after, upto):
            start = self._end(first - 1)
            for seq in range(first, last + 1):
                piece = data[self._end(seq - 1) - start : self._end(seq) - start]
                if kinds is None or any(sign in piece for sign in signs):
                    yield self._unpack(piece, seq).record

    def raw(self, after: int, upto: int) -> Iterator[bytes]:
        """The same as bytes of the file."""
        return (data for _, _, data in self._chunks(after, upto))

    def frame(self, seq: int) -> Frame:
        return self._unpack(b"".join(self.raw(seq - 1, seq)), seq)

    def pack(self, frame: Frame) -> bytes:
        return self._framing.pack(frame)

    def _end(self, seq: int) -> int:
        return self._ends[seq - self.first_seq + 1]

    def _chunks(self, after: int, upto: int) -> Iterator[tuple[int, int, bytes]]:
        """The first and the last event in it, and a piece of the file."""
        seq, upto = max(after + 1, self.first_seq), min(upto, self.last_seq)
        if seq > upto:
            return
        with self.path.open("rb") as file:
            while seq <= upto:
                stop = self._chunk_end(seq, upto)
                start = self._end(seq - 1)
                file.seek(start)
                yield seq, stop, file.read(self._end(stop) - start)
                seq = stop + 1

    def _chunk_end(self, seq: int, upto: int, size: int = 1 << 20) -> int:
        stop, limit = seq, self._end(seq - 1) + size
        while stop < upto and self._end(stop) < limit:
            stop += 1
        return stop

    def append(self, records: Sequence[EventRecord]) -> None:
        """Write them as one whole append, durably. The caller holds the session's lock and has scanned."""
        frames = [
            self._framing.pack(Frame(record, left))
            for record, left in zip(records, range(len(records) - 1, -1, -1), strict=True)
        ]
        self._write(b"".join(frames))
        self.torn_bytes = 0
        if not self.size:
            self.first_seq, self._beginning = records[0].seq, frames[0][:_BEGINNING_BYTES]
        for frame in frames:
            self._ends.append(self.size + len(frame))

    def _write(self, data: bytes) -> None:
        is_new = not self.size and not self.path.exists()
        descriptor = os.open(self.path, os.O_WRONLY | (os.O_CREAT | os.O_EXCL if is_new else 0), 0o666)
        try:
            if self.torn_bytes:
                os.ftruncate(descriptor, self.size)
            try:
                _write_all(descriptor, data, self.size)
                os.fdatasync(descriptor)
                self._seen = _state(os.fstat(descriptor)) if self._beginning else ()
            except OSError:
                # A full disk: take back what was written of it. What cannot be taken back is cut later.
                os.ftruncate(descriptor, self.size)
                raise
        finally:
            os.close(descriptor)


def _state(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _write_all(descriptor: int, data: bytes, place: int) -> None:
    left = memoryview(data)
    while left:
        written = os.pwrite(descriptor, left, place)
        left, place = left[written:], place + written
