"""The composition root: the one place that knows every part and joins them. Everything else is handed what it needs."""

import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import time

from api.settings import Environment
from domain.books import Result
from domain.events import ChargeExtended, ChargeHeld, ChargeReleased, ChargeSettled
from ledger.epochs import Epoch, end_dead_holds
from ledger.sqlite import SqliteStore
from ledger.vault import Vault, open_vault
from ledger.writer import Writer
from projections.directory import Directory
from projections.readmodel import ReadModel
from relay.desk import Bounds, Desk
from relay.lean_pool import LeanUpstream
from relay.limits import Limits
from relay.router import Router
from relay.tokens import Counter
from relay.upstream import Upstream

log = logging.getLogger("veloera")

MIB = 1024 * 1024
OF_A_CALL = (ChargeHeld, ChargeExtended, ChargeSettled, ChargeReleased)


@dataclass(frozen=True, slots=True)
class Books:
    """A ledger that is open for reading and writing: what the API, the CLI and the relay share."""

    folder: Path
    store: SqliteStore
    vault: Vault
    writer: Writer
    read: ReadModel
    directory: Directory
    """Not started: whoever needs it in memory calls `start`, the CLI does not."""

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


def open_books(environment: Environment) -> Books:
    """Open the ledger in DATA_DIR, creating it when it is not there. Raises StoreRefused."""
    folder = environment.data_dir.resolve()
    store = SqliteStore(folder, synchronous="FULL" if environment.ledger_durability == "full" else "NORMAL")
    vault = open_vault(store, folder, environment.crypto_secret)
    directory = Directory(store, vault)

    def committed(results: Sequence[Result]) -> None:
        if any(result.fact is not None and not isinstance(result.fact, OF_A_CALL) for result in results):
            directory.hint()

    writer = Writer(store, on_commit=committed)
    return Books(folder, store, vault, writer, ReadModel(folder, store, vault), directory)


def start_services(environment: Environment) -> Services:
    """Open everything for serving, and end the holds that dead processes left. Blocks; call it off the event loop's work."""
    books = open_books(environment)
    books.directory.start()
    epoch = Epoch(books.folder, environment.node_name)
    ended = end_dead_holds(books.store, books.writer, epoch)
    epoch.forget_the_dead()
    if ended:
        log.warning("holds_of_dead_processes_ended count=%d", ended)
    desk = Desk(
        directory=books.directory,
        vault=books.vault,
        ledger=books.writer,
        upstream=upstream_of(environment),
        router=Router(random.Random()),
        limits=Limits(),
        counter=Counter(),
        node=environment.node_name,
        epoch=epoch.name,
        bounds=bounds_of(environment),
    )
    return Services(environment, books, books.directory, desk, epoch, time())


def stop_services(services: Services) -> None:
    """Close in the order of need: nothing is submitted any more when the writer closes."""
    services.desk.counter.close()
    services.books.close()
    services.epoch.close()


def upstream_of(environment: Environment) -> Upstream:
    if environment.upstream_pool == "lean":
        return LeanUpstream(connections=environment.upstream_connections)
    from relay.aiohttp_pool import AiohttpUpstream  # 8 MB that the lean pool does not need

    return AiohttpUpstream(connections=environment.upstream_connections)


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
