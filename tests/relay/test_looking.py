"""Whether a socket has something to read, in all ways that it can."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator

import pytest

from relay.lean import looking

Look = Callable[[int], bool]


@pytest.fixture(params=[looking._by_peeking(), looking._by_poll, looking.is_quiet], ids=["peek", "poll", "chosen"])
def is_quiet(request: pytest.FixtureRequest) -> Look:
    look: Look = request.param
    return look


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of a TCP connection, this side's not blocking."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as near:
        far, _ = listener.accept()
        near.setblocking(False)
        with far:
            yield near, far


def test_an_open_connection_without_a_word_is_quiet(is_quiet: Look, pair: tuple[socket.socket, socket.socket]) -> None:
    assert is_quiet(pair[0].fileno())


def test_bytes_are_noticed_and_stay_to_be_read(is_quiet: Look, pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    far.sendall(b"HTTP")

    noticed = [not is_quiet(near.fileno()), not is_quiet(near.fileno())]

    assert noticed == [True, True]
    assert near.recv(10) == b"HTTP"
    assert is_quiet(near.fileno())


def test_an_end_is_noticed(is_quiet: Look, pair: tuple[socket.socket, socket.socket]) -> None:
    pair[1].shutdown(socket.SHUT_WR)

    assert not is_quiet(pair[0].fileno())


def test_a_reset_is_noticed(is_quiet: Look, pair: tuple[socket.socket, socket.socket]) -> None:
    pair[1].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    pair[1].close()

    assert not is_quiet(pair[0].fileno())


def test_a_descriptor_that_is_none_is_not_quiet() -> None:
    assert not looking._by_peeking()(-1)
