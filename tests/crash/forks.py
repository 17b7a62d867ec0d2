"""A process that has imported everything and forks whoever is asked for: a round of kills then costs no imports.

Each fork is known by a handle of the kernel, not by a number that another process may have by then.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

ROOT = Path(__file__).resolve().parent.parent.parent


class Fork:
    """A process, with what it prints in `out`. Killed at the latest with `close`."""

    def __init__(self, handle: int, pid: int, out: BinaryIO) -> None:
        self.pid = pid
        self.out = out
        self._handle = handle

    def send_signal(self, number: signal.Signals) -> None:
        """Harmless when it is gone."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._handle, number)

    def ended(self, within_s: float) -> bool:
        return bool(select.select([self._handle], [], [], within_s)[0])

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)
        assert self.ended(10), "nothing outlives SIGKILL"

    def close(self) -> None:
        self.kill()
        self.out.close()
        os.close(self._handle)


class Forks:
    """`with Forks("tests.crash.worker") as forks:` and then `forks.start("tests.crash.worker", argument)`, which calls its `main`."""

    def __init__(self, *modules: str) -> None:
        self._modules = modules
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  (closed with this)
        self._wire, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._parent: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._parent = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.forks", str(self._theirs.fileno()), *self._modules],
            cwd=ROOT,
            pass_fds=(self._theirs.fileno(),),
            stderr=self._log,
        )
        self._theirs.close()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._wire.close()
        if self._parent is not None:
            self._parent.wait(10)
        self._log.close()

    def start(self, module: str, *arguments: str) -> Fork:
        reading, writing = os.pipe()
        try:
            socket.send_fds(self._wire, [json.dumps([module, *arguments]).encode()], [writing])
        finally:
            os.close(writing)
        pid, handles, *_ = socket.recv_fds(self._wire, 64, 1)
        assert handles, f"the process that forks ended: {self.errors()}"
        return Fork(handles[0], int(pid), os.fdopen(reading, "rb"))

    def errors(self) -> str:
        """What any of them wrote to its standard error."""
        self._log.seek(0)
        return self._log.read().decode()[-4_000:]


def serve(wire: socket.socket) -> None:
    """Fork for each request, until nobody is left to ask. The kernel reaps them."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        told, descriptors, *_ = socket.recv_fds(wire, 65_536, 1)
        if not told:
            return
        pid = os.fork()
        if pid == 0:
            wire.close()
            become(json.loads(told), descriptors[0])
        os.close(descriptors[0])
        handle = os.pidfd_open(pid)
        socket.send_fds(wire, [str(pid).encode()], [handle])
        os.close(handle)


def become(told: list[str], out: int) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.dup2(out, 1)
    os.close(out)
    module, *arguments = told
    status = 1
    try:
        importlib.import_module(module).main(*arguments)
        sys.stdout.flush()
        status = 0
    except Exception:  # noqa: BLE001  (a process that ends says why, as any other does)
        traceback.print_exc()
    finally:
        os._exit(status)  # not back into `serve`, which is the parent's


if __name__ == "__main__":
    for name in sys.argv[2:]:
        importlib.import_module(name)
    serve(socket.socket(fileno=int(sys.argv[1])))
