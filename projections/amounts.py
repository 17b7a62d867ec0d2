"""Amounts and their sums stay exact beyond 2^63: integers while SQLite can hold them, decimal text from there on.

SQLite's `+` turns an overflow into a float, and its `SUM` fails. So what grows is added in Python, and what a query sums is
summed in halves. Columns for such amounts are declared without a type: an affinity would make floats of long texts.
"""

MIN_INTEGER = -(2**63)
MAX_INTEGER = 2**63 - 1

Stored = int | str
"""An amount as a column holds it; `int()` reads both."""


def stored(amount: int) -> Stored:
    return amount if MIN_INTEGER <= amount <= MAX_INTEGER else str(amount)


def clamped(number: int) -> int:
    """The nearest number that an INTEGER column can hold: for what nobody adds up, such as a date that somebody typed."""
    return min(max(number, MIN_INTEGER), MAX_INTEGER)


def sums(column: str) -> str:
    """Three SQL expressions over the rows of a query, for `total`. Each half stays exact up to 2^31 rows."""
    whole = f"CASE typeof({column}) WHEN 'integer' THEN {column} END"
    return (
        f"coalesce(sum(({whole}) >> 32), 0), coalesce(sum(({whole}) & 4294967295), 0), "
        f"group_concat(CASE typeof({column}) WHEN 'text' THEN {column} END)"
    )


def total(upper: int, lower: int, texts: str | None) -> int:
    """The exact sum from what `sums` selected."""
    return (upper << 32) + lower + sum(int(text) for text in (texts or "").split(",") if text)
