"""Which page of a list is meant: the family's parameters, its two ways of counting, and bounds for both.

Users and logs count pages from 1, keys and channels from 0. A size that is missing or 0 means ten; nothing is larger than a
hundred.
"""

from typing import Annotated, NamedTuple

from fastapi import Depends, Query

DEFAULT_SIZE = 10
MAX_SIZE = 100
MAX_PAGE = 10**9
_BOUND = 2**53

Number = Annotated[int, Query(ge=-_BOUND, le=_BOUND)]
Moment = Annotated[int, Query(ge=0, le=_BOUND, description="seconds since the epoch; 0: no bound")]
Words = Annotated[str, Query(max_length=128)]
Flag = Annotated[str, Query(max_length=16, description="any text but `false` and `0` switches it on")]


class Slice(NamedTuple):
    """A page number and a size, both within bounds."""

    page: int
    size: int


async def from_one(p: Number = 1, page_size: Number = 0, size: Number = 0) -> Slice:
    return Slice(min(max(1, p), MAX_PAGE), _size(page_size or size))


async def from_zero(p: Number = 0, page_size: Number = 0, size: Number = 0) -> Slice:
    return Slice(min(max(0, p), MAX_PAGE), _size(size or page_size))


FromOne = Annotated[Slice, Depends(from_one)]
FromZero = Annotated[Slice, Depends(from_zero)]


def is_on(flag: str) -> bool:
    return flag not in ("", "0", "false")


def _size(asked: int) -> int:
    return DEFAULT_SIZE if asked <= 0 else min(asked, MAX_SIZE)
