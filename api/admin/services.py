"""What the JSON API is handed by the composition root, by the names it uses."""

from typing import Annotated, Protocol, cast

from fastapi import Depends, Request

from api.admin.envelope import AsOf
from api.settings import Environment
from ledger.store import LedgerStore
from ledger.vault import Vault
from ledger.writer import Writer
from projections.directory import Directory
from projections.readmodel import ReadModel
from relay.shared import Shared


class OpenBooks(Protocol):
    """A ledger that is open for reading and writing."""

    @property
    def store(self) -> LedgerStore: ...

    @property
    def vault(self) -> Vault: ...

    @property
    def writer(self) -> Writer: ...

    @property
    def read(self) -> ReadModel: ...


class Services(Protocol):
    """The running gateway, as far as the JSON API knows it."""

    @property
    def environment(self) -> Environment: ...

    @property
    def books(self) -> OpenBooks: ...

    @property
    def directory(self) -> Directory: ...

    @property
    def started_at_s(self) -> float: ...

    @property
    def shared(self) -> Shared: ...


async def services(request: Request) -> Services:
    """The services of the application that a request came to."""
    return cast(Services, request.app.state.services)


Site = Annotated[Services, Depends(services)]


def caught_up(site: Services) -> AsOf | None:
    """Wait until the read model knows what was committed before; None when it does, else how far it is."""
    now = site.books.read.await_head()
    return None if now.is_current else AsOf(position=now.position, head=now.head, at_ms=now.at_ms)


def followed(site: Services, timeout_s: float = 2.0) -> bool:
    """Wait until the directory knows what was committed before, by other processes too; False when that took too long."""
    return site.directory.wait_for(site.books.store.head(), timeout_s)
