"""A server that speaks Redis' protocol and does not tell the truth."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from relay.shared_scripts import Script

Lie = Callable[[list[bytes]], bytes]
"""What is sent for a command."""


@asynccontextmanager
async def lying(folder: Path, about: Script, lie: Lie) -> AsyncIterator[str]:
    """The URL of a server that lies about one script. Other scripts answer 1 and 1, and all else is in order, or nobody would ask."""

    def answer(command: list[bytes]) -> bytes:
        if command[0] == b"PING":
            return b"+PONG\r\n"
        if command[0] != b"EVALSHA":
            return b"+OK\r\n"
        return lie(command) if command[1] == about.sha.encode() else reply(1, 1)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while command := await _command(reader):
                said = answer(command)
                writer.write(said)
                await writer.drain()
                if not said:
                    break
        writer.close()

    path = folder / "liar"
    server = await asyncio.start_unix_server(talk, path)
    try:
        yield f"unix://{path}"
    finally:
        server.close()


async def _command(reader: asyncio.StreamReader) -> list[bytes]:
    head = await reader.readline()
    if not head:
        return []
    parts: list[bytes] = []
    for _ in range(int(head[1:])):
        size = int((await reader.readline())[1:])
        parts.append((await reader.readexactly(size + 2))[:-2])
    return parts


def reply(*values: bytes | int) -> bytes:
    """An array of these, as Redis would send it."""
    texts = [
        b":%d\r\n" % value if isinstance(value, int) else b"$%d\r\n%s\r\n" % (len(value), value) for value in values
    ]
    return b"*%d\r\n%s" % (len(values), b"".join(texts))
