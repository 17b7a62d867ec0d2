"""Bugs that somebody could make, planted one at a time: a simulator that does not find them proves nothing by finding nothing."""

# Bugs are planted in what is nobody else's business.
# pyright: reportPrivateUsage=false
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from unittest.mock import patch

import msgspec

from domain import charges, commands, gift_code, gifts, ledger, refunds, registry, standing, streams, task, topup
from domain.accounts import Posting
from domain.books import Books, Decision, Guard, Result
from domain.events import Fact
from domain.streams import StreamId
from ledger.epochs import expiry
from ledger.errors import LedgerError, LedgerUnavailable
from ledger.mapper import Recorded
from ledger.store import StoredFact
from relay.credit import Hold, open_hold
from tests.simulator import jobs, relaying, work_money
from tests.simulator.database import Database
from tests.simulator.directory import Directory
from tests.simulator.loop import pause
from tests.simulator.node import Process
from tests.simulator.projecting import Projection
from tests.simulator.spool import Files, Unread


class Blind(Books):
    """Books that have forgotten some facts of a stream."""

    __slots__ = ("_forgets", "_real")

    def __init__(self, real: Books, forgets: Callable[[StreamId, Sequence[Fact]], Sequence[Fact]]) -> None:
        super().__init__({}, {}, real.now)
        self.has_extensions = real.has_extensions
        self._real, self._forgets = real, forgets

    def guard(self, account: str) -> Guard:
        return self._real.guard(account)

    def spendable(self, account: str) -> int:
        return self._real.spendable(account)

    def history(self, stream: StreamId) -> Sequence[Fact]:
        return self._forgets(stream, self._real.history(stream))

    def record(self, stream: StreamId, fact: Fact) -> None:
        self._real.record(stream, fact)


def _rule(command: type[commands.Command], rule: Callable[..., Result]) -> Any:
    return patch.dict(ledger.RULES, {command: rule})


def settle_ignores_the_version() -> Any:
    """A charge that has ended is settled once more."""

    def settle(command: commands.Settle, books: Books) -> Result:
        return charges.settle(command, Blind(books, lambda stream, past: past[:1]))

    return _rule(commands.Settle, settle)


def expire_ignores_the_deadline() -> Any:
    def expire(command: commands.Expire, books: Books) -> Result:
        return charges.expire(msgspec.structs.replace(command, dead_epoch=True), books)

    return _rule(commands.Expire, expire)


def refund_ignores_its_key() -> Any:
    def refund(command: commands.Refund, books: Books) -> Result:
        return refunds.refund(command, Blind(books, lambda stream, past: past[:2]))

    return _rule(commands.Refund, refund)


def a_payment_is_credited_twice() -> Any:
    def settle(command: commands.SettleTopUp, books: Books) -> Result:
        return topup.settle(command, Blind(books, lambda stream, past: past[:1]))

    return _rule(commands.SettleTopUp, settle)


def a_registration_forgets_its_token() -> Any:
    def register(command: commands.Register, books: Books) -> Result:
        return registry.register(msgspec.structs.replace(command, token=""), books)

    return _rule(commands.Register, register)


def a_day_is_whatever_a_node_says() -> Any:
    def check_in(command: commands.CheckIn, books: Books) -> Result:
        with patch.object(gifts, "day_of", lambda now_ms: command.day):
            return gifts.check_in(command, books)

    return _rule(commands.CheckIn, check_in)


def a_lost_extension_is_forgotten() -> Any:
    """A call whose last extension was not answered takes it for not made."""
    extend = Hold._extend

    async def forgetful(self: Hold, amount: int) -> Result:
        try:
            return await extend(self, amount)
        finally:
            self._doubtful = False

    return patch.object(Hold, "_extend", forgetful)


def hold_looks_at_no_floor() -> Any:
    return patch.object(charges, "_short_of", lambda command, amount, books: None)


