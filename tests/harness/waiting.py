"""Waiting for what another process does: asked again until it is so, never slept for."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(ask: Callable[[], T], good: Callable[[T], bool], *, within_s: float = 5.0, every_s: float = 0.03) -> T:
    """The first answer that is good.

    Raises:
        AssertionError: none was within the time; it names the last one.
    """
    deadline = time.monotonic() + within_s
    while not good(found := ask()):
        assert time.monotonic() < deadline, f"not within {within_s} s; last seen: {found!r}"
        time.sleep(every_s)
    return found
