"""One commit as the server sees it: lock what is spent, read, decide, take the turn, write.

The log is the order in which everything happened. Balances are locked before anything is read; streams are read without a lock,
and under the lock of the turn, when nobody else can commit, it is seen whether one of them has moved: then they are read and
decided again, in the turn. So each fact was decided on exactly the facts before it, and `at` never falls along the log, whatever
the server's clock does.

No lock is waited for in the turn, and balances are locked in the order of their names: commits cannot deadlock.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import LiteralString, NamedTuple
from uuid import uuid4

import msgspec
import psycopg
from psycopg.rows import TupleRow

from domain.books import Decision, Entry, Guard
from domain.commands import Command
from domain.events import ChargeExpired, ChargeExtended, ChargeHeld, ChargeReleased, ChargeSettled, Fact
from domain.ledger import decide
from domain.streams import StreamId
from ledger.mapper import decode, encode
from ledger.postgres_arrays import Array, Uuids, bigints, byteas, texts, uuids
from ledger.postgres_connection import Link
from ledger.store import OpenHold

ENDINGS = (ChargeSettled, ChargeReleased, ChargeExpired)

GUARDS_SQL = "SELECT account, balance, floor FROM balances WHERE account = ANY (%b) ORDER BY account FOR UPDATE"
NEW_GUARDS_SQL = (
    "INSERT INTO balances (account, balance, floor) SELECT a, 0, 0 FROM unnest(%b) AS a ON CONFLICT DO NOTHING"
)
# The first row, of no stream: where the log ends, and what time it is.
PAST_SQL = """
    SELECT NULL::uuid AS stream, NULL::bigint AS version, NULL::text AS topic, NULL::bytea AS state, last.id, last.recorded_at,
        floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS clock
        FROM (SELECT 1) AS one LEFT JOIN (SELECT id, recorded_at FROM stored_events ORDER BY id DESC LIMIT 1) AS last ON true
    UNION ALL
    SELECT originator_id, originator_version, topic, state, NULL, NULL, NULL FROM stored_events WHERE originator_id = ANY (%b)
    ORDER BY stream NULLS FIRST, version"""
TURN_SQL = "SELECT last_at, moved FROM take_turn(%b, %b)"
WRITE_SQL = """
    WITH balance AS (
        UPDATE balances AS b SET balance = x.balance, floor = x.floor
        FROM unnest(%(accounts)b, %(balances)b, %(floors)b) AS x (account, balance, floor)
        WHERE b.account = ANY (%(accounts)b) AND b.account = x.account),
    put AS (
        INSERT INTO holds (charge, "user", key, capped, amount, extensions, node, epoch, deadline)
        SELECT charge, "user", key, capped, amount, extensions, node, epoch, deadline
        FROM json_to_recordset(%(put)s::json) AS x (charge uuid, "user" bigint, key bigint, capped boolean, amount bigint,
            extensions bigint, node text, epoch text, deadline bigint)),
    ended AS (DELETE FROM holds WHERE charge = ANY (%(ended)b))
    INSERT INTO stored_events (originator_id, originator_version, topic, state, recorded_at, commit_id)
    SELECT stream, version, topic, state, %(now)b, CASE WHEN n = 1 THEN %(commit_id)s::uuid END
    FROM unnest(%(streams)b, %(versions)b, %(topics)b, %(states)b) WITH ORDINALITY AS x (stream, version, topic, state, n)
    ORDER BY n"""
FRESH_SQL = """INSERT INTO balances (account, balance, floor) SELECT * FROM unnest(%(accounts)b, %(balances)b, %(floors)b)
    ON CONFLICT DO NOTHING"""
GROW_SQL = """UPDATE holds SET amount = holds.amount + x.amount, extensions = x.extensions
    FROM unnest(%(charges)b, %(amounts)b, %(extensions)b) AS x (charge, amount, extensions)
    WHERE holds.charge = ANY (%(charges)b) AND holds.charge = x.charge"""
PUT_SECRETS_SQL = "INSERT INTO vault (ref, sealed) SELECT * FROM unnest(%b, %b)"
DELETE_SECRETS_SQL = "DELETE FROM vault WHERE ref = ANY (%b)"
LANDED_SQL = "SELECT commit_id = %s::uuid FROM stored_events WHERE originator_id = %s::uuid AND originator_version = %s"

Past = dict[StreamId, list[Fact]]


class Attempt(NamedTuple):
    """What a commit whose answer was lost would have left: enough to see whether it did."""

    decision: Decision
    commit_id: str
    first: Entry


class OutcomeUnknown(Exception):
    """COMMIT was sent, and no answer came."""

    def __init__(self, attempt: Attempt) -> None:
        super().__init__("no answer to COMMIT")
        self.attempt = attempt


class MoreToLock(Exception):
    """The decision moves accounts that were there and that the batch does not name: begin again with them."""

    def __init__(self, accounts: frozenset[str]) -> None:
        super().__init__(f"{len(accounts)} accounts more")
        self.accounts = accounts


class Committing:
    """Decides batches and writes them, over one connection. One thread at a time uses it."""

    def __init__(self, link: Link, turn: int, clock: Callable[[], int] | None) -> None:
        self._link = link
        self._turn = turn
        self._clock = clock
        self._unconfirmed = False
        link.add_notice_handler(self._noticed)

    def commit(self, batch: Sequence[Command], more: frozenset[str]) -> Decision:
        """Decide a batch and write it, in one transaction; `more` accounts are locked besides those that it names.

        Raises OutcomeUnknown, MoreToLock, and the errors of psycopg, after which the transaction is open or the link closed.
        """
        link = self._link
        accounts = sorted({account for command in batch for account in command.accounts()} | more)
        streams = sorted({stream for command in batch for stream in command.streams()})
        wanted = uuids(streams)
        guards = self._lock(accounts)
        past, head, now = self._read(wanted)
        decision = decide(batch, guards, past, now)
        if not decision.entries:
            self._say("ROLLBACK")  # nothing to write, and nothing to wait for
            return decision
        states = [encode(entry.fact) for entry in decision.entries]
        last_at, moved = link.execute(TURN_SQL, (head, wanted), prepare=True, binary=True).fetchall()[0]
        if moved or last_at > now:
            past, _, now = self._read(wanted)
            decision = decide(batch, guards, past, now)
            if not decision.entries:
                self._say("ROLLBACK")
                return decision
            states = [encode(entry.fact) for entry in decision.entries]
        attempt = Attempt(decision, uuid4().hex, decision.entries[0])
        self._write(batch, attempt, states, now, set(accounts))
        self._end(attempt)
        return decision

    def landed(self, attempt: Attempt) -> bool:
        """Whether a commit whose answer was lost was made. Waits until it can no longer be made."""
        link = self._link
        self._say("BEGIN")
        link.execute("SELECT pg_advisory_xact_lock(%s)", (self._turn,))  # the lost one has it for as long as it lives
        rows = link.execute(LANDED_SQL, (attempt.commit_id, attempt.first.stream, attempt.first.version)).fetchall()
        if not (rows and rows[0][0]):
            self._say("ROLLBACK")
            return False
        # What is replicated after it says that it was replicated.
        link.execute("SELECT pg_logical_emit_message(true, 'veloera', '')")
        self._end(attempt)
        return True

    def roll_back(self) -> None:
        if not self._link.closed:
            self._say("ROLLBACK")

    def _lock(self, accounts: Sequence[str]) -> dict[str, Guard]:
        """Begin, and lock these accounts. Those that are not there get a row first, in a transaction of its own, to be locked by."""
        link, names = self._link, texts(accounts)
        while True:
            self._say("BEGIN")
            rows = link.execute(GUARDS_SQL, (names,), prepare=True, binary=True).fetchall()
            guards = {account: Guard(balance, floor) for account, balance, floor in rows}
            if len(guards) == len(accounts):
                return guards
            self._say("ROLLBACK")
            link.execute(NEW_GUARDS_SQL, (texts([name for name in accounts if name not in guards]),))

    def _read(self, streams: Uuids) -> tuple[Past, int, int]:
        """The streams, where the log ends, and the time: never before the last fact's."""
        rows: list[TupleRow] = self._link.execute(PAST_SQL, (streams,), prepare=True, binary=True).fetchall()
        *_, head, last_at, clock = rows[0]
        past: Past = {}
        for stream, _, topic, state, *_ in rows[1:]:
            past.setdefault(stream, []).append(decode(topic, state))
        return past, head or 0, max(last_at or 0, self._clock() if self._clock else clock)

    def _write(
        self, batch: Sequence[Command], attempt: Attempt, states: Sequence[bytes], now: int, locked: set[str]
    ) -> None:
        link, decision = self._link, attempt.decision
        fresh = {name: guard for name, guard in decision.balances.items() if name not in locked}
        if fresh:
            self._insert_fresh(fresh)
        known = {name: guard for name, guard in decision.balances.items() if name in locked}
        put, grown, ended = holds_of(decision.entries)
        if grown:
            amounts, extensions = zip(*grown.values(), strict=True)
            link.execute(
                GROW_SQL,
                {"charges": uuids(list(grown)), "amounts": bigints(amounts), "extensions": bigints(extensions)},
            )
        self._write_vault(batch, decision)
        entries = decision.entries
        link.execute(
            WRITE_SQL,
            {
                **guard_arrays(known),
                "put": msgspec.json.encode([hold._asdict() for hold in put]).decode(),
                "ended": uuids(ended),
                "now": now,
                "commit_id": attempt.commit_id,
                "streams": uuids([entry.stream for entry in entries]),
                "versions": bigints([entry.version for entry in entries]),
                "topics": texts([entry.fact.TOPIC for entry in entries]),
                "states": byteas(states),
            },
            prepare=True,
        )

    def _insert_fresh(self, fresh: dict[str, Guard]) -> None:
        """Accounts of an id that was assigned in this batch. Somebody may have asked for one before its time: then it has a row."""
        if self._link.execute(FRESH_SQL, guard_arrays(dict(sorted(fresh.items())))).rowcount != len(fresh):
            raise MoreToLock(frozenset(fresh))

    def _write_vault(self, batch: Sequence[Command], decision: Decision) -> None:
        puts: dict[str, bytes] = {}
        gone: list[str] = []
        for command, result in zip(batch, decision.results, strict=True):
            if (command.vault or command.vault_delete) and result.status == "created":
                puts |= {put.ref: put.sealed for put in command.vault}
                gone += [ref for ref in command.vault_delete if puts.pop(ref, None) is None]
        if puts:
            self._link.execute(PUT_SECRETS_SQL, (texts(list(puts)), byteas(list(puts.values()))))
        if gone:
            self._link.execute(DELETE_SECRETS_SQL, (texts(gone),))

    def _end(self, attempt: Attempt) -> None:
        self._unconfirmed = False
        try:
            self._say("COMMIT")
        except psycopg.OperationalError as error:
            raise OutcomeUnknown(attempt) from error
        if self._unconfirmed:
            self._link.close()
            raise OutcomeUnknown(attempt)

    def _say(self, word: LiteralString) -> None:
        self._link.execute(word, prepare=False)

    def _noticed(self, diagnostic: psycopg.errors.Diagnostic) -> None:
        """A warning at COMMIT: somebody ended its wait for the standby. It stands here, and may be lost with this machine."""
        self._unconfirmed = self._unconfirmed or diagnostic.severity_nonlocalized == "WARNING"


