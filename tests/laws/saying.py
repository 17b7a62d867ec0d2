"""A fact says what its command said: every field that they share is the same, and whatever else it brought is named by it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from domain import accounts, commands, events, streams
from domain.books import Entry, Result
from domain.commands import Command
from domain.events import Fact

MADE_BY_THE_LEDGER = {"at", "id", "postings", "floors"}
IN_ITS_OWN_WORDS: dict[tuple[type[Command], str], tuple[type[Fact], ...]] = {
    (commands.EndTask, "why"): (events.TaskFailed,),
    (commands.FailTopUp, "user"): (events.TopUpFailed,),
    (commands.SettleTopUp, "user"): (events.TopUpFlagged,),
    (commands.LimitKey, "delta"): (events.KeyLimitChanged,),
    (commands.LimitKey, "target"): (events.KeyLimitChanged,),
    (commands.EndTask, "task"): (),
}
"""Fields that a fact decides for itself, for a command of that type."""


def check(command: Command, fact: Fact, now: int) -> None:
    """The fact that a command is answered with."""
    assert fact.at == now
    if isinstance(command, commands.Register):
        _check_first(command, fact)
        return
    if isinstance(command, commands.Append):
        said = command.parts[-1].facts[-1]
        assert fact == msgspec.structs.replace(said, at=now)
        return
    for name in set(fact.__struct_fields__) & set(command.__struct_fields__) - MADE_BY_THE_LEDGER:
        asked = getattr(command, name)
        if asked is not None and not isinstance(fact, IN_ITS_OWN_WORDS.get((type(command), name), ())):
            assert getattr(fact, name) == asked, f"{fact} has another {name} than {command}"
    if isinstance(command, commands.LimitKey):
        assert isinstance(fact, events.KeyLimitChanged)
        assert fact.id == command.key
        assert fact.target == (None if command.unlimited else command.target)
    if isinstance(command, commands.OnStanding):
        assert fact.floors == ((accounts.available(command.user), _floor(fact)),)


def check_flagged(command: commands.SettleTopUp, result: Result) -> None:
    """The fact about money that did not fit, recorded by this notice or by one like it."""
    fact = result.fact
    assert isinstance(fact, events.TopUpFlagged)
    assert (fact.provider, fact.trade, fact.provider_event) == (command.provider, command.trade, command.provider_event)
    assert (fact.money_minor, fact.currency, fact.why) == (command.money_minor, command.currency, result.why)
    assert fact.user == (0 if fact.why == "unknown_order" else command.user)


def check_all(command: Command, entries: Sequence[Entry], now: int) -> None:
    """Every fact of a command that was alone in its batch."""
    for entry in entries:
        fact = entry.fact
        assert fact.at == now
        match fact:
            case events.ChargeSettled() | events.ChargeSettledLate() | events.ChargeRefunded():
                _check_of_a_task(command, entry, now)
            case events.RebateGranted():
                assert isinstance(command, commands.Rebated)
                said = (command.inviter, command.user, command.rebate, command.credited())
                assert (fact.user, fact.invited, fact.amount, fact.source) == said
                assert entry.stream == streams.rebate(command.credited())
            case events.CodeRedeemed():
                assert entry.stream == streams.redemption(fact.code, fact.user)
            case _ if isinstance(command, commands.Register) and entry is not entries[0]:
                _check_with_first(command, entries[0].fact, entry)
            case _:
                pass


def _check_of_a_task(command: Command, entry: Entry, now: int) -> None:
    if isinstance(command, commands.EndTask):
        fact = entry.fact
        assert isinstance(fact, events.ChargeRefunded)
        assert (fact.user, fact.key, fact.capped) == (command.user, command.key, command.capped)
        assert (fact.command_key, fact.reason) == (f"task:{command.task}", command.why)
    else:
        check(command, entry.fact, now)
    assert isinstance(command, commands.OnCharge)
    assert entry.stream == command.charge


def _check_first(command: commands.Register, fact: Fact) -> None:
    changed = {name: getattr(fact, name) for name in MADE_BY_THE_LEDGER}
    assert fact == msgspec.structs.replace(command.created, **changed) or _lost_its_inviter(command, fact)


def _lost_its_inviter(command: commands.Register, fact: Fact) -> bool:
    made = command.created
    if not isinstance(made, events.UserCreated) or not isinstance(fact, events.UserCreated):
        return False
    return fact.inviter == 0 and (fact.claim, fact.profile, fact.actor) == (made.claim, made.profile, made.actor)


def _check_with_first(command: commands.Register, first: Fact, entry: Entry) -> None:
    """What a registration brings along: its token, its name, and the gifts."""
    assigned = getattr(first, "id")  # noqa: B009  (every first fact has one, which their common type does not say)
    match entry.fact:
        case events.Registered() as fact:
            assert (fact.kind, fact.id) == (command.kind, assigned)
            assert entry.stream == streams.named(f"register:{command.kind}:{command.token}")
        case events.CodeTextClaimed() as fact:
            assert (fact.code, entry.stream) == (assigned, command.claim)
        case events.UsernameClaimed() as fact:
            assert (fact.user, entry.stream) == (assigned, command.claim)
        case events.QuotaGranted() as fact:
            amounts = {command.grant_why: command.grant, "invited": command.invited_bonus}
            assert (fact.user, fact.amount, fact.actor) == (assigned, amounts[fact.why], 0)
            assert entry.stream == streams.grant(assigned, fact.why)
        case events.InviteRewarded() as fact:
            assert (fact.user, fact.invited, fact.amount) == (command.inviter, assigned, command.inviter_bonus)
            assert entry.stream == streams.invited(assigned)
        case other:
            raise AssertionError(f"a registration wrote {other}")


def _floor(fact: Fact) -> int | None:
    (only,) = fact.floors
    return only[1]
