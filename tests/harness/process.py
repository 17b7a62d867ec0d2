"""The real gateway as a subprocess: `veloera init`, `veloera serve` and `veloera ledger ...` on one data folder.

The process is started from a clean environment, so a variable of the machine that runs the tests never changes a test.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from pathlib import Path

COMMAND = Path(sys.executable).with_name("veloera")
READY_WITHIN_S = 60.0
STOP_WITHIN_S = 20.0
QUIET = {
    "GLOBAL_API_RATE_LIMIT_ENABLE": "false",
    "GLOBAL_WEB_RATE_LIMIT_ENABLE": "false",
    "CRITICAL_RATE_LIMIT_ENABLE": "false",
}
"""Limits by client address would count every test as one guest."""

ENGINES = ("HTTP1_ENGINE", "UPSTREAM_POOL")
"""The one thing that a run may choose: which HTTP carries its calls (`make test-stock`)."""

_PORTS = iter(range(20_000 + os.getpid() % 150 * 80, 32_768))


class NotReady(Exception):
    """The gateway did not say it was ready in time, or ended; the message carries the end of its log."""


class Process:
    """One gateway on one data folder and one port, which stay the same over restarts."""

    def __init__(self, data_dir: Path, env: Mapping[str, str] | None = None) -> None:
        self.data_dir = data_dir
        self.port = _free_port()
        self.log_path = data_dir.parent / f"{data_dir.name}.log"
        self._extra = dict(env or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._groups: list[int] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None, "start() comes first"
        return self._process.pid

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self, within_s: float = READY_WITHIN_S) -> None:
        """Start and wait until `/readyz` says yes.

        Raises:
            NotReady: it ended or was not ready in time; it is killed then.
        """
        assert not self.is_running(), "stop() or kill() comes first"
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [COMMAND, "serve"],
                env=self.env(),
                cwd=self.data_dir.parent,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._groups.append(self._process.pid)
        deadline = time.monotonic() + within_s
        while not self._answers_ready():
            if not self.is_running() or time.monotonic() > deadline:
                self.kill()
                raise NotReady(f"not ready within {within_s} s; the log ends:\n{self.log_tail()}")
            time.sleep(0.05)

    def terminate(self) -> None:
        """SIGTERM, and no waiting."""
        assert self._process is not None, "start() comes first"
        self._process.send_signal(signal.SIGTERM)

    def stop(self, within_s: float = STOP_WITHIN_S) -> int:
        """SIGTERM, wait for the end; its exit status. Raises as `wait`."""
        self.terminate()
        return self.wait(within_s)

    def wait(self, within_s: float = STOP_WITHIN_S) -> int:
        """Its exit status once it has ended.

        Raises:
            subprocess.TimeoutExpired: it was still there at the end of the time; it is killed then.
        """
        assert self._process is not None, "start() comes first"
        try:
            return self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def kill_alone(self) -> None:
        """SIGKILL to the serving process only, as an operator or a kernel short of memory does it; its children live."""
        assert self._process is not None, "start() comes first"
        self._process.kill()
        self._process.wait(5)

    def kill(self) -> None:
        """SIGKILL to everything that was ever started here, and wait until it is gone. Harmless when it is gone already."""
        while self._groups:
            with contextlib.suppress(ProcessLookupError):  # the whole group may be gone already
                os.killpg(self._groups.pop(), signal.SIGKILL)
        if self._process is not None:
            self._process.wait(5)

    def restart(self) -> None:
        """Stop in good order and start on the same folder and port."""
        self.stop()
        self.start()

    def run(self, *arguments: str, check: bool = True, within_s: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run `veloera` with these arguments on the same data folder.

        Raises:
            AssertionError: `check` and the exit status is not 0.
        """
        done = subprocess.run(
            [COMMAND, *arguments],
            env=self.env(),
            cwd=self.data_dir.parent,
            capture_output=True,
            text=True,
            timeout=within_s,
            check=False,
        )
        assert not check or done.returncode == 0, f"veloera {' '.join(arguments)} -> {done.returncode}: {done.stderr}"
        return done

    def ledger(self, command: str, *arguments: str) -> list[dict[str, object]]:
        """The lines of `veloera ledger COMMAND --json`, one object each."""
        return [
            json.loads(line) for line in self.run("ledger", command, *arguments, "--json").stdout.splitlines() if line
        ]

    def env(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR", *ENGINES) if name in os.environ}
        own = {"PORT": str(self.port), "HOST": "127.0.0.1", "DATA_DIR": str(self.data_dir), "PYTHONUNBUFFERED": "1"}
        return {**kept, **own, **QUIET, **self._extra}

    def log_tail(self, lines: int = 40) -> str:
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])

    def _answers_ready(self) -> bool:
        # Asked twenty times a second while it starts: httpx would read the machine's certificates each time.
        with contextlib.closing(HTTPConnection("127.0.0.1", self.port, timeout=1.0)) as http:
            try:
                http.request("GET", "/readyz")
                return http.getresponse().status == 200
            except (OSError, HTTPException):
                return False


def _free_port() -> int:
    """A port below the range that outgoing connections are given, so that it is still free after a restart.

    Every process of a test run begins at its own place: two of them never pick the same port at the same time.
    """
    for port in _PORTS:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError("no port is free between 20,000 and 32,000")
