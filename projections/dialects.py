"""What the same question is called in SQLite and in PostgreSQL. Both give the same rows in the same order.

Texts are compared by code point on both, and case is folded for the letters A to Z alone.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any, cast

import msgspec

LEADING_CHARACTERS = 200
"""Of a text in an index: an entry of PostgreSQL's has a bound of 2,704 bytes, and names are texts that people type."""

_NUL_IN_JSON = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")
_encoder = msgspec.json.Encoder()
_LEADING = re.compile(r"LEADING\((\w+)\)")
_POSTGRES_TYPES = {"INTEGER": "BIGINT", "TEXT": 'TEXT COLLATE "C"', "AMOUNT": "NUMERIC", "WITHOUT ROWID": ""}
_PORTABLE_TYPES = re.compile(r"\b(INTEGER|TEXT|AMOUNT|WITHOUT ROWID)\b")


def without_nul(text: str) -> str:
    """NUL is no character of a text in PostgreSQL, and ends a pattern in SQLite: it is shown as U+FFFD on both."""
    return text.replace("\0", "\ufffd") if "\0" in text else text


def json_without_nul(text: bytes) -> bytes:
    """As `without_nul`, for the texts in a JSON text."""
    return _NUL_IN_JSON.sub(rb"\1\\ufffd", text) if b"\\u0000" in text else text


class SqliteDialect:
    """Numbers beyond 64 bits are stored as texts: AMOUNT is no type, for an affinity would make floats of them."""

    def ddl(self, statement: str) -> str:
        return _LEADING.sub(r"\1", statement).replace(" AMOUNT ", " ")

    def among(self, column: str) -> str:
        return f"{column} IN (SELECT value FROM json_each(?))"

    def values_of(self, values: Iterable[int] | Iterable[str]) -> str:
        return _encoder.encode(list(values)).decode()

    def among_rows(self, columns: str, texts: Iterable[str] = ()) -> str:
        items = ", ".join(f"json_extract(value, '$[{at}]')" for at in range(columns.count(",") + 1))
        return f"({columns}) IN (SELECT {items} FROM json_each(?))"

    def rows_of(self, rows: Iterable[tuple[int | str, ...]]) -> str:
        return _encoder.encode(list(rows)).decode()

    def like(self, column: str, *, escaped: bool) -> str:
        return f"{column} LIKE ?" + (" ESCAPE '\\'" if escaped else "")

    def ids_named(self, table: str, column: str) -> str:
        return f"SELECT id FROM {table} WHERE {column} = ?"

    def listed_in(self, column: str) -> str:
        return f"? IN (SELECT value FROM json_each({column}))"

    def sums(self, column: str) -> str:
        """In halves, each exact up to 2^31 rows: SQLite's `+` makes a float of an overflow, and its SUM fails."""
        whole = f"CASE typeof({column}) WHEN 'integer' THEN {column} END"
        return (
            f"coalesce(sum(({whole}) >> 32), 0), coalesce(sum(({whole}) & 4294967295), 0), "
            f"group_concat(CASE typeof({column}) WHEN 'text' THEN {column} END)"
        )

    def total(self, found: Sequence[Any]) -> int:
        upper, lower, texts = found
        return int((upper << 32) + lower + sum(int(text) for text in (texts or "").split(",") if text))


class PostgresDialect:
    """Sets of values are array literals, whose type is the column's."""

    def ddl(self, statement: str) -> str:
        typed = _PORTABLE_TYPES.sub(lambda found: _POSTGRES_TYPES[found[1]], statement)
        return _LEADING.sub(rf"left(\1, {LEADING_CHARACTERS})", typed)

    def among(self, column: str) -> str:
        return f"{column} = ANY(?)"

    def values_of(self, values: Iterable[int] | Iterable[str]) -> str:
        return array_of(list(values))

    def among_rows(self, columns: str, texts: Iterable[str] = ()) -> str:
        names = [name.strip() for name in columns.split(",")]
        items = [f"value ->> {at}" if name in texts else f"(value ->> {at})::bigint" for at, name in enumerate(names)]
        return f"({columns}) IN (SELECT {', '.join(items)} FROM json_array_elements(?::json))"

    def rows_of(self, rows: Iterable[tuple[int | str, ...]]) -> str:
        return _encoder.encode(list(rows)).decode()

    def like(self, column: str, *, escaped: bool) -> str:
        escape = "\\" if escaped else ""
        return f'lower({column} COLLATE "C") LIKE lower(?::text COLLATE "C") ESCAPE \'{escape}\''

    def ids_named(self, table: str, column: str) -> str:
        leading = f"left({column}, {LEADING_CHARACTERS}) = left(asked, {LEADING_CHARACTERS})"
        return f"SELECT id FROM {table}, (SELECT ?::text AS asked) a WHERE {leading} AND {column} = asked"

    def listed_in(self, column: str) -> str:
        return f"? IN (SELECT json_array_elements_text({column}::json))"

    def sums(self, column: str) -> str:
        return f"coalesce(sum({column}), 0), NULL, NULL"

    def total(self, found: Sequence[Any]) -> int:
        return int(found[0])


def array_of(column: Sequence[int | str | None]) -> str:
    """A column of values as a literal of PostgreSQL's, for an array of whatever type holds them. No text has a NUL."""
    kinds = set(map(type, column))
    if kinds == {int}:
        return "{" + ",".join(map(str, column)) + "}"
    if kinds == {str}:
        texts = "\0".join(cast("Sequence[str]", column))
        return '{"' + texts.replace("\\", "\\\\").replace('"', '\\"').replace("\0", '","') + '"}'
    return "{" + ",".join([_item(value) for value in column]) + "}"


def _item(value: int | str | None) -> str:
    if value is None:
        return "NULL"
    return array_of([value])[1:-1] if isinstance(value, str) else int.__repr__(value)


SQLITE = SqliteDialect()
POSTGRES = PostgresDialect()
