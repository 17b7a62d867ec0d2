"""`veloera serve`: prepare the store, bind, fold the read models in a process of their own, and serve until told to stop.

With one worker the parent carries the calls itself. With more it binds, and keeps that many alive that share its socket. The
projector is always a child; nothing but the age of the read models depends on it.
"""

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic

import uvloop
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.run import worker_serve  # pyright: ignore[reportUnknownVariableType]
from hypercorn.config import Config, Sockets

from api import http1
from api.app import create_app
from api.bootstrap import FirstLogin, bootstrap, print_first_login, write_first_login_file
from api.children import PROJECTOR_STOP_S, WORKER_STOP_GRACE_S, Child, projector_of, worker_of
from api.compose import Services, open_books, start_services
from api.heap import settle_heap
from api.settings import Environment
from api.stopping import told_to_stop

log = logging.getLogger("veloera")

FIRST_FOLD_S = 10.0
KEEP_ALIVE_S = 75
READY_S = 120.0
"""How long all workers together may take to serve for the first time, before it is said that they do not."""


def serve(environment: Environment) -> None:
    """Serve until SIGTERM or SIGINT. Raises StoreRefused, and OSError when the address is taken."""
    settle_heap()
    log_to_stderr(environment)
    config = server_config(environment)
    sockets = config.create_sockets()
    port = sockets.insecure_sockets[0].getsockname()[1]
    base_url = f"http://{_visible(environment.host)}:{port}"
    _prepare(environment, base_url)
    projector = Child("projector", lambda: projector_of(environment), stop_s=PROJECTOR_STOP_S)
    projector.start()
    try:
        if environment.workers == 1:
            _carry(environment, config, sockets, lambda: _announce(environment, base_url))
        else:
            _supervise(environment, sockets.insecure_sockets, lambda: _announce(environment, base_url))
    finally:
        projector.stop()


def serve_as_worker(environment: Environment, descriptors: Sequence[int], slot: int, ready: Callable[[], None]) -> None:
    """Carry calls over sockets that the parent has bound, until SIGTERM."""
    settle_heap()
    log_to_stderr(environment)
    config = server_config(environment)
    config.bind = [f"fd://{descriptor}" for descriptor in descriptors]
    _carry(environment, config, config.create_sockets(), ready, slot)


def log_to_stderr(environment: Environment) -> None:
    logging.basicConfig(level=environment.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("apscheduler").setLevel(logging.WARNING)  # it says every run of every job


def _carry(
    environment: Environment, config: Config, sockets: Sockets, ready: Callable[[], None], slot: int = 0
) -> None:
    services = start_services(environment, slot)
    app = create_app(services)
    ready()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(app, config, sockets, services, environment))


def _supervise(environment: Environment, sockets: Sequence[socket.socket], ready: Callable[[], None]) -> None:
    """Keep the workers alive until told to stop."""
    stop = told_to_stop()
    heard, said = os.pipe()
    os.set_blocking(heard, False)
    workers = [_worker(environment, sockets, slot, said) for slot in range(environment.workers)]
    for worker in workers:
        worker.start()
    try:
        if _all_serve(heard, environment.workers, stop):
            ready()
        stop.wait()
    finally:
        log.info("stopping workers=%d", len(workers))
        for worker in workers:
            worker.ask_to_stop()
        # While this process keeps them open, connections that nobody takes any more would be made.
        for one in sockets:
            one.close()
        for worker in workers:
            worker.stop()
        os.close(heard)
        os.close(said)


def _worker(environment: Environment, sockets: Sequence[socket.socket], slot: int, ready_fd: int) -> Child:
    return Child(
        f"worker-{slot}",
        lambda: worker_of(environment, sockets, slot, ready_fd),
        stop_s=environment.shutdown_timeout_s + WORKER_STOP_GRACE_S,
    )


def _all_serve(heard: int, workers: int, stop: threading.Event) -> bool:
    """Wait until every worker has said that it serves; False when told to stop before."""
    deadline, ready, warned = monotonic() + READY_S, 0, False
    while ready < workers and not stop.is_set():
        try:
            ready += len(os.read(heard, workers))
        except BlockingIOError:
            stop.wait(0.05)
        if not warned and monotonic() > deadline:
            log.error("workers_slow_to_serve ready=%d of=%d", ready, workers)
            warned = True
    return ready >= workers


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


def _prepare(environment: Environment, base_url: str) -> None:
    """Create what an empty store lacks: a root account, a key, a sandbox channel; and say their secrets."""
    books = open_books(environment)
    try:
        first = bootstrap(books, base_url)
        if first is not None:
            _say_first_login(first, books.folder)  # at once: whatever fails after this, nobody could find them out
        # Fold before the first answer: a login must not find a store without tables.
        books.read.await_head(FIRST_FOLD_S)
    finally:
        books.close()


def _say_first_login(first: FirstLogin, folder: Path) -> None:
    if sys.stdout.isatty():
        print_first_login(first, sys.stdout)
    else:
        print(f"The first login is in {write_first_login_file(first, folder)}", flush=True)


def _announce(environment: Environment, base_url: str) -> None:
    print(f"Veloera serves {base_url} (ledger: {_survives(environment)})", flush=True)


def _survives(environment: Environment) -> str:
    """What an acknowledged commit outlives, in words."""
    full = environment.ledger_durability == "full"
    if environment.sql_dsn:
        standby = "waits for its synchronous standby" if full else "does NOT wait for a standby"
        return f"on PostgreSQL, durable on the server, {standby}"
    return "survives power loss" if full else "survives kill -9, NOT power loss"


def _visible(host: str) -> str:
    return "127.0.0.1" if host in ("0.0.0.0", "") else "[::1]" if host == "::" else f"[{host}]" if ":" in host else host
