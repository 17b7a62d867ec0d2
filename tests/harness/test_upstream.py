"""The scripted upstream does what its scripts say, the bad things too."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import httpx
import pytest

from tests.harness import wire
from tests.harness.behaviours import Answer, Endless, Garbage, Gate, Refusal, Silence
from tests.harness.upstream import Upstream
from tests.harness.waiting import eventually

BODY: dict[str, object] = {"model": "m", "messages": []}


@pytest.fixture
def server() -> Iterator[Upstream]:
    with Upstream() as running:
        yield running


def test_queued_scripts_come_before_the_standing_one(server: Upstream) -> None:
    server.always(wire.chat("standing"))
    server.queue(wire.chat("first"))

    answers = [httpx.post(f"{server.url()}/v1/chat/completions", json=BODY).json() for _ in range(2)]

    assert [answer["choices"][0]["message"]["content"] for answer in answers] == ["first", "standing"]


def test_slots_and_models_have_scripts_of_their_own(server: Upstream) -> None:
    server.always(wire.failure(429), slot="b")
    server.always(wire.failure(500), slot="b", model="m")

    statuses = [httpx.post(f"{server.url('b')}/x", json={"model": model}).status_code for model in ("m", "other")]

    assert statuses == [500, 429]
    assert [call.path for call in server.calls("b", "m")] == ["/x"]


def test_a_stream_stops_at_its_gate_until_it_opens(server: Upstream) -> None:
    gate = Gate()
    server.always(wire.chat_stream(["one", "two"]).held_before(2, gate))

    with httpx.stream("POST", f"{server.url()}/x", json=BODY) as response:
        lines = response.iter_lines()
        while "one" not in next(lines):
            pass
        sent_before = eventually(lambda: server.calls()[0].events_sent, lambda sent: sent == 2)
        gate.open()
        rest = list(lines)

    assert sent_before == 2
    assert rest[-2] == "data: [DONE]"


@pytest.mark.parametrize("ends", ["fin", "reset"])
def test_a_cut_stream_breaks_the_readers_connection(server: Upstream, ends: str) -> None:
    script = wire.chat_stream(["one", "two"])
    server.queue(script.cut_after(2, "fin" if ends == "fin" else "reset"))

    with pytest.raises(httpx.TransportError):
        httpx.post(f"{server.url()}/x", json=BODY)

    assert server.calls()[0].wait_finished()
    assert server.calls()[0].events_sent == 2


def test_a_stream_can_be_cut_inside_an_event(server: Upstream) -> None:
    script = wire.chat_stream(["one", "two"])

    cut = script.cut_at_byte(script.size - 3)

    assert b"".join(cut.events) == b"".join(script.events)[:-3]


@pytest.mark.parametrize(
    "behaviour",
    [Answer(b"{}", length_off_by=5), Answer(b"{}" * 50, cut_at=10), Garbage(), Refusal()],
    ids=["length too long", "cut body", "no HTTP", "refused"],
)
def test_a_misbehaving_answer_is_an_error_for_the_reader(
    server: Upstream, behaviour: Answer | Garbage | Refusal
) -> None:
    server.queue(behaviour)

    with pytest.raises(httpx.TransportError):
        httpx.post(f"{server.url()}/x", json=BODY)

    assert server.calls()[0].wait_finished()


@pytest.mark.parametrize(
    "behaviour",
    [Silence(), Silence(after="head"), Endless(b" " * 64, gap_s=0.01), wire.chat_stream(["one"]).cut_after(1, "hang")],
    ids=["silent", "head only", "endless", "hanging stream"],
)
def test_a_client_that_gives_up_is_noticed(server: Upstream, behaviour: Silence | Endless) -> None:
    server.queue(behaviour)

    with socket.create_connection(server.address, timeout=5) as client:
        client.sendall(b"POST /a/x HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}")
        server.wait_for_calls(1)

    (call,) = server.calls()
    assert call.wait_finished()
    assert call.left_early
