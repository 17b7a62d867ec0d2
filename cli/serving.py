"""`veloera serve` and `veloera init`: start the gateway, or make what an empty store lacks and start nothing."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import click

from cli.failures import Unavailable
from cli.opening import environment, opened
from cli.output import emit, example, json_option, say

PARENT_WATCH_S = 0.5
PROJECTOR_NICENESS = 10
"""Calls come first; lists may be a little older."""


@click.command(
    epilog=example(
        "veloera serve --port 3000",
        "HOST=0.0.0.0 DATA_DIR=/srv/veloera veloera serve --workers 4",
        "SQL_DSN=postgresql://veloera@db/veloera CRYPTO_SECRET=... REDIS_CONN_STRING=redis://cache veloera serve",
    )
)
@click.option("--host", help="Address to listen on. [env var: HOST; default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on. [env var: PORT; default: 3000]")
@click.option(
    "--workers", type=click.IntRange(1, 64), help="Processes that carry calls. [env var: WORKERS; default: 1]"
)
@click.option("--data-dir", type=click.Path(path_type=Path, file_okay=False), help="As before the command's name.")
def serve(host: str | None, port: int | None, workers: int | None, data_dir: Path | None) -> None:
    """Start the gateway and serve until SIGTERM.

    On an empty store it makes a root account, a key and a sandbox channel, and shows their secrets once: on the terminal, or
    without one in first-login.txt in the data folder. Every other setting is an environment variable.
    """
    from api.serve import serve as serve_until_told

    chosen = {"data_dir": data_dir} if data_dir is not None else {}
    settings = environment(host=host, port=port, workers=workers, **chosen)
    try:
        serve_until_told(settings)
    except OSError as error:
        if error.filename is not None:  # a file, not the address
            raise
        where = f"{settings.host}:{settings.port}"
        raise Unavailable(
            f"cannot serve on {where}: {error.strerror or error}; choose another with --host or --port"
        ) from error


@click.command(epilog=example("veloera init", "veloera init --json"))
@json_option
def init(*, as_json: bool) -> None:
    """Make the root account, a key and a sandbox channel in an empty store.

    Prints their secrets once: {"url", "root": {"username", "password"}, "api_key", "model"} with --json. Without --json and without
    a terminal they go to first-login.txt in the data folder. A store that has a root account is left as it is.
    """
    from api.bootstrap import bootstrap, print_first_login, write_first_login_file

    settings = environment()
    with opened(may_create=True) as books:
        first = bootstrap(books, base_url(settings.host, settings.port))
        folder = books.folder
    if first is None:
        said = f"The store in {folder} has a root account already; nothing was changed."
        emit({"changed": False, "message": said}) if as_json else say(said)
    elif as_json:
        say(first.as_json())
    elif sys.stdout.isatty():
        print_first_login(first, sys.stdout)
    else:
        say(f"The first login is in {write_first_login_file(first, folder)}; read it, then delete it.")


@click.command(hidden=True)
@click.option(
    "--parent", type=int, required=True, help="End with this process, which says on standard input what to fold."
)
def projector(parent: int) -> None:
    """Fold read models until SIGTERM. `veloera serve` starts this beside itself."""
    from api.stopping import told_to_stop
    from ledger.place import open_store
    from ledger.vault import open_vault
    from projections.places import read_place
    from projections.projector import run

    stop = told_to_stop()
    # Told, not read from the environment: reading that takes a library that would be half of this process's memory.
    told = json.loads(sys.stdin.readline() or "{}")
    threading.Thread(target=end_with, args=(parent, stop.set, stop), daemon=True, name="parent-watch").start()
    os.nice(PROJECTOR_NICENESS)
    folder, dsn = Path(told["folder"]), told["sql_dsn"]
    store = open_store(folder, dsn)
    try:
        run(read_place(folder, dsn), store, open_vault(store, folder, told["crypto_secret"]), stop)
    finally:
        store.close()


@click.command(hidden=True)
@click.option(
    "--parent", type=int, required=True, help="End with this process, which says on standard input what to serve."
)
def worker(parent: int) -> None:
    """Carry calls until SIGTERM. `veloera serve --workers` starts this."""
    from api.serve import serve_as_worker
    from api.settings import Environment

    told = json.loads(sys.stdin.readline())
    threading.Thread(target=end_with, args=(parent, _stop_politely), daemon=True, name="parent-watch").start()
    ready: int = told["ready"]
    serve_as_worker(Environment(**told["environment"]), told["sockets"], told["slot"], lambda: _say_ready(ready))


def _say_ready(descriptor: int) -> None:
    os.write(descriptor, b".")
    os.close(descriptor)


def _stop_politely() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def end_with(parent: int, end: Callable[[], None], ended: threading.Event | None = None) -> None:
    """A parent that was killed tells nobody: whoever has another one by now stops as well."""
    waiting = ended or threading.Event()
    while os.getppid() == parent and not waiting.wait(PARENT_WATCH_S):
        pass
    end()


def base_url(host: str, port: int) -> str:
    """Where a client on this machine reaches the gateway."""
    shown = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)  # shown, not bound
    return f"http://{f'[{shown}]' if ':' in shown else shown}:{port}"
