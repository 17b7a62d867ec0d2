"""The end of a call as a record of the spool, and back. A torn or damaged record is never taken for a whole one.

A file is a header and frames. A frame says its length and the digest of what follows it, and guards both by a checksum of their
own: so a length that was damaged is told from a write that a crash cut off.
"""

import struct
from collections.abc import Iterator
from hashlib import sha256
from typing import Final, NamedTuple
from zlib import crc32

import msgspec

from domain.commands import Release, Settle

FILE_MAGIC: Final = b"VELSPOOL"
FRAME_MAGIC: Final = b"VsF1"
MAX_RECORD_BYTES: Final = 256 * 1024
"""Far above any settlement: they are about a KiB."""

IDENTITY_BYTES: Final = 16
_FILE = struct.Struct(f">8s{IDENTITY_BYTES}sI")
_FRAME = struct.Struct(">4sI16sI")
FILE_HEADER_BYTES: Final = _FILE.size
FRAME_HEADER_BYTES: Final = _FRAME.size

End = Settle | Release


class _Settle(msgspec.Struct, frozen=True, tag="settle/1"):
    at_ms: int
    command: Settle


class _Release(msgspec.Struct, frozen=True, tag="release/1"):
    at_ms: int
    command: Release


_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[_Settle | _Release] = msgspec.json.Decoder(_Settle | _Release)


class Waiting(NamedTuple):
    """An end that waits for the database, and since when (ms, this machine's clock)."""

    command: End
    at_ms: int


class Unreadable(Exception):
    """A whole record that this version cannot read; a newer one wrote it."""


class Scan(NamedTuple):
    """What some bytes of a file hold."""

    records: list[bytes]
    """The payloads of whole frames, in order."""
    end: int
    """Bytes up to the end of the last whole frame, or of what is damaged after it."""
    damaged: list[tuple[int, int]]
    """(from, to): bytes that are no frame and were not left by a write that was cut off."""
    torn: int
    """Bytes at the end that a crash in the middle of a write left. They were never acknowledged."""


def encode(command: End, at_ms: int) -> bytes:
    """A payload: JSON, so that people can read what waits."""
    kind = _Settle if isinstance(command, Settle) else _Release
    return _encoder.encode(kind(at_ms, command))  # type: ignore[arg-type]  # each kind gets the command it was chosen for


def decode(payload: bytes) -> Waiting:
    """Raises Unreadable."""
    try:
        record = _decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Unreadable(f"this version cannot read it: {error}") from error
    return Waiting(record.command, record.at_ms)


def framed(payload: bytes) -> bytes:
    assert 0 < len(payload) <= MAX_RECORD_BYTES, "whoever makes a frame has looked at its size"
    head = _FRAME.pack(FRAME_MAGIC, len(payload), sha256(payload).digest()[:16], 0)[:-4]
    return head + crc32(head).to_bytes(4, "big") + payload


def file_header(identity: bytes) -> bytes:
    """`identity` names the ledger that the records are for."""
    head = _FILE.pack(FILE_MAGIC, identity, 0)[:-4]
    return head + crc32(head).to_bytes(4, "big")


def identity_in(header: bytes) -> bytes | None:
    """The ledger that a file is for; None when its header is damaged."""
    if len(header) < FILE_HEADER_BYTES:
        return None
    magic, identity, check = _FILE.unpack_from(header)
    if magic != FILE_MAGIC or crc32(header[: FILE_HEADER_BYTES - 4]) != check:
        return None
    assert isinstance(identity, bytes), "the format says so"
    return identity


def scan(data: bytes) -> Scan:
    """Find the frames in what follows a file's header. After damage it goes on with the next whole frame."""
    records: list[bytes] = []
    damaged: list[tuple[int, int]] = []
    at = 0
    while at < len(data):
        payload = _payload_at(data, at)
        if payload is None:
            following = _next_frame(data, at + 1)
            if following is None and _is_torn(data, at):
                return Scan(records, at, damaged, len(data) - at)
            damaged.append((at, following or len(data)))
            at = following or len(data)
            continue
        records.append(payload)
        at += FRAME_HEADER_BYTES + len(payload)
    return Scan(records, at, damaged, 0)


def _payload_at(data: bytes, at: int) -> bytes | None:
    length = _length_at(data, at)
    start = at + FRAME_HEADER_BYTES
    if length is None or start + length > len(data):
        return None
    payload = data[start : start + length]
    return payload if sha256(payload).digest()[:16] == data[at + 8 : at + 24] else None


def _length_at(data: bytes, at: int) -> int | None:
    """What a frame's header says; None when it is not whole, or is no header."""
    if at + FRAME_HEADER_BYTES > len(data):
        return None
    magic, length, _, check = _FRAME.unpack_from(data, at)
    if magic != FRAME_MAGIC or crc32(data[at : at + FRAME_HEADER_BYTES - 4]) != check:
        return None
    return length if 0 < length <= MAX_RECORD_BYTES else None


def _next_frame(data: bytes, start: int) -> int | None:
    return next((at for at in _magics(data, start) if _payload_at(data, at) is not None), None)


def _magics(data: bytes, start: int) -> Iterator[int]:
    while (start := data.find(FRAME_MAGIC, start)) >= 0:
        yield start
        start += 1


def _is_torn(data: bytes, at: int) -> bool:
    """Whether the rest is what a cut write leaves: the beginning of a frame, or zeros that a power cut left in its place."""
    rest = data[at:]
    if not any(rest):
        return True
    if len(rest) < FRAME_HEADER_BYTES:
        return rest[:4] == FRAME_MAGIC[: len(rest)]
    length = _length_at(data, at)
    return length is not None and len(rest) < FRAME_HEADER_BYTES + length
