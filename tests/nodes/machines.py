"""Machines: gateways with a folder and a name of their own, on one PostgreSQL, with one Redis or none. And who leads them."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path
from typing import NamedTuple, Self

import aiohttp
import httpx

from ledger.postgres_schema import lock_key
from projections.places import SCHEMA as READ_SCHEMA
from projections.postgres_db import AdvisoryLock
from tests.harness.gateway import Customer, Gateway, chat_body
from tests.harness.mortal import children_of, is_there
from tests.harness.postgres import Server
from tests.harness.waiting import eventually

SCHEMA = "veloera"
SECRETS = {
    "CRYPTO_SECRET": "the same on every machine, 32 bytes or more",
    "SEAL_KEY": "c2l4IHRpbWVzIHNpeCBieXRlcyBvZiBrZXkgaGVyZSE=",
}
AT_ONCE = 16


class House(NamedTuple):
    """What machines share: a database on a server, and whatever else all of them are told."""

    server: Server
    database: str
    env: Mapping[str, str]

    def dsn(self, name: str) -> str:
        """As a machine of this name connects: the server knows its sessions by it."""
        where = f"host={self.server.folder}&port={self.server.port}"
        return f"postgresql://postgres@/{self.database}?{where}&application_name={name}"

    def leader(self) -> str:
        """The name of the machine whose session has the lead in the jobs; "" while none has."""
        found = self._holders(lock_key(SCHEMA, "lead:leader"))
        return str(found[0][1]) if found else ""

    def folding(self) -> int:
        """Which session of the server folds the read models; 0 while none does."""
        found = self._holders(AdvisoryLock(READ_SCHEMA, "seat").key)
        return int(str(found[0][0])) if found else 0

    def ask(self, sql: str) -> list[tuple[object, ...]]:
        return self.server.ask(sql, database=self.database)

    def _holders(self, key: int) -> list[tuple[object, ...]]:
        return self.ask(
            f"""SELECT pid, application_name FROM pg_locks JOIN pg_stat_activity USING (pid)
                WHERE locktype = 'advisory' AND granted AND (classid::bigint << 32) | objid::bigint = {key}
                AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""
        )


class Machine(Gateway):
    """A gateway on a machine of its own. The first one of a house makes it; those that name a `first` join it."""

    def __init__(self, folder: Path, name: str, house: House, *, first: Gateway | None = None, **env: str) -> None:
        own = {"NODE_NAME": name, "SQL_DSN": house.dsn(name)}
        super().__init__(folder / name, {**SECRETS, **house.env, **own, **env})
        self.name_of_machine = name
        self._first = first

    def __enter__(self) -> Self:
        if self._first is None:
            return super().__enter__()
        self.root_name, self.root_password = self._first.root_name, self._first.root_password
        self.root_key, self.sandbox_model = self._first.root_key, self._first.sandbox_model
        try:
            self.process.start()
            self.login()
        except BaseException:
            self.process.kill()
            raise
        return self

    def also(self, customer: Customer) -> Customer:
        """The same customer, who calls here."""
        http = httpx.Client(base_url=self.url, headers=customer.http.headers, timeout=30.0)
        here = replace(customer, http=http, base_url=self.url)
        self._customers.append(here)
        self.wait_known(customer.key)
        return here

    def children(self, command: str) -> list[int]:
        """The pids of its processes of a kind: `projector`, `worker`."""
        return children_named(self.process.pid, command)

    def comes_back(self) -> None:
        """Serve again, where it does not."""
        if not self.process.is_running():
            self.process.start()
            self.login()


class Call(NamedTuple):
    """How a call ended: its status, 0 where the connection broke; its request id; and whether it came to its end."""

    status: int
    request_id: str
    is_whole: bool


async def calls_of(customers: Sequence[Customer], model: str, count: int, **fields: object) -> list[Call]:
    """Make so many calls, each on a connection of its own, in turn on each customer's machine, some at once."""
    connector = aiohttp.TCPConnector(limit=AT_ONCE, force_close=True)
    async with aiohttp.ClientSession(connector=connector) as session:
        turns = [customers[number % len(customers)] for number in range(count)]
        return await asyncio.gather(*(one_call(session, customer, model, **fields) for customer in turns))


async def one_call(session: aiohttp.ClientSession, customer: Customer, model: str, **fields: object) -> Call:
    bearer = {"Authorization": f"Bearer {customer.key}"}
    url = f"{customer.base_url}/v1/chat/completions"
    status, request_id, body = 0, "", b""
    try:
        async with session.post(url, json={**chat_body(model), **fields}, headers=bearer) as response:
            status, request_id = response.status, response.headers["x-request-id"]
            async for piece in response.content.iter_any():
                body += piece
    except aiohttp.ClientError:
        return Call(status, request_id, False)
    return Call(status, request_id, not fields.get("stream") or body.rstrip().endswith(b"data: [DONE]"))


def children_named(parent: int, command: str) -> list[int]:
    """Children of a process, whichever of its threads started them, by a word of their command line."""
    threads = Path(f"/proc/{parent}/task").glob("*/children")
    pids = [int(pid) for path in threads for pid in path.read_text().split()]
    return sorted(pid for pid in pids if is_there(pid) and command.encode() in _words(pid))


def _words(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return []


@contextmanager
def paused(server: Server) -> Generator[None]:
    """No process of a server runs: what it was told stays unanswered, and connections to it are neither made nor broken."""
    pids = [server.pid, *children_of(server.pid)]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def asked(machine: Gateway, path: str, timeout_s: float = 10) -> tuple[int, bytes]:
    """(status, body). Cheaper than httpx, which reads the machine's certificates for each client."""
    with closing(HTTPConnection("127.0.0.1", machine.process.port, timeout=timeout_s)) as http:
        http.request("GET", path)
        answer = http.getresponse()
        return answer.status, answer.read()


def is_ready(machine: Gateway) -> bool:
    return asked(machine, "/readyz")[0] == 200


def leads(house: House, name: str, within_s: float = 10.0) -> None:
    """Return once a machine of this name leads."""
    eventually(house.leader, lambda leader: leader == name, within_s=within_s)
