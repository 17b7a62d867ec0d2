"""What the ledger must answer, written a second time: plain dictionaries, one command at a time, no fact and no posting.

It shares with the ledger only the types of commands, usages and prices, and the names of accounts and streams.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from domain import commands, streams
from domain.commands import Command
from domain.events import Fact, KeyCreated, UsernameClaimed, UsernameReleased

LIMIT = 9 * 10**18
"""Mills on one account, what is held of it included."""


class Answer(NamedTuple):
    """The answer to one command; a field that does not matter for a status is at its default."""

    status: str
    id: int = 0
    needed: int = 0
    available: int = 0
    account: str = ""


@dataclass
class Charge:
    """One call's money, from the hold on."""

    hold: commands.Hold
    at: int
    extensions: list[commands.Extend] = field(default_factory=list[commands.Extend])
    end: str = ""
    settled: commands.Settle | None = None
    late: commands.Settle | None = None

    @property
    def held(self) -> int:
        return self.hold.amount + sum(extension.amount for extension in self.extensions)

    @property
    def payer(self) -> tuple[int, int, bool]:
        return self.hold.user, self.hold.key, self.hold.capped


@dataclass
class Adjustment:
    user: int
    delta: int
    after: int


class Oracle:
    """A ledger that is slow, obvious and never written to disk."""

    def __init__(self) -> None:
        self.balances: defaultdict[str, int] = defaultdict(int)
        self.charges: dict[str, Charge] = {}
        self.adjustments: dict[str, Adjustment] = {}
        self.grants: dict[tuple[int, str], tuple[int, int]] = {}
        self.tokens: dict[tuple[str, str], int] = {}
        self.names: dict[str, int] = {}
        self.limited: dict[int, bool] = {}
        self.versions: defaultdict[str, int] = defaultdict(int)
        self.gone: set[str] = set()

    def answer(self, command: Command, now: int) -> Answer:
        return RULES[type(command)](self, command, now)

    def is_alive(self, kind: str, number: int) -> bool:
        stream = streams.named(f"{kind}:{number}")
        return self.versions[stream] > 0 and stream not in self.gone

    def move(self, source: str, target: str, amount: int) -> None:
        self.balances[source] -= amount
        self.balances[target] += amount


def hold(oracle: Oracle, command: commands.Hold, now: int) -> Answer:
    there = oracle.charges.get(command.charge)
    if there is not None:
        return Answer("exists" if command == there.hold else "exists_with_different")
    if command.amount < 0:
        return Answer("invalid")
    short = _short(oracle, command, command.amount)
    if short is None:
        oracle.charges[command.charge] = Charge(command, now)
        _set_aside(oracle, command, command.amount)
    return short or Answer("created")


def extend(oracle: Oracle, command: commands.Extend, now: int) -> Answer:
    charge = oracle.charges.get(command.charge)
    if charge is None:
        return Answer("not_found")
    for there in charge.extensions:
        if there.n == command.n:
            return Answer("exists" if command == there else "exists_with_different")
    if charge.end:
        return Answer(f"already_{charge.end}")
    if charge.payer != (command.user, command.key, command.capped) or command.amount <= 0:
        return Answer("invalid")
    if command.n != len(charge.extensions) + 1:
        return Answer("stale")
    short = _short(oracle, command, command.amount)
    if short is None:
        charge.extensions.append(command)
        _set_aside(oracle, command, command.amount)
    return short or Answer("created")


def settle(oracle: Oracle, command: commands.Settle, now: int) -> Answer:
    if not 0 <= command.cost <= LIMIT:
        return Answer("invalid")
    charge = oracle.charges.get(command.charge)
    if charge is not None and charge.end == "expired":
        return _settle_late(oracle, charge, command)
    refused = _not_open(charge, command)
    if refused is not None and charge is not None and charge.settled is not None:
        return Answer("exists" if _same_bill(charge.settled, command) else "exists_with_different")
    if refused is not None:
        return refused
    assert charge is not None, "only a charge that is there can be open"
    _give_back(oracle, charge)
    _pay(oracle, command, charge.held)
    charge.end, charge.settled = "settled", command
    return Answer("created")


def release(oracle: Oracle, command: commands.Release, now: int) -> Answer:
    return _end_free(oracle, command, "released")


def expire(oracle: Oracle, command: commands.Expire, now: int) -> Answer:
    charge = oracle.charges.get(command.charge)
    is_early = charge is not None and now < charge.at + charge.hold.ttl_ms
    if _not_open(charge, command) is None and is_early and not command.dead_epoch:
        return Answer("not_yet")
    return _end_free(oracle, command, "expired")


