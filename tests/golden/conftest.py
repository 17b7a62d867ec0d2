"""The gateway of the golden cases is its own: they replace whole price tables, which no story would survive."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.golden.stage import Stage
from tests.harness.gateway import Gateway
from tests.harness.upstream import Upstream


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with Upstream() as upstream, Gateway(tmp_path_factory.mktemp("golden") / "data") as gateway:
        yield Stage(gateway, upstream)
