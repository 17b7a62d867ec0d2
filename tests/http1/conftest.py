"""Fixtures of the HTTP/1 tests: every sentence about the server is said of both event loops."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.http1.serving import App, Loop, Serving, serving

Serve = Callable[..., Serving]


@pytest.fixture(params=["uvloop", "asyncio"])
def loop(request: pytest.FixtureRequest) -> Loop:
    """The event loop that the server runs on."""
    chosen: Loop = request.param
    return chosen


@pytest.fixture
def serve(loop: Loop) -> Iterator[Serve]:
    """Starts servers of this test's own; they are stopped with it."""
    with ExitStack() as stack:

        def started(app: App, **settings: Any) -> Serving:
            return stack.enter_context(serving(app, loop, **settings))

        yield started
