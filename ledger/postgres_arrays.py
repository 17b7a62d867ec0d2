"""Arrays for `unnest`, made in a few steps over the whole list: the writer's thread shares its interpreter with all calls.

The form is the wire's: a header with the type of the elements, then each element behind its length; -1 stands for NULL.
Source: src/backend/utils/adt/arrayfuncs.c, array_recv, PostgreSQL 18.
"""

from collections.abc import Iterable, Sequence
from struct import Struct

from psycopg.abc import Buffer
from psycopg.adapt import Dumper
from psycopg.pq import Format

_HEADER = Struct("!iiIii")
_LENGTH = Struct("!i")
_NULL = _LENGTH.pack(-1)
_EIGHT = _LENGTH.pack(8)
_SIXTEEN_HEX = _LENGTH.pack(16).hex()


class Array(bytes):
    """One array as it goes over the wire."""

    __slots__ = ()


class Uuids(Array):
    """uuid[], from hex digits."""

    __slots__ = ()


class Texts(Array):
    """text[]"""

    __slots__ = ()


class Bytes(Array):
    """bytea[]"""

    __slots__ = ()


class Bigints(Array):
    """bigint[]"""

    __slots__ = ()


def uuids(streams: Sequence[str]) -> Uuids:
    """Each of 32 hex digits."""
    return Uuids(_header(2950, len(streams)) + bytes.fromhex("".join([_SIXTEEN_HEX + stream for stream in streams])))


def texts(values: Sequence[str]) -> Texts:
    return Texts(_header(25, len(values)) + _joined([value.encode() for value in values]))


def byteas(values: Sequence[bytes]) -> Bytes:
    return Bytes(_header(17, len(values)) + _joined(values))


def bigints(values: Sequence[int | None]) -> Bigints:
    """Raises OverflowError for what 64 bits do not hold."""
    items = [_NULL if value is None else _EIGHT + value.to_bytes(8, "big", signed=True) for value in values]
    return Bigints(_header(20, len(values)) + b"".join(items))


def _header(element: int, count: int) -> bytes:
    return _HEADER.pack(1, 1, element, count, 1) if count else _HEADER.pack(0, 0, element, 0, 0)[:12]


def _joined(values: Iterable[bytes]) -> bytes:
    pack = _LENGTH.pack
    return b"".join([part for value in values for part in (pack(len(value)), value)])


class _ArrayDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: Buffer) -> Buffer:
        return obj


class _UuidsDumper(_ArrayDumper):
    oid = 2951


class _TextsDumper(_ArrayDumper):
    oid = 1009


class _BytesDumper(_ArrayDumper):
    oid = 1001


class _BigintsDumper(_ArrayDumper):
    oid = 1016


DUMPERS: tuple[tuple[type[Array], type[Dumper]], ...] = (
    (Uuids, _UuidsDumper),
    (Texts, _TextsDumper),
    (Bytes, _BytesDumper),
    (Bigints, _BigintsDumper),
)