def adjust(oracle: Oracle, command: commands.Adjust, now: int) -> Answer:
    there = oracle.adjustments.get(command.command_key)
    if there is not None:
        same_delta = command.delta is not None and command.delta == there.delta
        same_target = command.delta is None and command.target is not None and command.target * 1000 == there.after
        return Answer(
            "exists" if command.user == there.user and (same_delta or same_target) else "exists_with_different"
        )
    if not oracle.is_alive("user", command.user):
        return Answer("not_found")
    account = f"user:{command.user}:available"
    before = oracle.balances[account]
    if command.delta is not None:
        delta = command.delta
    else:
        assert command.target is not None, "an adjustment has a delta or a target"
        delta = command.target * 1000 - before if before // 1000 != command.target else 0
    if delta == 0:
        return Answer("unchanged", available=before)
    if _is_too_much(oracle, command.user, before + delta):
        return Answer("too_large")
    oracle.move("platform:adjust", account, delta)
    oracle.adjustments[command.command_key] = Adjustment(command.user, delta, before + delta)
    return Answer("created")


def grant(oracle: Oracle, command: commands.Grant, now: int) -> Answer:
    there = oracle.grants.get((command.user, command.why))
    if there is not None:
        return Answer("exists" if there == (command.amount, command.actor) else "exists_with_different")
    if not oracle.is_alive("user", command.user):
        return Answer("not_found")
    if command.amount <= 0:
        return Answer("invalid")
    if _is_too_much(oracle, command.user, oracle.balances[f"user:{command.user}:available"] + command.amount):
        return Answer("too_large")
    _give(oracle, command.user, command.amount, command.why, command.actor)
    return Answer("created")


def register(oracle: Oracle, command: commands.Register, now: int) -> Answer:
    if command.token and (command.kind, command.token) in oracle.tokens:
        return Answer("exists", id=oracle.tokens[command.kind, command.token])
    if command.kind not in {"user", "key", "channel"}:
        return Answer("invalid")
    if command.claim and oracle.names.get(command.claim):
        return Answer("taken")
    if isinstance(command.created, KeyCreated):
        if not oracle.is_alive("user", command.created.user):
            return Answer("not_found")
        if command.created.unlimited == (command.limit is not None):
            return Answer("invalid")
    for amount in (command.limit or 0, command.grant):
        if amount < 0 or amount > LIMIT:
            return Answer("too_large")
    return Answer("created", id=_register(oracle, command))


def limit_key(oracle: Oracle, command: commands.LimitKey, now: int) -> Answer:
    if not oracle.is_alive("key", command.key):
        return Answer("not_found")
    account = f"key:{command.key}:cap"
    left, was_limited = oracle.balances[account], oracle.limited[command.key]
    if command.unlimited:
        wanted = 0
    elif command.target is None:
        wanted = left + command.delta
    else:
        wanted = left if was_limited and left // 1000 == command.target // 1000 else command.target
    if wanted == left and was_limited is not command.unlimited:
        return Answer("unchanged", available=left)
    if wanted < 0 or wanted + oracle.balances[f"key:{command.key}:cap_held"] > LIMIT:
        return Answer("invalid")
    oracle.move("platform:cap_grant", account, wanted - left)
    oracle.limited[command.key] = not command.unlimited
    oracle.versions[streams.named(f"key:{command.key}")] += 1
    return Answer("created")


def append(oracle: Oracle, command: commands.Append, now: int) -> Answer:
    if command.claim and oracle.names.get(command.claim, 0) not in {0, command.user}:
        return Answer("taken")
    for part in command.parts:
        names_somebody = any(fact.TOPIC.split(".")[0] in {"user", "key", "channel"} for fact in part.facts)
        if part.stream in oracle.gone or (names_somebody and not oracle.versions[part.stream]):
            return Answer("not_found")
        freed = [fact for fact in part.facts if fact.TOPIC.startswith("username.released")]
        if any(oracle.names.get(part.stream, 0) != _owner(fact) for fact in freed):
            return Answer("conflict")
        if part.expected is not None and part.expected != oracle.versions[part.stream]:
            return Answer("conflict")
    for part in command.parts:
        for fact in part.facts:
            _note(oracle, part.stream, fact)
    return Answer("created")


RULES: dict[type[Command], Callable[..., Answer]] = {
    commands.Hold: hold,
    commands.Extend: extend,
    commands.Settle: settle,
    commands.Release: release,
    commands.Expire: expire,
    commands.Adjust: adjust,
    commands.Grant: grant,
    commands.Register: register,
    commands.LimitKey: limit_key,
    commands.Append: append,
}


