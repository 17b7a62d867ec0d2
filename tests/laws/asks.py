"""Commands as a test draws them: numbers that mean something in any world, however it has been left.

An `Ask` points at users, keys and charges by any number; `World.command` turns it into the command for what is there by then,
so that a drawn list can be shrunk, split and sent again.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec
from hypothesis import strategies as st

from domain import commands, events, streams
from domain.commands import Append, Command, Part
from domain.events import ChannelTerms, KeyTerms
from tests.laws import calls
from tests.laws.oracle import LIMIT, Charge, Oracle

PRICES = tuple(msgspec.structs.replace(calls.PRICE, book=book) for book in range(3))
REASONS = ("signup", "opening", "gift")
START_MS = 1_800_000_000_000
ON_A_CHARGE = ("hold", "extend", "settle", "release", "expire")
KINDS = (
    *ON_A_CHARGE, *ON_A_CHARGE[:3], "adjust_by", "adjust_to", "grant", "register_user", "register_key", "register_channel",
    "limit_key", "change", "delete_user", "delete_key", "rename", "set",
)  # fmt: skip

WRONG_PAYER, WRONG_CAP, WRONG_COUNT, STALE, NO_VERSION, EXACTLY, MORE = range(7)
"""Values of `Ask.odd` that bend a command: the first four on purpose wrongly."""


class Ask(NamedTuple):
    """One command, before it is known whom it meets."""

    kind: str
    who: int = 0
    which: int = 0
    amount: int = 0
    odd: int = 99


edges = st.sampled_from([0, 1, 499, 500, 999, 1_000, 1_001, 10**6, 10**15, LIMIT - 1, LIMIT, LIMIT + 1, -LIMIT, 2**63])
amounts = st.one_of(st.integers(-2, 4_000), st.integers(0, 4_000), edges)


def ask(kinds: tuple[str, ...] = KINDS) -> st.SearchStrategy[Ask]:
    return st.builds(
        Ask,
        kind=st.sampled_from(kinds),
        who=st.integers(0, 4),
        which=st.integers(0, 11),
        amount=amounts,
        odd=st.integers(0, 20),
    )


class World:
    """Turns asks into commands by what the oracle knows."""

    def __init__(self, oracle: Oracle) -> None:
        self._oracle = oracle

    def command(self, ask: Ask) -> Command:
        if ask.kind in ON_A_CHARGE:
            return self._on_charge(ask, calls.charge(ask.which))
        if ask.kind.startswith("register"):
            return self._register(ask)
        match ask.kind:
            case "adjust_by":
                sign = -1 if ask.odd % 2 else 1
                return commands.Adjust(command_key=f"a{ask.which}", user=self._user(ask), delta=sign * ask.amount)
            case "adjust_to":
                return commands.Adjust(command_key=f"a{ask.which}", user=self._user(ask), target=ask.amount)
            case "grant":
                return commands.Grant(user=self._user(ask), amount=ask.amount, why=REASONS[ask.which % 3])
            case "limit_key":
                return self._limit(ask)
        return self._append(ask)

    def _on_charge(self, ask: Ask, charge: str) -> Command:
        there = self._oracle.charges.get(charge)
        if there is None and ask.odd == WRONG_PAYER:
            there = Charge(self._hold(ask, charge), 0)
        if ask.kind == "hold" or there is None:
            return self._hold(ask, charge)
        user, key, capped = there.payer
        user += ask.odd == WRONG_PAYER
        capped ^= ask.odd == WRONG_CAP
        known = len(there.extensions)
        count = known + (ask.odd == WRONG_COUNT) - (ask.odd == STALE and known > 0)
        if ask.kind == "extend":
            return calls.extend(count + 1, ask.amount, charge, user=user, key=key, capped=capped)
        if ask.kind == "settle":
            return msgspec.structs.replace(self._settle(ask, there), user=user, capped=capped, extensions=count)
        if ask.kind == "release":
            return calls.release(charge, user=user, key=key, capped=capped, extensions=count)
        expire = calls.expire(charge, user=user, key=key, capped=capped, extensions=count)
        return msgspec.structs.replace(expire, dead_epoch=ask.odd % 2 == 0)

    def _hold(self, ask: Ask, charge: str) -> commands.Hold:
        key = self._key(ask)
        capped = self._oracle.limited.get(key, False) ^ (ask.odd == WRONG_CAP)
        hold = calls.hold(ask.amount, charge, user=self._user(ask), key=key, capped=capped)
        return msgspec.structs.replace(hold, prices=(PRICES[ask.which % 3],))

    def _settle(self, ask: Ask, there: Charge) -> commands.Settle:
        cost = ask.amount
        if ask.odd in {EXACTLY, MORE}:
            cost = there.held + (ask.amount if ask.odd == MORE else 0)
        if LIMIT < cost < 2**63:
            cost = LIMIT  # where between the two a cost becomes absurd is for the ledger to say
        settle = calls.settle(cost, there.hold.charge, key=there.hold.key)
        return msgspec.structs.replace(settle, price=PRICES[ask.which % 3])

    def _register(self, ask: Ask) -> Command:
        kind = ask.kind.removeprefix("register_")
        token = f"t{ask.which}" if ask.odd < 4 else ""
        if kind == "user":
            name = self._name(ask)
            made = events.UserCreated(profile="p", password="h", claim=name)
            return commands.Register(kind=kind, created=made, claim=name, grant=ask.amount, token=token)
        if kind == "channel":
            return commands.Register(
                kind=kind, created=events.ChannelCreated(terms=ChannelTerms(), secret="s"), token=token
            )
        limit = ask.amount if ask.which % 2 else None
        unlimited = (limit is None) ^ (ask.odd == WRONG_CAP)
        made_key = events.KeyCreated(
            user=self._user(ask), digest="d", secret="s", terms=KeyTerms(), unlimited=unlimited
        )
        return commands.Register(kind=kind, created=made_key, limit=limit, token=token)

    def _limit(self, ask: Ask) -> Command:
        key = self._key(ask)
        if ask.odd % 4 == 0:
            return commands.LimitKey(key=key, unlimited=True)
        return (
            commands.LimitKey(key=key, target=ask.amount)
            if ask.which % 2
            else commands.LimitKey(key=key, delta=ask.amount)
        )

    def _append(self, ask: Ask) -> Command:
        user, key = self._user(ask), self._key(ask)
        match ask.kind:
            case "change":
                fact = events.UserStandingChanged(id=user, role=1, status=1 + ask.which % 2, group="default")
                return Append(parts=(self._part(ask, streams.user(user), fact),))
            case "delete_user":
                part = Part(streams.user(user), None, (events.UserDeleted(id=user),))
                return Append(parts=(part, *self._released(user)))
            case "delete_key":
                return Append(parts=(Part(streams.key(key), None, (events.KeyDeleted(id=key),)),))
            case "rename":
                return self._rename(ask, user)
        setting = events.SettingChanged(key=f"s{ask.which % 2}", value=str(ask.amount))
        return Append(parts=(self._part(ask, streams.setting(setting.key), setting),))

    def _rename(self, ask: Ask, user: int) -> Command:
        name = self._name(ask)
        changed = Part(streams.user(user), None, (events.UserProfileChanged(id=user, profile="p2", claim=name),))
        if self._oracle.names.get(name) == user:
            return Append(parts=(changed,), claim=name, user=user)
        claimed = Part(name, None, (events.UsernameClaimed(user=user),))
        return Append(parts=(changed, claimed, *self._released(user)), claim=name, user=user)

    def _released(self, user: int) -> tuple[Part, ...]:
        own = [name for name, owner in self._oracle.names.items() if owner == user]
        return tuple(Part(name, None, (events.UsernameReleased(user=user),)) for name in own)

    def _part(self, ask: Ask, stream: str, fact: events.Fact) -> Part:
        version = self._oracle.versions[stream] + (ask.odd == WRONG_COUNT) - (ask.odd == STALE)
        return Part(stream, None if ask.odd == NO_VERSION else version, (fact,))

    def _user(self, ask: Ask) -> int:
        """One of the users, or the next one, who is not there yet."""
        return 1 + ask.who % (self._oracle.balances["seq:user"] + 1)

    def _key(self, ask: Ask) -> int:
        return 1 + ask.who % (self._oracle.balances["seq:key"] + 1)

    def _name(self, ask: Ask) -> str:
        return streams.username(f"name-{ask.which}")
