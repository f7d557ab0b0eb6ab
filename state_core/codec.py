"""Bytes: how events and snapshots are written, sealed, compressed and encrypted. No pickle.

An encoding is named by its parts: ``j1`` (JSON, format version 1), ``s`` (zstandard), ``d`` (zstandard with
our dictionary, for short bodies) or ``z`` (zlib, which is only read), ``e:<key id>`` (AES-256-GCM), joined
with ``+``. Every body is bound to its session and its
header: as associated data where it is encrypted, by a checksum in front of it where it is not, so that a
body that was flipped, cut, or moved to another event is reported as damage.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import threading
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from operator import attrgetter
from typing import Any

import orjson
import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from state_core.dictionary import FIRST
from state_core.events import Event, EventRecord, Header
from state_core.exceptions import ConfigurationError, DamagedError, EncryptionKeyError, InvalidValue, TooLarge
from state_core.records import Document

FORMAT = "j1"
CHECKSUM_BYTES = 8
NONCE_BYTES = 12
COMPRESS_FROM_BYTES = 128
"""Smaller bodies hardly shrink."""
DICTIONARY_UPTO_BYTES = 4096
"""Larger bodies have enough in themselves that repeats."""

_SUPPORTED = "text, numbers, booleans, None, lists, dicts, dates, UUIDs, enums, dataclasses, sets"


def plain(value: Any, what: str = "value") -> Any:
    """A copy of ``value`` as plain JSON values: what a reader will get back.

    Dates become ISO 8601 text, UUIDs and enums their text or value, dataclasses dicts, sets lists, NaN
    and infinities None. Raises InvalidValue for anything else, naming the place.
    """
    return orjson.loads(plain_json(value, what))


def plain_json(value: Any, what: str = "value") -> bytes:
    """``value`` as JSON. Raises InvalidValue as `plain` does."""
    try:
        return orjson.dumps(value, default=_default, option=orjson.OPT_NON_STR_KEYS)
    except (TypeError, ValueError) as error:
        raise InvalidValue(f"{what}{_place(value)} cannot be stored: {error}. Store {_SUPPORTED}.") from error


def _default(value: Any) -> Any:
    if isinstance(value, set | frozenset):
        return sorted(value, key=repr)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"it is a {type(value).__name__}")


def _place(value: Any, path: str = "") -> str:
    """Path of the first part of ``value`` that JSON does not take."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in items:
        try:
            orjson.dumps(part, default=_default, option=orjson.OPT_NON_STR_KEYS)
        except (TypeError, ValueError):
            return _place(part, f"{path}[{key!r}]")
    return path


def new_encryption_key() -> str:
    """A fresh random key for ``encryption_key``, as 44 characters of base64."""
    return base64.urlsafe_b64encode(os.urandom(32)).decode()


class Key:
    """A 256-bit key and its public id."""

    def __init__(self, secret: str | bytes) -> None:
        raw = secret if isinstance(secret, bytes) and len(secret) == 32 else _decode_key(secret)
        self.id = hashlib.blake2b(raw, digest_size=4, person=b"state_core keyid").hexdigest()
        self.cipher = AESGCM(raw)

    def __repr__(self) -> str:
        return f"<Key {self.id}>"


def _decode_key(secret: str | bytes) -> bytes:
    text = secret.encode() if isinstance(secret, str) else secret
    try:
        raw = base64.urlsafe_b64decode(text)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != 32:
        raise ConfigurationError(
            "encryption_key must be 32 bytes, or those as base64 text. "
            "Make one with `state_core.new_encryption_key()` and keep it safe."
        )
    return raw


