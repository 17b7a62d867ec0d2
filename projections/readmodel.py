"""What the API and the CLI ask: reads that bypass the domain, over read models that are a moment behind the ledger.

`await_head` says how far behind; every other method answers from one moment of one read model, whatever is folded meanwhile.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Concatenate, NamedTuple, ParamSpec, TypeVar

from ledger.explain import stream_of
from ledger.store import LedgerStore
from ledger.vault import Vault
from projections import (
    as_of,
    audit,
    channels,
    codes,
    entities,
    invites,
    keys,
    options,
    payments,
    people,
    rollups,
    statements,
    usage_queries,
)
from projections.as_of import Checkpoint, Group, Standing
from projections.audit import AuditRow
from projections.catalogue import projections
from projections.channels import ChannelRow
from projections.codes import CodeRow
from projections.database import Reader, Row, positions_in
from projections.errors import FoldStopped, ReadModelUnavailable
from projections.invites import InviteRow
from projections.keys import KeyRow
from projections.options import OptionRow
from projections.paging import Page
from projections.payments import PaymentRow
from projections.people import UserRow
from projections.places import ReadPlace, database_at
from projections.rollups import HourRow
from projections.runner import Runner
from projections.statements import StatementRow
from projections.usage_queries import LogFilter, LogRow, LogStat

__all__ = [
    "AsOf",
    "AuditRow",
    "ChannelRow",
    "CodeRow",
    "HourRow",
    "InviteRow",
    "KeyRow",
    "LogFilter",
    "LogRow",
    "LogStat",
    "OptionRow",
    "Page",
    "PaymentRow",
    "ReadModel",
    "StatementRow",
    "UserRow",
]

AWAIT_PERIOD_S = 0.01

log = logging.getLogger("veloera.projections")

Asked = ParamSpec("Asked")
Answer = TypeVar("Answer")


class AsOf(NamedTuple):
    """How current an answer is: facts up to `position` are in it; `head` was the newest one when it was asked."""

    position: int
    head: int
    at_ms: int
    """When this was found, ms since the epoch."""
    is_current: bool


class ReadModel:
    """Questions to the read models. Methods block and may be called by any thread; they raise ReadModelUnavailable."""

    def __init__(self, place: ReadPlace, store: LedgerStore, vault: Vault) -> None:
        self.place = place
        self._store = store
        self._vault = vault
        self._names = [projection.name for projection in projections(vault)]
        self._database = database_at(place)

    def close(self) -> None:
        self._database.close()

    def await_head(self, timeout_s: float = 2.0) -> AsOf:
        """Wait until what the ledger holds now is folded; fold it here when nobody else does. At most `timeout_s`.

        Where a fact stops all folding the answer is as old as that fact: it says so, and so does the log.
        """
        head = self._store.head()
        deadline = time.monotonic() + timeout_s
        while True:
            found = _as_of(self._position(), head)
            left_s = deadline - time.monotonic()
            if found.is_current or left_s <= 0:
                return found
            try:
                folded = self._fold(head, left_s)
            except FoldStopped as error:
                log.error("folding stopped", extra={"position": error.position, "error": str(error)})
                return _as_of(self._position(), head)
            if not folded:
                time.sleep(min(AWAIT_PERIOD_S, left_s))

    def positions(self) -> dict[str, int]:
        """How far each read model has come, by name; empty before the first fold."""
        return self._ask(positions_in) if self._database.exists() else {}

    def lag(self) -> int:
        """Positions between the ledger's head and the read model that is furthest behind."""
        return max(0, self._store.head() - self._position())

    def entities(self, take: Callable[[int, Iterator[list[Row]]], None]) -> None:
        """Hand over users, keys, channels and settings with the position that they are known at: see `Directory.load`."""
        self._ask(entities.load, take)

    def user(self, user_id: int) -> UserRow | None:
        return self._ask(people.user, user_id)

    def user_by_id_with_deleted(self, user_id: int) -> UserRow | None:
        return self._ask(people.user, user_id, with_deleted=True)

    def page_users(self, *, page: int, size: int, keyword: str = "", group: str = "") -> Page[UserRow]:
        return self._ask(people.page_users, page=page, size=size, keyword=keyword, group=group)

    def key(self, key_id: int) -> KeyRow | None:
        return self._ask(keys.key, key_id)

    def page_keys(self, user_id: int, *, page0: int, size: int) -> list[KeyRow]:
        return self._ask(keys.page_keys, user_id, page0=page0, size=size)

    def search_keys(self, user_id: int, keyword: str, limit: int = 100) -> list[KeyRow]:
        return self._ask(keys.search_keys, user_id, keyword, limit)

    def count_keys(self, user_id: int) -> int:
        return self._ask(keys.count_keys, user_id)

    def channel(self, channel_id: int) -> ChannelRow | None:
        return self._ask(channels.channel, channel_id)

    def page_channels(
        self, *, page0: int, size: int, id_sort: bool = False, tag_mode: bool = False
    ) -> list[ChannelRow]:
        return self._ask(channels.page_channels, page0=page0, size=size, id_sort=id_sort, tag_mode=tag_mode)

    def search_channels(
        self, *, keyword: str = "", group: str = "", model: str = "", id_sort: bool = False, limit: int = 100
    ) -> list[ChannelRow]:
        return self._ask(
            channels.search_channels, keyword=keyword, group=group, model=model, id_sort=id_sort, limit=limit
        )

    def code(self, code_id: int) -> CodeRow | None:
        return self._ask(codes.code, code_id)

    def page_codes(self, *, page: int, size: int, keyword: str = "") -> Page[CodeRow]:
        return self._ask(codes.page_codes, page=page, size=size, keyword=keyword)

    def count_codes(self, name: str) -> int:
        return self._ask(codes.count_codes, name)

    def code_ids(self, *, name: str = "", status: int = 0, after: int = 0, limit: int = 1000) -> list[int]:
        return self._ask(codes.code_ids, name=name, status=status, after=after, limit=limit)

    def page_payments(self, *, page: int, size: int, user_id: int | None = None, status: str = "") -> Page[PaymentRow]:
        return self._ask(payments.page_payments, page=page, size=size, user_id=user_id, status=status)

    def invites_of(self, user_ids: Iterable[int]) -> dict[int, InviteRow]:
        return self._ask(invites.invites_of, user_ids)

    def options(self) -> list[OptionRow]:
        return self._ask(options.options)

    def page_logs(self, asked: LogFilter, *, page: int, size: int) -> Page[LogRow]:
        """Raises FilterRefused for a pattern that would cost too much."""
        found = self._positions_of(asked.request_id)
        return self._ask(usage_queries.page_logs, asked, page=page, size=size, positions=found)

    def log_stat(self, asked: LogFilter, now_ms: int) -> LogStat:
        """Raises FilterRefused, as `page_logs` does."""
        return self._ask(usage_queries.log_stat, asked, now_ms, positions=self._positions_of(asked.request_id))

    def statement(
        self, account: str, *, after_position: int = 0, limit: int = 1000, newest_first: bool = False
    ) -> list[StatementRow]:
        return self._ask(
            statements.statement, account, after_position=after_position, limit=limit, newest_first=newest_first
        )

    def hourly(self, *, start_s: int, end_s: int, user_id: int | None = None, limit: int = 1000) -> list[HourRow]:
        return self._ask(rollups.hourly, start_s=start_s, end_s=end_s, user_id=user_id, limit=limit)

    def position_at(self, at_ms: int) -> int:
        """The last position that was recorded at or before a moment; 0: nothing was."""
        return self._ask(as_of.position_at, at_ms)

    def standing(self, account: str, upto: int) -> Standing:
        """An account as it was at a position."""
        return self._ask(as_of.standing, account, upto)

    def groups(self, account: str, after: int, upto: int) -> list[Group]:
        """What moved an account after one position and up to another, by kind of fact."""
        return self._ask(as_of.groups, account, after, upto)

    def checkpoints(self, accounts: Iterable[str]) -> tuple[int, dict[str, Checkpoint]]:
        """(position, by account): sums and running balances, for the three-way check."""
        return self._ask(as_of.checkpoints, accounts)

    def page_audit(self, *, page: int, size: int, actor: int | None = None, topic_prefix: str = "") -> Page[AuditRow]:
        return self._ask(audit.page_audit, page=page, size=size, actor=actor, topic_prefix=topic_prefix)

    def _ask(
        self,
        question: Callable[Concatenate[Reader, Asked], Answer],
        *args: Asked.args,
        **kwargs: Asked.kwargs,
    ) -> Answer:
        if not self._database.exists():
            self._fold(0, 0)  # where nobody folds, the tables are made, empty
        with self._database.reading() as reader:
            return question(reader, *args, **kwargs)

    def _position(self) -> int:
        found = self.positions()
        return min(found.get(name, 0) for name in self._names)

    def _positions_of(self, request_id: str) -> list[int] | None:
        """The facts of a request, which the ledger finds by its own index; None when none is asked for."""
        if not request_id:
            return None
        try:
            stream = stream_of(request_id)
        except ValueError:
            return []
        return [recorded.position for recorded in self._store.read_stream(stream)]

    def _fold(self, head: int, timeout_s: float) -> bool:
        if self._database.somebody_folds():
            return False
        runner = Runner(self.place, self._store, self._vault)
        try:
            return runner.fold_if_nobody_does(head, timeout_s)
        except self._database.errors as error:
            raise ReadModelUnavailable(f"{self._database.name} cannot be written: {error}") from error
        finally:
            runner.close()


def _as_of(position: int, head: int) -> AsOf:
    return AsOf(position, head, time.time_ns() // 1_000_000, is_current=position >= head)