def holds_of(
    entries: Sequence[Entry],
) -> tuple[list[OpenHold], dict[StreamId, tuple[int, int]], list[StreamId]]:
    """What facts do to the holds: those to put, (mills, extensions) that others have grown by and to, and those that ended."""
    put: dict[StreamId, OpenHold] = {}
    grown: dict[StreamId, tuple[int, int]] = {}
    ended: list[StreamId] = []
    for stream, _, fact in entries:
        if isinstance(fact, ChargeHeld):
            put[stream] = OpenHold(
                stream, fact.user, fact.key, fact.capped, fact.amount, 0, fact.node, fact.epoch, fact.deadline
            )
        elif isinstance(fact, ChargeExtended):
            if hold := put.get(fact.charge):
                put[fact.charge] = hold._replace(amount=hold.amount + fact.amount, extensions=fact.n)
            else:
                before, _ = grown.get(fact.charge, (0, 0))
                grown[fact.charge] = (before + fact.amount, fact.n)
        elif isinstance(fact, ENDINGS):
            grown.pop(stream, None)
            if put.pop(stream, None) is None:
                ended.append(stream)
    return list(put.values()), grown, ended


def guard_arrays(guards: Mapping[str, Guard]) -> dict[str, Array]:
    return {
        "accounts": texts(list(guards)),
        "balances": bigints([guard.balance for guard in guards.values()]),
        "floors": bigints([guard.floor for guard in guards.values()]),
    }
