"""Where the ledger of some rounds is, on either store, told to other processes in one argument. Durability is the default: full."""

from __future__ import annotations

import atexit
import json
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import lru_cache
from itertools import count
from pathlib import Path
from time import time_ns
from typing import Literal, NamedTuple

from ledger.postgres import PostgresStore
from ledger.sqlite import SqliteStore
from tests.harness.mortal import MortalServer

Kind = Literal["sqlite", "postgres"]
KINDS: tuple[Kind, ...] = ("sqlite", "postgres")
Store = SqliteStore | PostgresStore
SCHEMAS = count(1)


class Where(NamedTuple):
    """A ledger, and the folder in which its processes show that they live."""

    folder: Path
    dsn: str = ""
    """Of a server; empty: the ledger is in the folder."""
    schema: str = "veloera"
    skew_ms: int = 0
    """How far the clock of who opens it is off."""

    def open(self) -> Store:
        clock = _skewed(self.skew_ms) if self.skew_ms else None
        if not self.dsn:
            return SqliteStore(self.folder, clock=clock)
        self.folder.mkdir(mode=0o700, exist_ok=True)
        return PostgresStore(self.dsn, schema=self.schema, clock=clock)

    def told(self) -> str:
        return json.dumps([str(self.folder), self.dsn, self.schema, self.skew_ms])


def where(told: str) -> Where:
    folder, dsn, schema, skew_ms = json.loads(told)
    return Where(Path(folder), dsn, schema, skew_ms)


class Ground(NamedTuple):
    """Makes one ledger after another: in folders, or in schemas of one server."""

    folder: Path
    server: MortalServer | None

    def ledger(self, name: str) -> Where:
        if self.server is None:
            return Where(self.folder / name)
        return Where(self.folder / name, self.server.dsn(), f"{name}_{next(SCHEMAS)}")


@contextmanager
def ground(kind: Kind, folder: Path) -> Generator[Ground]:
    if kind == "sqlite":
        yield Ground(folder, None)
        return
    yield Ground(folder, mortal_server())


@lru_cache
def mortal_server() -> MortalServer:
    """One for all rounds of a process, since it is there again after each of its deaths; gone at the end of the process."""
    server = MortalServer(tcp=True)
    atexit.register(server.remove)
    return server.__enter__()


def _skewed(skew_ms: int) -> Callable[[], int]:
    return lambda: time_ns() // 1_000_000 + skew_ms