def a_code_is_used_twice_by_one_user() -> Any:
    def redeem(command: commands.RedeemCode, books: Books) -> Result:
        return gift_code.redeem(
            command, Blind(books, lambda stream, past: [] if stream == command.credited() else past)
        )

    return _rule(commands.RedeemCode, redeem)


def every_poller_refunds_a_task() -> Any:
    def end(command: commands.EndTask, books: Books) -> Result:
        return task.end(command, Blind(books, lambda stream, past: past[:1] if stream == command.task else past[:2]))

    return _rule(commands.EndTask, end)


def a_limited_key_is_not_charged() -> Any:
    """The end of a call leaves the allowance of its key alone."""
    postings = charges._ending_postings

    def of_the_user_only(*args: Any) -> tuple[Posting, ...]:
        return tuple(posting for posting in postings(*args) if not posting[0].startswith("key:"))

    return patch.object(charges, "_ending_postings", of_the_user_only)


def a_freeze_sets_no_floor() -> Any:
    return patch.object(standing, "FROZEN_FLOOR", 0)


def a_guard_is_not_written() -> Any:
    write = Database._write

    def forgetful(self: Database, decision: Decision, named: set[str]) -> object:
        kept = {name: guard for name, guard in decision.balances.items() if not name.endswith(":held")}
        return write(self, decision._replace(balances=kept), named)

    return patch.object(Database, "_write", forgetful)


def a_hold_is_not_taken_off_the_table() -> Any:
    return patch("tests.simulator.database.ENDINGS", ())


def a_stored_fact_is_changed() -> Any:
    append = Database._append

    def changing(self: Database, row: StoredFact) -> Fact:
        if len(self.rows) > 60:
            self.rows[40] = self.rows[40]._replace(state=self.rows[41].state, topic=self.rows[41].topic)
        return append(self, row)

    return patch.object(Database, "_append", changing)


def the_standby_lags_behind() -> Any:
    """A fail-over to a standby that had not confirmed."""
    fail_over = Database.fail_over
    return patch.object(Database, "fail_over", lambda self, lost=0: fail_over(self, lost=3))


def a_page_is_folded_twice() -> Any:
    feed = Projection.feed

    def careless(self: Projection, page: Sequence[Recorded]) -> None:
        if page and page[-1].position <= self.position:
            self.position = page[0].position - 1
        feed(self, page)

    return patch.object(Projection, "feed", careless)


def a_lost_answer_is_charged_again() -> Any:
    """Who does not hear of a settlement takes it for failed, and charges the call anew."""

    async def settled(request: relaying.Request, hold: Hold, how: str) -> None:
        usage = relaying._usage(request)
        for _ in range(3):
            command = commands.Settle(
                charge=hold.charge,
                user=hold.user,
                key=hold.key,
                capped=hold.capped,
                extensions=hold.extensions,
                model=hold.model,
                group=hold.group,
                price=request.price,
                usage=usage,
                cost=request.price.cost_mills(usage),
                ended_by=how,
            )
            hold.ended = True
            try:
                await hold._ledger.submit(command)
            except LedgerUnavailable:
                hold = await _held_anew(request, hold)
            else:
                return

    async def _held_anew(request: relaying.Request, hold: Hold) -> Hold:
        charge = f"{hold.charge[:-8]}{int(hold.charge[-8:], 16) ^ 0xFFFF:08x}"
        command = commands.Hold(
            charge=charge,
            user=hold.user,
            key=hold.key,
            capped=hold.capped,
            model=hold.model,
            group=hold.group,
            prices=(request.price,),
            amount=hold.amount,
            node="again",
            epoch="again",
            ttl_ms=10_000,
            client_request_id=request.attempt,
        )
        request.charge = charge
        return await open_hold(hold._ledger, command)

    return patch.object(relaying, "_settled", settled)


def an_answer_goes_out_before_its_charge() -> Any:
    async def settled(request: relaying.Request, hold: Hold, how: str) -> None:
        hold.ended = True

    return patch.object(relaying, "_settled", settled)


