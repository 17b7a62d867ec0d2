"""The composition root: the one place that knows every part and joins them. Everything else is handed what it needs."""

import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import time
from typing import TYPE_CHECKING

from api.settings import Environment
from domain.books import Result
from domain.events import ChargeExtended, ChargeHeld, ChargeReleased, ChargeSettled
from ledger.epochs import Epoch, end_dead_holds
from ledger.place import open_store
from ledger.spool import Spool, SpooledLedger, open_spool, spool_of
from ledger.store import LedgerStore
from ledger.vault import Vault, open_vault
from ledger.writer import Writer
from projections.checking import Checker
from projections.directory import Directory
from projections.places import read_place
from projections.readmodel import ReadModel
from relay.desk import Bounds, Desk
from relay.lean_pool import LeanUpstream
from relay.limits import Limits
from relay.reach import Reach, anywhere, public
from relay.router import Router
from relay.shared import Shared
from relay.tokens import Counter
from relay.upstream import Upstream

if TYPE_CHECKING:
    from ledger.postgres_wakeups import Wakeups

log = logging.getLogger("veloera")

MIB = 1024 * 1024
SPOOL_AT_START_S = 5.0
"""How long a start waits for what an earlier process left in the spool."""
OF_A_CALL = (ChargeHeld, ChargeExtended, ChargeSettled, ChargeReleased)


@dataclass(frozen=True, slots=True)
class Books:
    """A ledger that is open for reading and writing: what the API, the CLI and the relay share."""

    folder: Path
    store: LedgerStore
    vault: Vault
    writer: Writer
    read: ReadModel
    directory: Directory
    """Not started: whoever needs it in memory calls `start`, the CLI does not."""
    on_change: list[Callable[[], None]]
    """Called by the writer's thread after a commit of anything but calls."""

    def close(self) -> None:
        self.directory.stop()
        self.writer.close()
        self.read.close()
        self.store.close()


@dataclass(frozen=True, slots=True)
class Services:
    """Everything of one serving process."""

    environment: Environment
    books: Books
    directory: Directory
    desk: Desk
    epoch: Epoch
    started_at_s: float
    shared: Shared
    """Not started: that takes the loop that serves."""
    checker: Checker
    slot: int
    """Which of the machine's workers this is, from 0."""
    wakeups: "Wakeups | None"
    """On PostgreSQL: hints of commits elsewhere, by LISTEN and NOTIFY."""


def open_books(environment: Environment) -> Books:
    """Open the ledger in DATA_DIR or on SQL_DSN, creating it when it is not there. Raises StoreRefused, LedgerUnavailable."""
    folder = environment.data_dir.resolve()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    store = open_store(folder, environment.sql_dsn, durability=environment.ledger_durability)
    vault = open_vault(store, folder, environment.crypto_secret)
    directory = Directory(store, vault)
    on_change: list[Callable[[], None]] = [directory.hint]

    def committed(results: Sequence[Result]) -> None:
        if any(result.fact is not None and not isinstance(result.fact, OF_A_CALL) for result in results):
            for tell in on_change:
                tell()

    writer = Writer(store, on_commit=committed)
    return Books(
        folder,
        store,
        vault,
        writer,
        ReadModel(read_place(folder, environment.sql_dsn), store, vault),
        directory,
        on_change,
    )


