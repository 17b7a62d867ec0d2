"""The numbers for Prometheus: they parse, are called as its rules want it, say whose they are, and outlive a database that is away."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from api.compose import Services, start_services, stop_services
from api.metrics import FORGOTTEN_AFTER_S, exposition, leave
from api.settings import Environment
from tests.harness.postgres import shared_server

SECRET = "the same everywhere, 32 bytes or more"
PREFIXES = ("veloera_", "gen_ai_", "process_")
BASE_UNITS = ("_seconds", "_bytes", "_mills", "_facts", "_info")
NOT_BASE = re.compile(r"_(ms|millis|milliseconds|us|minutes|hours|kb|mb|kib|mib|percent)(_|$)")
LABEL = re.compile(r"[a-z][a-z0-9_]*")


@contextmanager
def serving(folder: Path, dsn: str = "", *, workers: int = 1, slot: int = 0) -> Generator[Services]:
    """One worker's parts, without a server around them."""
    environment = Environment(
        data_dir=folder, sql_dsn=dsn, crypto_secret=SECRET if dsn else "", workers=workers, ledger_durability="process"
    )
    services = start_services(environment, slot)
    try:
        yield services
    finally:
        stop_services(services)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def services(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """On either store, after calls of every kind of end; these tests only read it."""
    with serving(tmp_path_factory.mktemp("metrics") / "data", dsn() if request.param == "postgresql" else "") as found:
        figures = found.desk.figures
        figures.calls.update({("chat", 200): 3, ("chat", 429): 1, ('odd "name"\\\n', 500): 1})
        figures.endings.update({"complete": 2, "client_left": 1})
        figures.refusals.update({"insufficient_quota": 4})
        figures.attempts.update({(1, "ok"): 3, (2, "timeout"): 1})
        for seconds in (0.0, 0.003, 0.4, 1_000.0):
            figures.duration.add(seconds)
        yield found


def dsn() -> str:
    server = shared_server()
    return f"postgresql://postgres@/{server.database()}?host={server.folder}&port={server.port}"


def families(services: Services) -> dict[str, Metric]:
    listed = list(text_string_to_metric_families(exposition(services).decode()))
    assert len({family.name for family in listed}) == len(listed), "a family comes once"
    return {family.name: family for family in listed}


def workers_in(services: Services) -> set[str]:
    return {sample.labels["worker"] for family in families(services).values() for sample in family.samples}


def test_every_family_says_what_it_is_and_is_called_as_the_rules_want_it(services: Services) -> None:
    for name, family in families(services).items():
        assert name.startswith(PREFIXES), name
        assert re.fullmatch(r"[a-z][a-z0-9_]*", name)
        assert not NOT_BASE.search(name), name
        assert family.documentation
        assert family.type in ("counter", "gauge", "histogram"), name
        assert family.type != "histogram" or name.endswith(BASE_UNITS), name


def test_counters_end_in_total_and_nothing_else_does(services: Services) -> None:
    lines = exposition(services).decode().splitlines()

    types = dict(line.split()[2:4] for line in lines if line.startswith("# TYPE"))

    assert {name for name, kind in types.items() if kind == "counter"} == {
        name for name in types if name.endswith("_total")
    }
    assert "veloera_calls_total" in types


def test_every_sample_comes_once_with_the_worker_it_is_of_and_labels_of_plain_names(services: Services) -> None:
    samples = [sample for family in families(services).values() for sample in family.samples]

    assert {sample.labels["worker"] for sample in samples} == {"0"}
    assert all(LABEL.fullmatch(label) for sample in samples for label in sample.labels)
    identities = [(sample.name, *sorted(sample.labels.items())) for sample in samples]
    assert len(set(identities)) == len(identities)
    odd = [sample.labels["endpoint"] for sample in families(services)["veloera_calls"].samples]
    assert 'odd "name"\\\n' in odd


def test_a_histogram_adds_up_to_its_count(services: Services) -> None:
    found = families(services)["gen_ai_server_request_duration_seconds"].samples

    buckets = [sample for sample in found if sample.name.endswith("_bucket")]
    counts = [sample.value for sample in buckets]
    bounds = [float(sample.labels["le"]) for sample in buckets]
    (count,) = [sample.value for sample in found if sample.name.endswith("_count")]
    assert counts == sorted(counts)
    assert bounds == sorted(bounds)
    assert (bounds[-1], counts[-1], count) == (float("inf"), 4, 4)


def test_the_spool_has_numbers_where_there_is_a_spool(services: Services) -> None:
    spooled = {name for name in families(services) if name.startswith("veloera_spool_")}

    assert bool(spooled) == bool(services.environment.sql_dsn)


def test_whichever_worker_is_asked_answers_for_all(tmp_path: Path) -> None:
    with (
        serving(tmp_path / "data", workers=2) as first,
        serving(tmp_path / "data", workers=2, slot=1) as second,
    ):
        first.desk.figures.calls.update({("chat", 200): 3})
        second.desk.figures.calls.update({("chat", 200): 5})
        leave(first)
        leave(second)

        told = [families(one)["veloera_calls"].samples for one in (first, second)]

        assert {(sample.labels["worker"], sample.value) for sample in told[0]} == {("0", 3), ("1", 5)}
        assert {(sample.labels["worker"], sample.value) for sample in told[1]} == {("0", 3), ("1", 5)}
        assert len(list((tmp_path / "data" / "metrics").iterdir())) == 2


@pytest.mark.parametrize("left", [b"", b'{"at_s": 9e99, "families": [{}]}', b"\xff", b"[]", None], ids=range(5))
def test_what_another_worker_left_half_or_long_ago_is_passed_over(tmp_path: Path, left: bytes | None) -> None:
    with serving(tmp_path / "data", workers=2) as services:
        path = tmp_path / "data" / "metrics" / "worker-1.json"
        leave(services)
        own = path.with_name("worker-0.json").read_text()
        at_s, rest = own.removeprefix('{"at_s":').split(",", 1)
        old = f'{{"at_s":{float(at_s) - FORGOTTEN_AFTER_S},{rest}'.replace('"worker":"0"', '"worker":"1"')
        path.write_bytes(old.encode() if left is None else left)

        assert workers_in(services) == {"0"}


def test_a_folder_that_cannot_be_written_costs_the_others_numbers_and_nothing_else(tmp_path: Path) -> None:
    with serving(tmp_path / "data", workers=2) as services:
        (tmp_path / "data" / "metrics").write_text("no folder")

        leave(services)

        assert workers_in(services) == {"0"}


def test_a_database_that_is_away_costs_what_only_it_knows(tmp_path: Path) -> None:
    address = dsn()
    with serving(tmp_path / "data", address) as services:
        before = families(services)

        shared_server().drop(address.split("/")[3].partition("?")[0])

        assert set(before) - set(families(services)) == {"veloera_projection_lag_facts"}