class Codec:
    """Encodes events and snapshots; reads what any of its settings ever wrote.

    ``keys``: the first one encrypts, all of them decrypt. ``max_bytes``: largest body before compression.
    """

    def __init__(
        self,
        *,
        compression_level: int | None = 6,
        keys: Sequence[str | bytes] = (),
        max_bytes: int = 16_000_000,
    ) -> None:
        self._level = compression_level
        self._keys = [Key(key) for key in keys]
        self._max_bytes = max_bytes

    def __repr__(self) -> str:
        return f"<Codec compression_level={self._level} keys={[key.id for key in self._keys]}>"

    def seal(self, session_id: str, event: Event, *, bounded: bool = True) -> EventRecord:
        """``bounded``: refuse what is over ``max_bytes``. Raises InvalidValue and TooLarge."""
        payload = self._dumps(event.changes, event.kind, bounded) if event.changes else b""
        try:
            place = _event_place(session_id, event)
        except TypeError as error:
            raise InvalidValue(
                f"A name in {event.kind} cannot be stored: {error}. Give valid text."
            ) from error
        body, encoding = self._pack(payload, place)
        return EventRecord(**_header_values(event), body=body, encoding=encoding)

    def open(self, session_id: str, record: EventRecord) -> Event:
        """Raises DamagedError and EncryptionKeyError."""
        what = f"event {record.seq} ({record.kind})"
        payload = self._unpack(
            record.body, record.encoding, _event_place(session_id, record), session_id, what
        )
        changes = _loads(payload, session_id, what) if payload else []
        return Event(**_header_values(record), changes=changes)

    def outline(self, record: EventRecord) -> Event:
        """The event without its body. Written out: it is made of every event of a log, and of each by itself
        a dictionary of its values takes as long again."""
        return Event(
            kind=record.kind,
            seq=record.seq,
            at=record.at,
            actor=record.actor,
            branch_id=record.branch_id,
            step_id=record.step_id,
            agent=record.agent,
            status=record.status,
            duration=record.duration,
            size=record.size,
            data=record.data,
            body_read=False,
        )

    def seal_snapshot(self, session_id: str, seq: int, document: Document) -> tuple[bytes, str]:
        return self._pack(orjson.dumps(document), _snapshot_place(session_id, seq))

    def open_snapshot(self, session_id: str, seq: int, body: bytes, encoding: str) -> Document:
        what = f"the snapshot at {seq}"
        payload = self._unpack(body, encoding, _snapshot_place(session_id, seq), session_id, what)
        document: Document = _loads(payload, session_id, what)
        return document

    # Rotation

    @property
    def key_ids(self) -> list[str]:
        """Of the keys given; the first one encrypts."""
        return [key.id for key in self._keys]

    def is_current(self, encoding: str, *, decrypt: bool = False) -> bool:
        """Is it under the key that encrypts at present? With ``decrypt``: under none?"""
        return key_of(encoding) == ("" if decrypt or not self._keys else self._keys[0].id)

    def reseal(self, session_id: str, record: EventRecord, *, decrypt: bool = False) -> EventRecord:
        """The same event under the key that encrypts at present, or with ``decrypt`` under none.

        What is compressed stays as it is. Raises DamagedError and EncryptionKeyError.
        """
        what = f"event {record.seq} ({record.kind})"
        place = _event_place(session_id, record)
        body, encoding = self._resealed(record.body, record.encoding, place, session_id, what, decrypt)
        return replace(record, body=body, encoding=encoding)

    def reseal_snapshot(
        self, session_id: str, seq: int, body: bytes, encoding: str, *, decrypt: bool = False
    ) -> tuple[bytes, str]:
        """See `reseal`."""
        place = _snapshot_place(session_id, seq)
        return self._resealed(body, encoding, place, session_id, f"the snapshot at {seq}", decrypt)

    def _resealed(
        self, body: bytes, encoding: str, place: bytes, session_id: str, what: str, decrypt: bool
    ) -> tuple[bytes, str]:
        payload = self._opened(body, encoding, place, session_id, what)
        bare = "+".join(part for part in encoding.split("+") if not part.startswith("e:"))
        return self._sealed(payload, bare, place, [] if decrypt else self._keys[:1])

    # Bytes

    def _dumps(self, value: Any, what: str, bounded: bool) -> bytes:
        try:
            payload = orjson.dumps(value, default=_default, option=orjson.OPT_NON_STR_KEYS)
        except (TypeError, ValueError) as error:
            raise InvalidValue(f"{what}: a value cannot be stored: {error}. Store {_SUPPORTED}.") from error
        if bounded and len(payload) > self._max_bytes:
            raise TooLarge(
                f"{what}: {len(payload) / 1e6:.1f} MB in one piece is over the limit of "
                f"{self._max_bytes / 1e6:.1f} MB. Keep large data in a file or a blob store and record a "
                "reference to it, or raise `max_value_mb` in StateManagerConfig."
            )
        return payload

    def _pack(self, payload: bytes, place: bytes) -> tuple[bytes, str]:
        encoding = FORMAT
        if self._level and len(payload) >= COMPRESS_FROM_BYTES:
            smaller, part = self._compressed(payload, self._level)
            if len(smaller) < len(payload):
                payload, encoding = smaller, f"{encoding}+{part}"
        return self._sealed(payload, encoding, place, self._keys[:1])

    @staticmethod
    def _compressed(payload: bytes, level: int) -> tuple[bytes, str]:
        """Short bodies at half the level: above 4 they take twice as long to become one percent smaller."""
        if len(payload) < DICTIONARY_UPTO_BYTES:
            return _compressor((level + 1) // 2, "d").compress(payload), "d"
        return _compressor(level, "s").compress(payload), "s"

    @staticmethod
    def _sealed(payload: bytes, encoding: str, place: bytes, keys: Sequence[Key]) -> tuple[bytes, str]:
        """With the first of these keys; without any, with a checksum."""
        if not keys:
            return _checksum(payload, place + encoding.encode()) + payload, encoding
        nonce = os.urandom(NONCE_BYTES)
        encoding = f"{encoding}+e:{keys[0].id}"
        return nonce + keys[0].cipher.encrypt(nonce, payload, place + encoding.encode()), encoding

    def _unpack(self, body: bytes, encoding: str, place: bytes, session_id: str, what: str) -> bytes:
        payload = self._opened(body, encoding, place, session_id, what)
        return _decompress(payload, encoding, session_id, what)

    def _opened(self, body: bytes, encoding: str, place: bytes, session_id: str, what: str) -> bytes:
        """Checked and decrypted, and still compressed."""
        if not _is_known(encoding):
            raise DamagedError(
                session_id, what, f"unknown encoding {encoding[:40]!r}; is this library too old?"
            )
        bound = place + encoding.encode()
        key_id = key_of(encoding)
        if key_id:
            return self._decrypt(key_id, body, bound, session_id, what)
        payload = body[CHECKSUM_BYTES:]
        if body[:CHECKSUM_BYTES] != _checksum(payload, bound):
            raise DamagedError(session_id, what, "its checksum does not match")
        return payload

    def _decrypt(self, key_id: str, body: bytes, bound: bytes, session_id: str, what: str) -> bytes:
        key = next((key for key in self._keys if key.id == key_id), None)
        if key is None:
            have = ", ".join(key.id for key in self._keys) or "none"
            raise EncryptionKeyError(
                f"Session {session_id!r}: {what} is encrypted with key {key_id}; keys given: {have}. "
                "Pass the key it was written with in `encryption_key`."
            )
        try:
            return key.cipher.decrypt(body[:NONCE_BYTES], body[NONCE_BYTES:], bound)
        except (InvalidTag, ValueError) as error:
            raise DamagedError(session_id, what, "its authentication tag does not match") from error


# There are few encodings in a log, and each of its events has one.


@lru_cache(maxsize=256)
def _is_known(encoding: str) -> bool:
    version, *parts = encoding.split("+")
    return version == FORMAT and all(part in _DECOMPRESS or part.startswith("e:") for part in parts)


@lru_cache(maxsize=256)
def key_of(encoding: str) -> str:
    """The id of the key that something is encrypted with; "" where it is not."""
    return next((part[2:] for part in encoding.split("+") if part.startswith("e:")), "")


_HEADER_NAMES = tuple(Header.__dataclass_fields__)
_header_fields = attrgetter(*_HEADER_NAMES)


def _header_values(header: Header) -> dict[str, Any]:
    return dict(zip(_HEADER_NAMES, _header_fields(header), strict=True))


def _event_place(session_id: str, header: Header) -> bytes:
    """All of the header but ``seq``, which is not known yet when a body is sealed."""
    return orjson.dumps(
        [
            session_id,
            str(header.kind),
            header.at if _is_plain(header.at) else header.at.isoformat(timespec="microseconds"),
            header.actor,
            header.branch_id,
            header.step_id,
            header.agent,
            header.status,
            None if header.duration is None else float(header.duration),
            header.size,
            header.data,
        ],
        option=orjson.OPT_SORT_KEYS,
    )


def _is_plain(at: datetime) -> bool:
    """Does orjson write it as `isoformat` does, with its microseconds?"""
    return type(at) is datetime and at.tzinfo is UTC and at.microsecond > 0


def _snapshot_place(session_id: str, seq: int) -> bytes:
    return orjson.dumps(["snapshot", session_id, seq])


def _checksum(payload: bytes, place: bytes) -> bytes:
    return hashlib.blake2b(
        payload, digest_size=CHECKSUM_BYTES, key=hashlib.blake2b(place, digest_size=32).digest()
    ).digest()


# zstandard's objects serve one thread at a time.
_of_thread = threading.local()


_dictionary = zstandard.ZstdCompressionDict(FIRST, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
_DICTIONARIES: Mapping[str, zstandard.ZstdCompressionDict | None] = {"s": None, "d": _dictionary}


def _compressor(level: int, part: str) -> zstandard.ZstdCompressor:
    kept: dict[tuple[int, str], zstandard.ZstdCompressor] = _of_thread.__dict__.setdefault("compressors", {})
    if (level, part) not in kept:
        kept[level, part] = zstandard.ZstdCompressor(level=level, dict_data=_DICTIONARIES[part])
    return kept[level, part]


def _from_zstandard(payload: bytes, part: str) -> bytes:
    kept: dict[str, zstandard.ZstdDecompressor] = _of_thread.__dict__.setdefault("decompressors", {})
    if part not in kept:
        kept[part] = zstandard.ZstdDecompressor(dict_data=_DICTIONARIES[part])
    plain: bytes = kept[part].decompress(payload, allow_extra_data=False)
    return plain


_DECOMPRESS: Mapping[str, Callable[[bytes], bytes]] = {
    "s": lambda payload: _from_zstandard(payload, "s"),
    "d": lambda payload: _from_zstandard(payload, "d"),
    "z": zlib.decompress,
}


@lru_cache(maxsize=256)
def _decompressor(encoding: str) -> Callable[[bytes], bytes]:
    return next((_DECOMPRESS[part] for part in encoding.split("+") if part in _DECOMPRESS), bytes)


def _decompress(payload: bytes, encoding: str, session_id: str, what: str) -> bytes:
    try:
        return _decompressor(encoding)(payload)
    except (zlib.error, zstandard.ZstdError) as error:
        raise DamagedError(session_id, what, "it cannot be decompressed") from error


def _loads(payload: bytes, session_id: str, what: str) -> Any:
    try:
        return orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        raise DamagedError(session_id, what, "it is not JSON") from error
