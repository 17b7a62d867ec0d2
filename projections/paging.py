"""Every list is bounded: pages of at most a thousand rows, patterns of a bounded cost."""

from typing import Generic, TypeVar

import msgspec

from projections.errors import FilterRefused

MAX_PAGE_ROWS = 1000
MAX_PAGE_NUMBER = 10**9
MAX_PATTERN_CHARACTERS = 128
MAX_PATTERN_WILDCARDS = 4
"""Each further `%` multiplies the cost of a match by the length of the text."""

Row = TypeVar("Row")


class Page(msgspec.Struct, Generic[Row], frozen=True):
    """One page of a list, and how many rows the whole list has."""

    items: list[Row]
    total: int
    page: int
    page_size: int


def bounded(page: int, size: int) -> tuple[int, int]:
    """The page and size that are meant: a page from 1, a size of 1 to 1,000."""
    return min(max(1, page), MAX_PAGE_NUMBER), bounded_size(size)


def bounded_size(size: int) -> int:
    return min(max(1, size), MAX_PAGE_ROWS)


def containing(keyword: str) -> str:
    """A LIKE pattern, with a backslash as its escape, for texts that contain a keyword, whatever characters it has."""
    keyword = keyword[:MAX_PATTERN_CHARACTERS]
    escaped = keyword.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"


def checked_pattern(pattern: str) -> str:
    """A LIKE pattern as a client gave it. Raises FilterRefused when it is too long or has too many `%`."""
    if len(pattern) > MAX_PATTERN_CHARACTERS or pattern.count("%") > MAX_PATTERN_WILDCARDS:
        raise FilterRefused(
            f"a pattern has at most {MAX_PATTERN_CHARACTERS} characters and {MAX_PATTERN_WILDCARDS} of %: shorten it"
        )
    return pattern