def _short(oracle: Oracle, command: commands.OnCharge, amount: int) -> Answer | None:
    """The first of the payer's accounts that cannot give the amount. Below zero, an account gives not even nothing."""
    for account in _sources(command):
        there = oracle.balances[account]
        if there < max(amount, 0):
            return Answer("insufficient", needed=amount, available=there, account=account)
    return None


def _sources(command: commands.OnCharge) -> list[str]:
    return [f"user:{command.user}:available"] + ([f"key:{command.key}:cap"] if command.capped else [])


def _set_aside(oracle: Oracle, command: commands.OnCharge, amount: int) -> None:
    oracle.move(f"user:{command.user}:available", f"user:{command.user}:held", amount)
    if command.capped:
        oracle.move(f"key:{command.key}:cap", f"key:{command.key}:cap_held", amount)


def _give_back(oracle: Oracle, charge: Charge) -> None:
    _set_aside(oracle, charge.hold, -charge.held)


def _pay(oracle: Oracle, command: commands.Settle, reserved: int) -> None:
    """Pay from what was just given back (`reserved`), and beyond it only from what lies above zero without it."""
    beyond = max(0, min(max(0, oracle.balances[account] - reserved) for account in _sources(command)))
    paid = min(command.cost, reserved + beyond)
    oracle.move(f"user:{command.user}:available", "platform:revenue", paid)
    oracle.move("platform:writeoff", "platform:revenue", command.cost - paid)
    if command.capped:
        oracle.move(f"key:{command.key}:cap", f"key:{command.key}:cap_spent", paid)


def _not_open(charge: Charge | None, command: commands.EndCharge) -> Answer | None:
    if charge is None:
        return Answer("not_found")
    if charge.end:
        return Answer(f"already_{charge.end}")
    if charge.payer != (command.user, command.key, command.capped):
        return Answer("invalid")
    if command.extensions != len(charge.extensions):
        return Answer("stale")
    return None


def _end_free(oracle: Oracle, command: commands.EndCharge, end: str) -> Answer:
    charge = oracle.charges.get(command.charge)
    if charge is not None and charge.end == end:
        return Answer("exists")
    refused = _not_open(charge, command)
    if refused is not None:
        return refused
    assert charge is not None, "only a charge that is there can be open"
    _give_back(oracle, charge)
    charge.end = end
    return Answer("created")


def _settle_late(oracle: Oracle, charge: Charge, command: commands.Settle) -> Answer:
    if charge.late is not None:
        return Answer("exists" if _same_bill(charge.late, command) else "exists_with_different")
    if charge.payer != (command.user, command.key, command.capped):
        return Answer("invalid")
    _pay(oracle, command, 0)
    charge.late = command
    return Answer("created")


def _same_bill(first: commands.Settle, again: commands.Settle) -> bool:
    return _bill(first) == _bill(again)


def _bill(command: commands.Settle) -> tuple[object, ...]:
    return command.user, command.key, command.capped, command.cost, command.usage, command.price


def _is_too_much(oracle: Oracle, user: int, available: int) -> bool:
    return abs(available) > LIMIT or available + oracle.balances[f"user:{user}:held"] > LIMIT


def _give(oracle: Oracle, user: int, amount: int, why: str, actor: int) -> None:
    oracle.move("platform:opening" if why == "opening" else "platform:promo", f"user:{user}:available", amount)
    oracle.grants[user, why] = (amount, actor)


def _register(oracle: Oracle, command: commands.Register) -> int:
    oracle.move("platform:sequence", f"seq:{command.kind}", 1)
    number = oracle.balances[f"seq:{command.kind}"]
    oracle.versions[streams.named(f"{command.kind}:{number}")] = 1
    if command.limit is not None:
        oracle.move("platform:cap_grant", f"key:{number}:cap", command.limit)
    if command.kind == "key":
        oracle.limited[number] = command.limit is not None
    if command.token:
        oracle.tokens[command.kind, command.token] = number
    if command.claim:
        oracle.names[command.claim] = number
        oracle.versions[command.claim] += 1
    if command.grant:
        _give(oracle, number, command.grant, command.grant_why, 0)
    return number


def _note(oracle: Oracle, stream: str, fact: Fact) -> None:
    oracle.versions[stream] += 1
    if fact.TOPIC.split("/")[0] in {"user.deleted", "key.deleted", "channel.deleted"}:
        oracle.gone.add(stream)
    if fact.TOPIC.startswith("username.claimed"):
        oracle.names[stream] = _owner(fact)
    if fact.TOPIC.startswith("username.released"):
        oracle.names[stream] = 0


def _owner(fact: Fact) -> int:
    assert isinstance(fact, UsernameClaimed | UsernameReleased), f"a {fact.TOPIC} names no owner"
    return fact.user
