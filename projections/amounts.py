"""Amounts stay exact beyond 2^63: integers while SQLite can hold them, decimal text from there on. Columns for them are AMOUNT.

SQLite's `+` turns an overflow into a float. So what grows is added in Python, and what a query sums is the dialect's to sum.
PostgreSQL's NUMERIC takes and gives either as it is.
"""

MIN_INTEGER = -(2**63)
MAX_INTEGER = 2**63 - 1

Stored = int | str
"""An amount as a column holds it; `int()` reads both."""


def stored(amount: int) -> Stored:
    return amount if MIN_INTEGER <= amount <= MAX_INTEGER else str(amount)


def clamped(number: int) -> int:
    """The nearest number that an INTEGER column can hold: for what nobody adds up, such as a date that somebody typed."""
    return number if MIN_INTEGER <= number <= MAX_INTEGER else min(max(number, MIN_INTEGER), MAX_INTEGER)
