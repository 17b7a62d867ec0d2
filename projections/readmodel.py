"""What the API and the CLI ask: reads that bypass the domain, over read models that are a moment behind the ledger.

`await_head` says how far behind; every other method answers from one moment of read.db, whatever is folded meanwhile.
"""

import logging
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Concatenate, NamedTuple, ParamSpec, TypeVar

from ledger.explain import stream_of
from ledger.store import LedgerStore
from ledger.vault import Vault
from projections import audit, channels, keys, options, people, readdb, rollups, statements, usage_queries
from projections.audit import AuditRow
from projections.catalogue import projections
from projections.channels import ChannelRow
from projections.errors import FoldStopped, ReadModelUnavailable
from projections.keys import KeyRow
from projections.options import OptionRow
from projections.paging import Page
from projections.people import UserRow
from projections.rollups import HourRow
from projections.runner import Runner
from projections.statements import StatementRow
from projections.usage_queries import LogFilter, LogRow, LogStat

__all__ = [
    "AsOf",
    "AuditRow",
    "ChannelRow",
    "HourRow",
    "KeyRow",
    "LogFilter",
    "LogRow",
    "LogStat",
    "OptionRow",
    "Page",
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
    """Questions to read.db. Methods block and may be called by any thread; they raise ReadModelUnavailable."""

    def __init__(self, folder: Path, store: LedgerStore, vault: Vault) -> None:
        self._folder = folder
        self._store = store
        self._vault = vault
        self._names = [projection.name for projection in projections(vault)]
        self._path = readdb.path_in(folder)
        self._readers = readdb.Readers(self._path)

    def close(self) -> None:
        self._readers.close()

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
        if not readdb.inode(self._path):
            return {}
        return self._ask(readdb.positions_in)

    def lag(self) -> int:
        """Positions between the ledger's head and the read model that is furthest behind."""
        return max(0, self._store.head() - self._position())

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

    def page_audit(self, *, page: int, size: int, actor: int | None = None, topic_prefix: str = "") -> Page[AuditRow]:
        return self._ask(audit.page_audit, page=page, size=size, actor=actor, topic_prefix=topic_prefix)

    def _ask(
        self,
        question: Callable[Concatenate[sqlite3.Connection, Asked], Answer],
        *args: Asked.args,
        **kwargs: Asked.kwargs,
    ) -> Answer:
        if not readdb.inode(self._path):
            self._fold(0, 0)  # where nobody folds, the tables are made, empty
        with self._readers.reading() as reader:
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
        runner = Runner(self._folder, self._store, self._vault)
        try:
            return runner.fold_if_nobody_does(head, timeout_s)
        except sqlite3.Error as error:
            raise ReadModelUnavailable(f"{self._path} cannot be written: {error}") from error
        finally:
            runner.close()


def _as_of(position: int, head: int) -> AsOf:
    return AsOf(position, head, time.time_ns() // 1_000_000, is_current=position >= head)
