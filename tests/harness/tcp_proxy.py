"""A wire between a client and a server that a test can cut, at a message of its choice.

Bytes pass unchanged until the client sends something with `word` in it: then the wire does what it was told, once, for that
connection; other connections pass.
"""

from __future__ import annotations

import selectors
import socket
import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Literal, Self

Cut = Literal["before", "after", "delayed", "silent"]
"""What happens to the message: lost with the wire; passed on, and its answer lost with the wire; passed on a second after the client
lost the wire; lost, and nothing is ever said again on this wire."""
DELAY_S = 1.0


class Proxy:
    """`with Proxy(host, port) as proxy:` listens on `proxy.port` of this machine."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._order: tuple[bytes, Cut] | None = None
        self._lock = threading.Lock()
        self._open: list[socket.socket] = [self._listening]
        self.cuts = 0

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for each in self._open:
            close(each)

    @property
    def port(self) -> int:
        return int(self._listening.getsockname()[1])

    def cut(self, word: bytes, how: Cut) -> None:
        """The next message with this word in it, on whichever connection."""
        self._order = (word, how)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.create_connection(self._target)
                self._open += [client, server]
                threading.Thread(target=self._pass, args=(client, server), name="proxy wire", daemon=True).start()

    def _pass(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError), selectors.DefaultSelector() as selector:
            selector.register(client, selectors.EVENT_READ, server)
            selector.register(server, selectors.EVENT_READ, client)
            while True:
                for key, _ in selector.select():
                    source, sink = key.fileobj, key.data
                    assert isinstance(source, socket.socket)
                    data = source.recv(65_536)
                    how = self._ordered(data) if source is client else None
                    if how is not None:
                        self._do(how, data, client, server)
                        return
                    if not data:
                        close(client, server)
                        return
                    sink.sendall(data)

    def _ordered(self, data: bytes) -> Cut | None:
        with self._lock:
            if self._order is None or self._order[0] not in data:
                return None
            how, self._order = self._order[1], None
            self.cuts += 1
            return how

    def _do(self, how: Cut, data: bytes, client: socket.socket, server: socket.socket) -> None:
        if how == "silent":
            return  # both ends stay open, and nobody listens
        if how == "before":
            close(client, server)
        elif how == "after":
            server.sendall(data)
            server.recv(65_536)
            close(client, server)
        else:
            close(client)
            time.sleep(DELAY_S)
            server.sendall(data)
            server.recv(65_536)
            close(server)


def close(*sockets: socket.socket) -> None:
    for each in sockets:
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
        each.close()
