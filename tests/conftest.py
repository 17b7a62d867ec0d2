"""Fixtures of the end-to-end tests: one gateway and one upstream for the whole session, or fresh ones for one test.

Nothing starts before a test asks for it, so tests of single modules never pay for a server.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.harness.gateway import Gateway
from tests.harness.upstream import Upstream

TOLD = "told"
"""The name of a property of a test report that is a line for people; it is printed at the end, also from other processes."""
OpenGateway = Callable[[Mapping[str, str]], Gateway]


@pytest.fixture(scope="session")
def upstream() -> Iterator[Upstream]:
    """The scripted upstream. Tests script it by model, and model names are their own, so they do not meet."""
    with Upstream() as server:
        yield server


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """The gateway most stories share; a story that restarts, kills or configures one takes `open_gateway`."""
    with Gateway(tmp_path_factory.mktemp("shared") / "data") as running:
        yield running


@pytest.fixture
def open_gateway(tmp_path: Path) -> Iterator[OpenGateway]:
    """Opens gateways of this test's own, each on an empty folder, with further environment variables."""
    with ExitStack() as stack:

        def opened(env: Mapping[str, str]) -> Gateway:
            folder = tmp_path / f"data-{len(list(tmp_path.glob('data-*')))}"
            return stack.enter_context(Gateway(folder, env))

        yield opened


@pytest.fixture
def fresh_gateway(open_gateway: OpenGateway) -> Gateway:
    """A gateway on an empty folder for this test alone."""
    return open_gateway({})


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests had to tell (`record_property("told", line)`)."""
    reports = [report for outcome in ("passed", "failed") for report in terminalreporter.stats.get(outcome, [])]
    lines = [str(value) for report in reports for name, value in report.user_properties if name == TOLD]
    if lines:
        terminalreporter.section("told by tests")
        for line in lines:
            terminalreporter.write_line(line)