def upstream_is_asked_before_the_hold() -> Any:
    async def held(process: Process, request: relaying.Request) -> object:
        command = _hold_of(process, request)
        try:
            asked = process.writer.submit(command)
        except LedgerError:
            return "unavailable"
        assert not asked.done(), "nobody waits for it"
        return Hold(process.ledger, command)

    return patch.object(relaying, "_held", held)


def _hold_of(process: Process, request: relaying.Request) -> commands.Hold:
    request.charge = process.world.new_id()
    return commands.Hold(
        charge=request.charge,
        user=1,
        key=1,
        model="small",
        group="default",
        prices=(request.price,),
        amount=10,
        node=process.node.name,
        epoch=process.epoch,
        ttl_ms=5_000,
    )


def success_is_told_before_the_commit() -> Any:
    async def taken(process: Process, trade: str, money: int, currency: str) -> str:
        stream = streams.payment(work_money.PROVIDER, trade)
        process.world.promises.success_is_told(work_money.PROVIDER, trade, stream)
        return "success"

    return patch.object(work_money, "_notice_taken", taken)


def the_spool_forgets_before_the_commit() -> Any:
    def oldest(self: Files) -> Unread | None:
        kept = list(self._disk.kept)
        self._disk.kept.clear()
        return Unread(kept) if kept else None

    return patch.object(Files, "oldest", oldest)


def nobody_reaps() -> Any:
    async def reap(process: Process) -> None:
        await pause(1)

    return patch.object(jobs, "_reap", reap)


def a_node_stops_following() -> Any:
    catch_up = Directory.catch_up

    def stuck(self: Directory) -> None:
        if self.position < 100:
            catch_up(self)

    return patch.object(Directory, "catch_up", stuck)


def the_sealer_skips_a_fact() -> Any:
    read = Database.read_stored

    def skipping(self: Database, after: int, limit: int) -> list[StoredFact]:
        rows = read(self, after, limit)
        return rows[:1] + rows[2:] if len(rows) > 3 else rows

    return patch.object(Database, "read_stored", skipping)


def a_dead_process_is_not_told_from_a_living_one() -> Any:
    """Every hold is ended as if its process were dead."""
    return patch.object(jobs, "expiry", lambda hold, node, dead: expiry(hold, node, dead=True))


def an_acknowledged_commit_is_rolled_back() -> Any:
    """Now and then a settlement is decided and answered, and never written."""
    committed = Database.commit

    def commit(self: Database, batch: Sequence[commands.Command]) -> list[Result]:
        if len(self.rows) % 5 or not any(isinstance(command, commands.Settle) for command in batch):
            return committed(self, batch)
        with patch.object(Database, "_write", lambda self, decision, named: ([], [])):
            told, self.committed = self.committed, lambda *args: None
            try:
                return committed(self, batch)
            finally:
                self.committed = told

    return patch.object(Database, "commit", commit)


BUGS: Mapping[str, Callable[[], Any]] = {
    bug.__name__: bug
    for bug in (
        settle_ignores_the_version,
        expire_ignores_the_deadline,
        refund_ignores_its_key,
        a_payment_is_credited_twice,
        a_registration_forgets_its_token,
        a_day_is_whatever_a_node_says,
        a_lost_extension_is_forgotten,
        hold_looks_at_no_floor,
        a_code_is_used_twice_by_one_user,
        every_poller_refunds_a_task,
        a_limited_key_is_not_charged,
        a_freeze_sets_no_floor,
        a_guard_is_not_written,
        a_hold_is_not_taken_off_the_table,
        a_stored_fact_is_changed,
        the_standby_lags_behind,
        a_page_is_folded_twice,
        a_lost_answer_is_charged_again,
        an_answer_goes_out_before_its_charge,
        upstream_is_asked_before_the_hold,
        success_is_told_before_the_commit,
        the_spool_forgets_before_the_commit,
        nobody_reaps,
        a_node_stops_following,
        the_sealer_skips_a_fact,
        a_dead_process_is_not_told_from_a_living_one,
        an_acknowledged_commit_is_rolled_back,
    )
}
