"""What the benchmarks make of their figures. Their speed is nobody's promise; that they judge rightly is."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from api.settings import Environment
from benchmarks import rows
from benchmarks.gateway import ENGINES
from benchmarks.loopback import Errors, Latency, Load, Plan
from benchmarks.processes import cpu_s, open_files, sockets, tree
from benchmarks.report import Goal, Row, Spread, compared
from benchmarks.rounds import BODY_BYTES, LARGE_BYTES, LARGE_MESSAGES, Sample, chat
from benchmarks.run import NAMES, WHEN_NAMED, _options

NONE = Latency(p50=0, p90=0, p99=0, p999=0, max=0)


def sample(*, cpu_us_per_call: float, calls: int = 1000, broken: int = 0) -> Sample:
    """A load of so many calls, each at so much CPU."""
    load = Load(
        seconds=1.0,
        calls=calls,
        rps=float(calls),
        events=0,
        events_per_s=0.0,
        bytes=0,
        errors=Errors(non_200=0, cut=0, broken=broken, unfinished=0),
        statuses={"200": calls},
        left=0,
        reconnects=0,
        own_cpu_s=0.0,
        total_us=NONE,
        first_byte_us=NONE,
        gap_us=NONE,
        gap_growth_us=NONE,
        sample_status=0,
        sample="",
    )
    return Sample(load, cpu_us_per_call * calls / 1e6)


def a_row(*goals: Goal) -> Row:
    return Row(name="calls", measure="CPU us/call", figure=Spread.of([100.0]), goals=goals)


def test_a_row_with_two_targets_shows_a_verdict_for_each() -> None:
    row = compared("calls", "CPU us/call", [100.0], "echo", [100.0], at_most=(2.5, 0.7))

    cells = row.line()

    assert cells[4:6] == ("<= 2.5 x; <= 0.7 x", "met; NOT MET")
    assert not row.met


def test_a_row_with_a_failed_call_is_not_met_whatever_its_figure() -> None:
    met, unasked = a_row(Goal("<= 1 x", met=True)), a_row()

    assert [row.failed("1 of 9 calls failed").met for row in (met, unasked)] == [False, False]
    assert [row.failed("").met for row in (met, unasked)] == [True, True]


def test_a_call_is_judged_beside_both_echoes() -> None:
    samples = {
        "echo call": [sample(cpu_us_per_call=200)],
        "uvicorn call": [sample(cpu_us_per_call=40)],
        "gateway call": [sample(cpu_us_per_call=100)],
    }

    beside_hypercorn, beside_uvicorn, _ = rows.of_rounds("calls", samples)

    assert [goal.met for goal in beside_hypercorn.goals] == [True, True]
    assert beside_uvicorn.multiple == Spread.of([2.5])
    assert beside_uvicorn.met


def test_an_event_costs_what_a_paced_stream_costs_beyond_a_call() -> None:
    samples = {
        "echo call": [sample(cpu_us_per_call=200)],
        "echo paced": [sample(cpu_us_per_call=4200)],
        "gateway call": [sample(cpu_us_per_call=100)],
        "gateway paced": [sample(cpu_us_per_call=2100)],
    }

    (row,) = rows.of_rounds("events", samples)

    assert row.unit is not None
    assert row.figure.median == pytest.approx(20)
    assert row.unit.median == pytest.approx(40)
    assert row.met


@pytest.mark.parametrize(("cpu_us_at_256", "met"), [(104.0, True), (106.0, False)])
def test_many_connections_may_cost_a_call_five_per_cent_more_and_not_six(cpu_us_at_256: float, met: bool) -> None:
    samples = {
        "gateway call": [sample(cpu_us_per_call=100)],
        "gateway wide": [sample(cpu_us_per_call=cpu_us_at_256)],
    }

    (row,) = rows.of_rounds("wide", samples)

    assert row.met is met


def test_a_broken_connection_spoils_the_row_it_is_in() -> None:
    samples = {
        "gateway call": [sample(cpu_us_per_call=100)],
        "gateway wide": [sample(cpu_us_per_call=100, broken=1)],
    }

    (row,) = rows.of_rounds("wide", samples)

    assert not row.met
    assert "1 of 1000 calls failed" in row.note


@pytest.mark.parametrize(("size", "messages"), [(BODY_BYTES, 1), (LARGE_BYTES, LARGE_MESSAGES)])
def test_a_request_has_exactly_the_bytes_it_is_named_for(tmp_path: Path, size: int, messages: int) -> None:
    request = chat(tmp_path / "body.json", "bench", stream=True, size=size, messages=messages)

    assert request.body.stat().st_size == size


def test_a_plan_names_the_second_body_only_where_there_is_one(tmp_path: Path) -> None:
    plain = Plan(connections=1, seconds=1)
    mixed = Plan(connections=1, seconds=1, other=tmp_path, other_every=10, gaps=True)

    assert "--other" not in plain.arguments()
    assert mixed.arguments()[-5:] == ["--other", str(tmp_path), "--every", "10", "--gaps"]


def test_the_tree_has_the_children_of_a_process_with_their_cpu_and_files() -> None:
    before_s = cpu_s(os.getpid())
    burning = "import time\nwhile time.process_time() < 0.2: pass\nprint('.', flush=True)\ninput()"

    with subprocess.Popen([sys.executable, "-c", burning], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout
        child.stdout.read(1)
        members, used_s = tree(os.getpid()), cpu_s(os.getpid()) - before_s
        all_files, own_files = open_files(os.getpid()), len(list(Path("/proc/self/fd").iterdir()))
        child.communicate(b"\n")

    assert child.pid in members
    assert used_s >= 0.15
    assert all_files - own_files >= 2  # the child's three, less the one that our own look takes


def test_sockets_are_counted_by_what_they_do() -> None:
    before = sockets(os.getpid())

    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            found = sockets(os.getpid())
            found.subtract(before)

    assert (found["listening"], found["established"], found["ending"]) == (1, 2, 0)


def test_the_soak_runs_only_where_it_is_named() -> None:
    assert set(NAMES) - set(_options([]).only) == set(WHEN_NAMED)
    assert _options(["--only", "soak", "--minutes", "10"]).scale.minutes == 10


def test_the_engine_that_is_measured_is_the_one_the_gateway_has_by_default() -> None:
    fields = Environment.model_fields

    assert ENGINES["fast"] == {name: fields[name.lower()].default for name in ENGINES["fast"]}
    assert ENGINES["stock"].keys() == ENGINES["fast"].keys()
