"""How a command gets at the ledger: the environment is read once, and a store that is not there is not made by looking for it.

A command may run beside a serving gateway: SQLite takes turns among local processes, PostgreSQL among all.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from cli.failures import Failure, Misused, NotFound, Refused
from cli.output import warn

if TYPE_CHECKING:
    from api.compose import Books
    from api.settings import Environment
    from domain.books import Result
    from domain.commands import Command
    from ledger.store import LedgerStore

CATCH_UP_S = 60.0
TRIES = 5


def environment(**chosen: Any) -> Environment:
    """The settings of this process: options of the command line first, then the environment, then defaults."""
    from api.settings import Environment

    given = {"data_dir": click.get_current_context().find_root().obj, **chosen}
    try:
        return Environment(**{name: value for name, value in given.items() if value is not None})
    except ValueError as error:
        raise _wrong_setting(error) from None


def _wrong_setting(error: ValueError) -> Failure:
    """The first fault of a validation, in a sentence."""
    faults: list[dict[str, Any]] = getattr(error, "errors", list)()
    if not faults:
        return Misused(str(error))
    first = faults[0]
    name = ".".join(str(part) for part in first["loc"]).upper()
    return Misused(f"{name}: {str(first['msg']).removeprefix('Value error, ')}")


@contextmanager
def opened(*, may_create: bool = False) -> Generator[Books]:
    """The ledger with all its parts, for commands that write or list."""
    from api.compose import open_books

    settings = environment()
    if not may_create:
        _must_exist(settings)
    books = open_books(settings)
    try:
        yield books
    finally:
        books.close()


@contextmanager
def opened_store() -> Generator[LedgerStore]:
    """The event store alone, for what trusts nothing else."""
    from ledger.place import open_store

    settings = environment()
    _must_exist(settings)
    store = open_store(settings.data_dir.resolve(), settings.sql_dsn)
    try:
        yield store
    finally:
        store.close()


def _must_exist(settings: Environment) -> None:
    if not settings.sql_dsn and not (settings.data_dir / "ledger.db").is_file():
        raise NotFound(
            f"there is no ledger in {settings.data_dir}; make one with `veloera init`, or name another folder with --data-dir"
        )


def caught_up(books: Books) -> None:
    """Wait until lists know what the ledger knows now; says so where they do not yet."""
    now = books.read.await_head(CATCH_UP_S)
    if not now.is_current:
        warn(f"The lists are behind: they know facts up to position {now.position:,} of {now.head:,}.")


def carried_out(books: Books, make: Callable[[], Command]) -> Result:
    """Commit what `make` makes. Where somebody was faster it is made anew, from what is there then."""
    result = books.writer.submit_blocking(make())
    for _ in range(TRIES):
        if result.status != "conflict":
            break
        result = books.writer.submit_blocking(make())
    if result.status == "not_found":
        raise NotFound(result.why)
    if not result.ok:
        raise Refused(result.why or f"the ledger refused: {result.status}")
    return result
