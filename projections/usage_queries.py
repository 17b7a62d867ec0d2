"""Questions to the usage log: pages of rows, and the figures above them. Sums are exact: see `amounts`."""

from collections.abc import Sequence

import msgspec

from projections.amounts import MAX_INTEGER, Stored
from projections.database import Dialect, Reader
from projections.paging import Page, bounded, checked_pattern
from projections.usage_log import Kind

MINUTE_MS = 60_000
COLUMNS = """l.position, l.user_id, coalesce(p.username, ''), l.at_ms / 1000, l.type, l.content, coalesce(k.name, ''),
    l.key_id, l.model, l.quota_mills, l.prompt_tokens, l.completion_tokens, l.use_time_s, l.is_stream, l.channel,
    l.price_group, l.other, l.request_id"""


class LogFilter(msgspec.Struct, frozen=True):
    """What to look for; a default asks for nothing. Exact, but for `model_name`, which is a LIKE pattern."""

    user_id: int | None = None
    username: str = ""
    """As the user is called now."""
    type: int = 0
    token_name: str = ""
    """As the key is called now."""
    model_name: str = ""
    channel: int = 0
    group: str = ""
    start_s: int = 0
    end_s: int = 0
    """Inclusive, like `start_s`; 0: no end."""
    request_id: str = ""


class LogRow(msgspec.Struct, frozen=True):
    """One row. `id` is the position of its fact; `quota_mills` what was paid, granted or corrected by."""

    id: int
    user_id: int
    username: str
    created_at_s: int
    type: int
    content: str
    token_name: str
    token_id: int
    model_name: str
    quota_mills: int
    prompt_tokens: int
    completion_tokens: int
    use_time_s: int
    is_stream: bool
    channel: int
    group: str
    other: str
    """JSON; "" where there is none."""
    request_id: str


class LogStat(msgspec.Struct, frozen=True):
    """What calls cost within a filter, and how many calls and tokens the last minute had within it."""

    quota_mills: int
    rpm: int
    tpm: int


class _Where(msgspec.Struct):
    conditions: list[str]
    values: list[int | str]

    def add(self, condition: str, value: int | str) -> None:
        self.conditions.append(condition)
        self.values.append(value)

    @property
    def sql(self) -> str:
        return " AND ".join(self.conditions) or "TRUE"


def page_logs(
    reader: Reader, asked: LogFilter, *, page: int, size: int, positions: Sequence[int] | None = None
) -> Page[LogRow]:
    """Newest first. Calls that cost nothing are left out unless asked for by type or request id.

    `positions`: the facts of `asked.request_id`, which the ledger finds by its own index. Raises FilterRefused.
    """
    page, size = bounded(page, size)
    where = _matching(reader.dialect, asked, positions)
    if asked.type != Kind.ALL:
        where.add("l.type = ?", asked.type)
    elif positions is None:
        where.add("l.type <> ?", Kind.ENDED)
    _between(where, asked)
    (count,) = reader.execute(f"SELECT count(*) FROM usage_log_v1 l WHERE {where.sql}", where.values).fetchone()
    rows = reader.execute(
        f"""SELECT {COLUMNS} FROM usage_log_v1 l
            LEFT JOIN people_v1 p ON p.id = l.user_id LEFT JOIN keys_v1 k ON k.id = l.key_id
            WHERE {where.sql} ORDER BY l.position DESC LIMIT ? OFFSET ?""",
        [*where.values, size, (page - 1) * size],
    )
    return Page([_read(row) for row in rows], count, page, size)


def log_stat(reader: Reader, asked: LogFilter, now_ms: int, *, positions: Sequence[int] | None = None) -> LogStat:
    """Over calls that were charged, whatever `asked.type` says; the last minute whatever the time range says."""
    where = _matching(reader.dialect, asked, positions)
    where.add("l.type = ?", Kind.CONSUME)
    recent = _Where([*where.conditions, "l.at_ms > ?"], [*where.values, now_ms - MINUTE_MS])
    _between(where, asked)
    sums, total = reader.dialect.sums, reader.dialect.total
    spent = reader.execute(
        f"SELECT {sums('l.quota_mills')} FROM usage_log_v1 l WHERE {where.sql}", where.values
    ).fetchone()
    rpm, *tokens = reader.execute(
        f"""SELECT count(*), {sums("l.prompt_tokens")}, {sums("l.completion_tokens")}
            FROM usage_log_v1 l WHERE {recent.sql}""",
        recent.values,
    ).fetchone()
    return LogStat(total(spent), rpm, total(tokens[:3]) + total(tokens[3:]))


def _matching(dialect: Dialect, asked: LogFilter, positions: Sequence[int] | None) -> _Where:
    where = _Where([], [])
    if positions is not None:
        where.add(dialect.among("l.position"), dialect.values_of(positions))
    if asked.user_id is not None:
        where.add("l.user_id = ?", asked.user_id)
    if asked.username:
        where.add(f"l.user_id IN ({dialect.ids_named('people_v1', 'username')})", asked.username)
    if asked.token_name:
        where.add(f"l.key_id IN ({dialect.ids_named('keys_v1', 'name')})", asked.token_name)
    if asked.model_name:
        where.add(dialect.like("l.model", escaped=False), checked_pattern(asked.model_name))
    if asked.channel:
        where.add("l.channel = ?", asked.channel)
    if asked.group:
        where.add("l.price_group = ?", asked.group)
    return where


def _between(where: _Where, asked: LogFilter) -> None:
    if asked.start_s > 0:
        where.add("l.at_ms >= ?", min(asked.start_s * 1000, MAX_INTEGER))
    if asked.end_s > 0:
        where.add("l.at_ms < ?", min((asked.end_s + 1) * 1000, MAX_INTEGER))


Columns = tuple[int, int, str, int, int, str, str, int, str, Stored, int, int, int, int, int, str, str, str]


def _read(row: Columns) -> LogRow:
    return LogRow(
        *row[:9],
        quota_mills=int(row[9]),
        prompt_tokens=row[10],
        completion_tokens=row[11],
        use_time_s=row[12],
        is_stream=bool(row[13]),
        channel=row[14],
        group=row[15],
        other=row[16],
        request_id=row[17],
    )
