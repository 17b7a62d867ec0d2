"""What a connection leaves behind: nothing that only the garbage collector would find. It pauses every stream while it looks."""

from __future__ import annotations

import asyncio
import gc
import socket
import struct
import time
from collections.abc import Callable, Iterator

import pytest

from api.http1.connection import Connection
from api.http1.exchange import Exchange
from tests.http1.serving import Client, Serving, echo, get, post, serving

CONNECTIONS = 20
PATIENCE_S = 5.0
OURS = (Connection, Exchange, asyncio.StreamReader, asyncio.StreamReaderProtocol, asyncio.StreamWriter)


@pytest.fixture
def server() -> Iterator[Serving]:
    """On uvloop, as in production: asyncio's own transports are rings in themselves."""
    with serving(echo, "uvloop") as running:
        yield running


def leaves(client: Client) -> None:
    client.send(post(b"hi"))
    assert client.answer("POST").body == b"hi"


def leaves_at_once(client: Client) -> None:
    del client


def resets(client: Client) -> None:
    leaves(client)
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def leaves_in_a_head(client: Client) -> None:
    client.send(get(b"/")[:-2])


def leaves_in_a_body(client: Client) -> None:
    client.send(post(b"hi there")[:-3])


def is_refused(client: Client) -> None:
    client.send(b"GET / HTTP/1.1\r\nHost : a\r\n\r\n")
    assert client.answer().status == 400


def asks_for_the_end(client: Client) -> None:
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert client.answer().status == 200


@pytest.mark.parametrize(
    "life", [leaves, leaves_at_once, resets, leaves_in_a_head, leaves_in_a_body, is_refused, asks_for_the_end]
)
def test_a_connection_that_is_over_leaves_no_ring(server: Serving, life: Callable[[Client], None]) -> None:
    with server.connect() as first:  # what is made once is there before it is counted
        life(first)
    gc.collect()
    before = set(map(id, _of_connections()))
    gc.disable()
    try:
        for _ in range(CONNECTIONS):
            with server.connect() as client:
                life(client)
        deadline = time.monotonic() + PATIENCE_S
        while (left := [each for each in _of_connections() if id(each) not in before]) and time.monotonic() < deadline:
            del left
            time.sleep(0.01)
        kinds = [type(each).__name__ for each in left]
    finally:
        gc.enable()

    assert kinds == []


def _of_connections() -> list[object]:
    return [each for each in gc.get_objects() if isinstance(each, OURS)]
