"""A gateway whose server dies goes on with the standby that took its place, money and read models. Collected with CHAOS=full."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.crash.forks import Forks
from tests.crash.gateway_rounds import ENV, SECRET, Load, offered, serves, wait
from tests.crash.rounds import check
from tests.crash.where import Where
from tests.harness.failover import Pair
from tests.harness.gateway import Gateway
from tests.harness.upstream import Upstream
from tests.harness.waiting import eventually

Tell = Callable[[str, object], None]
LOADED_S = 3.0


@pytest.mark.parametrize("workers", [1, 2])
def test_a_gateway_goes_on_with_the_server_that_took_over_and_folds_there(
    workers: int, forks: Forks, upstream: Upstream, tmp_path: Path, record_property: Tell
) -> None:
    with Pair() as pair:
        env = {**ENV, "WORKERS": str(workers), "SQL_DSN": pair.standby_first, "CRYPTO_SECRET": SECRET}
        with Gateway(tmp_path / "data", env) as gateway:
            load = Load(gateway, offered(gateway, upstream), "fail-over")
            wait(LOADED_S, load, for_answers=True)
            pair.fail_over()
            wait(LOADED_S, load, for_answers=True)
            told = load.stopped()
            eventually(lambda: serves(gateway), bool, within_s=30)

            found = check(forks, Where(tmp_path / "data", pair.standby_first), told)
            logged = eventually(lambda: charges_logged(gateway), lambda count: count >= len(told), within_s=30)

    record_property(
        "told", f"fail-over under a gateway of {workers}: {len(told)} acknowledged, {found.lost} lost, {logged} logged"
    )
    assert found.problems == []


def charges_logged(gateway: Gateway) -> int:
    page = gateway.root.raw("GET", "/api/log/", params={"p": 1, "page_size": 1, "type": 2}).json()
    return int(page["data"]["total"])
