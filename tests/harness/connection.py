"""One connection of the scripted upstream: reading a request, playing a behaviour, noticing that the client left.

A script is played to its end or until the client is gone, and the record of the request says which.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import cast

from tests.harness.behaviours import Answer, Behaviour, Cut, Endless, Garbage, Gate, Refusal, Silence, Stream

MAX_HEAD_BYTES = 256 * 1024
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Left(Exception):
    """The client closed its connection before the script was played to the end."""


@dataclass
class Received:
    """One request as it came, and how its answer went. `finished` is set when the script is over, for either reason."""

    slot: str
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    events_sent: int = 0
    left_early: bool = False
    finished: threading.Event = field(default_factory=threading.Event)

    def json(self) -> dict[str, object]:
        """The body as a JSON object."""
        found: object = json.loads(self.body)
        assert isinstance(found, dict), f"expected a JSON object, got {self.body[:80]!r}"
        return cast(dict[str, object], found)

    @property
    def model(self) -> str | None:
        try:
            found = self.json().get("model")
        except (ValueError, AssertionError):
            return None
        return found if isinstance(found, str) else None

    def wait_finished(self, within_s: float = 5.0) -> bool:
        """True once the script is over; False when it is not within the time."""
        return self.finished.wait(within_s)


class Watched(asyncio.StreamReaderProtocol):
    """A stream protocol that says when its peer is gone, without reading what the peer may still send."""

    def __init__(self, serve: Serve) -> None:
        super().__init__(asyncio.StreamReader(limit=MAX_HEAD_BYTES), serve)
        self.gone = asyncio.Event()

    def eof_received(self) -> bool | None:
        self.gone.set()
        return super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone.set()
        super().connection_lost(exc)


class Link:
    """The way to one client: sends, pauses, breaks; raises `Left` as soon as the client is gone."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        protocol = writer.transport.get_protocol()
        assert isinstance(protocol, Watched), "every connection is made by the server's own factory"
        self._writer = writer
        self._gone = protocol.gone

    async def send(self, data: bytes) -> None:
        if self._gone.is_set():
            raise Left
        try:
            self._writer.write(data)
            await self._writer.drain()
        except ConnectionError as error:
            raise Left from error

    async def pause(self, seconds: float, gate: Gate | None) -> None:
        """Wait so long, then at the gate."""
        if seconds > 0:
            await self._unless_gone(asyncio.create_task(asyncio.sleep(seconds)))
        if gate is not None and not gate.is_open:
            await self._unless_gone(asyncio.create_task(gate.passed()))

    async def wait_gone(self) -> None:
        await self._gone.wait()
        raise Left

    def close(self, how: Cut) -> None:
        if how == "reset":
            sock: socket.socket = self._writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._writer.transport.abort()
        else:
            self._writer.close()

    async def _unless_gone(self, awaited: asyncio.Task[None]) -> None:
        gone = asyncio.create_task(self._gone.wait())
        done, pending = await asyncio.wait({awaited, gone}, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        if awaited not in done:
            raise Left


async def read_request(reader: asyncio.StreamReader) -> Received | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ", 2)
    headers = {
        name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)
    }
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = await _read_chunks(reader)
    else:
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    slot, _, rest = target.lstrip("/").partition("/")
    return Received(slot, method, "/" + rest, headers, body)


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = bytearray()
    while size := int((await reader.readline()).split(b";")[0], 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readline()
    return bytes(body)


async def play(behaviour: Behaviour, received: Received, link: Link) -> bool:
    """Play one script; True when the connection can carry another request."""
    try:
        return await _played(behaviour, received, link)
    except Left:
        received.left_early = True
        return False
    finally:
        received.finished.set()


async def _played(behaviour: Behaviour, received: Received, link: Link) -> bool:
    match behaviour:
        case Answer():
            return await _play_answer(behaviour, link)
        case Stream():
            return await _play_stream(behaviour, received, link)
        case Silence(after="head", content_type=kind):
            await link.send(_head(200, kind, [("content-length", "1000")]))
            await link.wait_gone()
        case Silence():
            await link.wait_gone()
        case Endless():
            await _play_endless(behaviour, received, link)
        case Garbage():
            await link.send(behaviour.raw)
            link.close("fin")
        case Refusal():
            link.close("reset")
    return False


async def _play_answer(answer: Answer, link: Link) -> bool:
    await link.pause(answer.after_s, answer.gate)
    stated = len(answer.body) + answer.length_off_by
    await link.send(_head(answer.status, answer.content_type, [*answer.headers, ("content-length", str(stated))]))
    if answer.cut_at is not None:
        await link.send(answer.body[: answer.cut_at])
        link.close(answer.cut)
        return False
    await link.send(answer.body)
    if answer.length_off_by:
        link.close(answer.cut)
    return answer.length_off_by == 0


async def _play_stream(stream: Stream, received: Received, link: Link) -> bool:
    await link.pause(0, stream.gates.get(0))
    await link.send(_head(stream.status, stream.content_type, [*stream.headers, ("transfer-encoding", "chunked")]))
    for number, event in enumerate(stream.events):
        if number:
            await link.pause(stream.gap_s, stream.gates.get(number))
        if event:
            await link.send(_chunk(event))
        received.events_sent = number + 1
    await link.pause(0, stream.gates.get(len(stream.events)))
    match stream.ends:
        case "done":
            await link.send(b"0\r\n\r\n")
            return True
        case "hang":
            await link.wait_gone()
        case cut:
            link.close(cut)
    return False


async def _play_endless(endless: Endless, received: Received, link: Link) -> None:
    await link.send(_head(200, endless.content_type, [("transfer-encoding", "chunked")]))
    while True:
        await link.send(_chunk(endless.piece))
        received.events_sent += 1
        await link.pause(endless.gap_s, None)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _head(status: int, content_type: str, headers: Iterable[tuple[str, str]]) -> bytes:
    lines = [
        f"HTTP/1.1 {status} scripted",
        f"content-type: {content_type}",
        *(f"{name}: {value}" for name, value in headers),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
