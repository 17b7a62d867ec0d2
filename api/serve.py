"""`veloera serve`: prepare the store, bind, fold the read models in a process of their own, and serve until told to stop.

The parent is the worker: one process carries calls. The projector is a child that does nothing but fold; when it dies it is started
again, and nothing but the age of the read models depends on it.
"""

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from time import monotonic

import uvloop
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.run import worker_serve  # pyright: ignore[reportUnknownVariableType]
from hypercorn.config import Config, Sockets

from api import http1
from api.app import create_app
from api.bootstrap import FirstLogin, bootstrap, print_first_login, write_first_login_file
from api.compose import Services, open_books, start_services
from api.settings import Environment

log = logging.getLogger("veloera")

PROJECTOR_RESTART_S = 0.5
PROJECTOR_STOP_S = 10
FIRST_FOLD_S = 10.0
KEEP_ALIVE_S = 75


def serve(environment: Environment) -> None:
    """Serve until SIGTERM or SIGINT. Raises StoreRefused, and OSError when the address is taken."""
    logging.basicConfig(level=environment.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s")
    config = server_config(environment)
    sockets = config.create_sockets()
    port = sockets.insecure_sockets[0].getsockname()[1]
    base_url = f"http://{_visible(environment.host)}:{port}"
    first = _prepare(environment, base_url)
    projector = Projector(environment)
    projector.start()
    try:
        services = start_services(environment)
        app = create_app(services)
        _announce(environment, base_url, first)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_run(app, config, sockets, services, environment))
    finally:
        projector.stop()


def server_config(environment: Environment) -> Config:
    """hypercorn's settings. TLS, HTTP/2 and sockets stay hypercorn's."""
    config = Config()
    config.bind = [f"{environment.host}:{environment.port}"]
    config.backlog = 2048
    config.keep_alive_timeout = KEEP_ALIVE_S
    config.keep_alive_max_requests = 1_000_000_000
    config.graceful_timeout = environment.shutdown_timeout_s + 10
    config.include_server_header = False
    config.loglevel = "WARNING"
    config.accesslog = None
    config.errorlog = "-"
    return config


async def _run(app: object, config: Config, sockets: Sockets, services: Services, environment: Environment) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    async def told_to_stop() -> None:
        await stop.wait()
        log.info("stopping open_calls=%d", len(services.desk.open_calls))
        # What still streams when the time is over is ended politely and settled.
        loop.call_later(environment.shutdown_timeout_s, services.desk.interrupt_all, "shutdown")

    if environment.http1_engine == "fast":
        http1.install(http1.Limits(keep_alive_s=KEEP_ALIVE_S))
    await worker_serve(ASGIWrapper(app), config, sockets=sockets, shutdown_trigger=told_to_stop)  # type: ignore[arg-type]


def _prepare(environment: Environment, base_url: str) -> FirstLogin | None:
    """Create what an empty store lacks: a root account, a key, a sandbox channel. None when they are there."""
    books = open_books(environment)
    try:
        first = bootstrap(books, base_url)
        # Fold before the first answer: a login must not find a store without tables.
        books.read.await_head(FIRST_FOLD_S)
        return first
    finally:
        books.close()


def _announce(environment: Environment, base_url: str, first: FirstLogin | None) -> None:
    if first is not None and sys.stdout.isatty():
        print_first_login(first, sys.stdout)
    elif first is not None:
        path = write_first_login_file(first, environment.data_dir.resolve())
        print(f"The first login is in {path}", flush=True)
    durability = (
        "survives power loss" if environment.ledger_durability == "full" else "survives kill -9, NOT power loss"
    )
    print(f"Veloera serves {base_url} (ledger: {durability})", flush=True)


def _visible(host: str) -> str:
    return "127.0.0.1" if host in ("0.0.0.0", "") else "[::1]" if host == "::" else f"[{host}]" if ":" in host else host


class Projector:
    """The folding child, kept alive by a thread of the parent."""

    def __init__(self, environment: Environment, spawn: Callable[[], "subprocess.Popen[bytes]"] | None = None) -> None:
        self._spawn = spawn or (lambda: projector_of(environment))
        self._stopping = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._keep_alive, name="projector-keeper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ask it to stop; it folds to the head first. Killed when it does not within its time."""
        self._stopping.set()
        process = self._process
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                process.wait(PROJECTOR_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
        self._thread.join(PROJECTOR_STOP_S)

    def _keep_alive(self) -> None:
        while not self._stopping.is_set():
            began = monotonic()
            self._process = self._spawn()
            code = self._process.wait()
            if self._stopping.is_set():
                return
            log.error("projector_ended code=%s after_s=%.1f", code, monotonic() - began)
            self._stopping.wait(PROJECTOR_RESTART_S)


def projector_of(environment: Environment) -> "subprocess.Popen[bytes]":
    """Start the child. `-P`: a folder named like one of our packages must not come first on the path. It is told on its standard
    input what to fold: arguments can be read by every process of the machine.
    """
    command = [sys.executable, "-P", "-m", "cli", "projector", "--parent", str(os.getpid())]
    child = subprocess.Popen(command, stdin=subprocess.PIPE)
    assert child.stdin is not None, "it was asked for"
    told = {"folder": str(environment.data_dir.resolve()), "crypto_secret": environment.crypto_secret}
    child.stdin.write(json.dumps(told).encode() + b"\n")
    child.stdin.close()
    return child
