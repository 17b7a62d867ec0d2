"""The processes that `veloera serve` keeps alive: workers that carry calls, and the projector that folds.

Each is told on its standard input what it needs, since arguments and environments can be read by others; ends with its parent;
and is started again when it dies, a little later each time it dies young.
"""

import json
import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from time import monotonic

from api.settings import Environment

log = logging.getLogger("veloera")

RESTART_FIRST_S = 0.5
RESTART_MOST_S = 10.0
YOUNG_S = 30.0
"""Who lives longer than this starts anew at the first pause."""
PROJECTOR_STOP_S = 10
KILL_S = 5
WORKER_STOP_GRACE_S = 15
"""Beyond SHUTDOWN_TIMEOUT_S: for settling what was ended politely."""

Process = subprocess.Popen[bytes]


class Child:
    """One process of a kind, kept alive by a thread of the parent."""

    def __init__(self, name: str, spawn: Callable[[], Process], *, stop_s: float) -> None:
        self.name = name
        self.starts = 0
        self._spawn = spawn
        self._stop_s = stop_s
        self._stopping = threading.Event()
        self._asked_at = 0.0
        self._process: Process | None = None
        self._thread = threading.Thread(target=self._keep_alive, name=f"{name}-keeper", daemon=True)

    @property
    def pid(self) -> int:
        """Of the one that runs now; 0 while there is none."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else 0

    def start(self) -> None:
        self._thread.start()

    def ask_to_stop(self) -> None:
        if not self._stopping.is_set():
            self._asked_at = monotonic()
        self._stopping.set()
        process = self._process
        if process is not None and process.poll() is None:
            process.terminate()

    def stop(self) -> None:
        """Ask it to stop, unless it was asked, and wait for it. Killed when it does not within its time."""
        self.ask_to_stop()
        self._thread.join(max(0.0, self._asked_at + self._stop_s - monotonic()))
        process = self._process
        if self._thread.is_alive() and process is not None:
            log.error("child_killed name=%s after_s=%.0f", self.name, self._stop_s)
            process.kill()
            self._thread.join(KILL_S)

    def _keep_alive(self) -> None:
        pause_s = RESTART_FIRST_S
        while not self._stopping.is_set():
            began = monotonic()
            self.starts += 1
            ended = self._lived()
            if self._stopping.is_set():
                return
            lived_s = monotonic() - began
            pause_s = RESTART_FIRST_S if lived_s > YOUNG_S else min(2 * pause_s, RESTART_MOST_S)
            log.error("child_ended name=%s code=%s after_s=%.1f again_in_s=%.1f", self.name, ended, lived_s, pause_s)
            self._stopping.wait(pause_s)

    def _lived(self) -> str:
        """Start it and wait for its end; how it ended, or why it could not begin."""
        try:
            process = self._process = self._spawn()
        except (OSError, ValueError) as error:  # no memory, no process, no descriptor to be had: that passes
            return repr(error)
        if self._stopping.is_set():  # asked to stop while it was being started
            process.terminate()
        return str(process.wait())


def projector_of(environment: Environment) -> Process:
    """Start the process that folds read models."""
    told = {
        "folder": str(environment.data_dir.resolve()),
        "crypto_secret": environment.crypto_secret,
        "sql_dsn": environment.sql_dsn,
    }
    return spawned("projector", told)


def worker_of(environment: Environment, sockets: Sequence[socket.socket], slot: int, ready_fd: int) -> Process:
    """Start a process that carries calls over sockets that this one has bound. It writes a byte to `ready_fd` once it serves."""
    descriptors = [one.fileno() for one in sockets]
    told = {
        "environment": environment.model_dump(mode="json"),
        "sockets": descriptors,
        "slot": slot,
        "ready": ready_fd,
    }
    return spawned("worker", told, keep=(*descriptors, ready_fd))


def spawned(command: str, told: Mapping[str, object], keep: Sequence[int] = ()) -> Process:
    """`-P`: a folder named like one of our packages must not come first on the path."""
    arguments = [sys.executable, "-P", "-m", "cli", command, "--parent", str(os.getpid())]
    child = subprocess.Popen(arguments, stdin=subprocess.PIPE, pass_fds=tuple(keep))
    assert child.stdin is not None, "it was asked for"
    try:
        child.stdin.write(json.dumps(told).encode() + b"\n")
        child.stdin.close()
    except BrokenPipeError:
        log.warning("child_ended_before_it_was_told name=%s", command)
    return child