def start_services(environment: Environment, slot: int = 0) -> Services:
    """Open everything for serving, and end the holds that dead processes left. Blocks; call it off the event loop's work."""
    books = open_books(environment)
    books.directory.start(books.read.entities)
    epoch = Epoch(books.folder, environment.node_name, alone=not environment.sql_dsn)
    # First what is known to have been used, then what is not: a settlement that waits is worth more than an expiry.
    spool = spool_for(environment, books, epoch)
    ended = end_dead_holds(books.store, books.writer, epoch)
    epoch.forget_the_dead()
    if ended:
        log.warning("holds_of_dead_processes_ended count=%d", ended)
    shared = shared_of(environment, books)
    wakeups = wakeups_for(environment, books)
    desk = Desk(
        directory=books.directory,
        vault=books.vault,
        ledger=books.writer if spool is None else SpooledLedger(books.writer, spool),
        upstream=upstream_of(environment),
        router=Router(random.Random()),
        limits=Limits(shared.windows),
        counter=Counter(),
        node=environment.node_name,
        epoch=epoch.name,
        bounds=bounds_of(environment),
    )
    return Services(
        environment,
        books,
        books.directory,
        desk,
        epoch,
        time(),
        shared,
        Checker(books.store, books.read),
        slot,
        wakeups,
    )


def stop_services(services: Services) -> None:
    """Close in the order of need: nothing is submitted any more when the writer closes."""
    services.desk.counter.close()
    spool = spool_of(services.desk.ledger)
    if spool is not None:
        spool.close()
    services.books.close()
    if services.wakeups is not None:
        services.wakeups.stop()  # after the writer, which tells it of its last commits
    services.epoch.close()


def spool_for(environment: Environment, books: Books, epoch: Epoch) -> Spool | None:
    """Where ends of calls wait while the server is away; None for the embedded store, which is on the same disk."""
    if not environment.sql_dsn:
        return None
    spool = open_spool(
        books.folder / "spool",
        books.writer,
        name=epoch.name,
        limit_bytes=int(environment.spool_limit_mb * MIB),
    )
    if not spool.await_drained(SPOOL_AT_START_S):
        log.warning("spool_not_drained waiting=%d", spool.waiting)
    return spool


def wakeups_for(environment: Environment, books: Books) -> "Wakeups | None":
    """Hints both ways between processes that share a server; None for the embedded store, whose file tells by itself."""
    if not environment.sql_dsn:
        return None
    from ledger.postgres_wakeups import Wakeups  # with psycopg, which the embedded store does not need

    wakeups = Wakeups(environment.sql_dsn, books.directory.hint)
    wakeups.start()
    books.on_change.append(wakeups.committed)
    return wakeups


def shared_of(environment: Environment, books: Books) -> Shared:
    """What this process shares with others, and hints both ways: its commits to them, theirs to its directory."""
    shared = Shared(
        environment.redis_conn_string,
        digest=books.vault.digest,
        workers=environment.workers,
        timeout_s=environment.redis_timeout_ms / 1000,
        retry_s=environment.redis_retry_ms / 1000,
    )
    shared.wakeups.when_heard(books.directory.hint)
    books.on_change.append(shared.wakeups.committed)
    return shared


def upstream_of(environment: Environment) -> Upstream:
    reach = Reach(
        connections=environment.upstream_connections,
        per_origin=environment.upstream_connections_per_origin,
        max_waiting=environment.upstream_waiting,
        idle_s=environment.upstream_idle_s,
        extra_roots=environment.upstream_ca_file,
        permit=public if environment.upstream_addresses == "public" else anywhere,
    )
    if environment.upstream_pool == "lean":
        return LeanUpstream(reach)
    from relay.aiohttp_pool import AiohttpUpstream  # 8 MB that the lean pool does not need

    return AiohttpUpstream(reach)


def bounds_of(environment: Environment) -> Bounds:
    return Bounds(
        hold_output_tokens=environment.hold_output_tokens,
        hold_grace_s=environment.hold_grace_s,
        connect_timeout_s=environment.connect_timeout_s,
        first_byte_timeout_s=environment.first_byte_timeout_s,
        idle_timeout_s=environment.streaming_timeout,
        total_timeout_s=environment.call_timeout_s,
        tail_wait_s=environment.tail_wait_s,
        answer_bytes=int(environment.max_answer_mb * MIB),
        event_bytes=environment.max_event_kb * 1024,
        force_stream_option=environment.force_stream_option,
        sandbox_tokens_per_s=environment.sandbox_tokens_per_s,
    )
