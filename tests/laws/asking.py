"""Asks the smallest store something, and looks at what came of it."""

from __future__ import annotations

from domain import events, streams
from domain.accounts import Posting
from domain.books import Guard, Result
from domain.commands import Append, Command, Part
from domain.events import Fact
from tests.laws.memory import Memory

NOW = 1_800_000_000_000
"""2027-01-15 08:00:00 UTC."""
TODAY = "2027-01-15"
MOST = 9 * 10**18
"""Mills that one account may hold."""


SAYS_WHY = {
    "invalid", "not_found", "stale", "taken", "conflict", "disabled", "not_yet", "over", "too_large", "frozen", "flagged",
}  # fmt: skip
"""Refusals that come with a sentence for people; the others say it with the fact that stands in the way."""
ENDS: dict[str, tuple[type[Fact], ...]] = {
    "already_settled": (events.ChargeSettled, events.ChargeSettledLate, events.TopUpSettled),
    "already_released": (events.ChargeReleased,),
    "already_expired": (events.ChargeExpired,),
}


def ask(memory: Memory, *batch: Command, now: int = NOW) -> Result:
    """The last answer."""
    results = memory.commit(batch, now).results
    for result in results:
        check(memory, result)
    return results[-1]


def check(memory: Memory, result: Result) -> None:
    """What is true of every answer."""
    assert result.ok == (result.status in {"created", "exists", "unchanged"})
    assert result.why or result.status not in SAYS_WHY, f"{result} does not say why"
    assert result.account or result.why or result.status != "insufficient", f"{result} does not say of what"
    if result.status in {"exists", "exists_with_different", "flagged"} or result.status in ENDS:
        assert any(fact is result.fact for facts in memory.streams.values() for fact in facts), (
            f"{result} does not say of what"
        )
    assert result.status not in ENDS or isinstance(result.fact, ENDS[result.status])


def statuses(memory: Memory, *each: Command, now: int = NOW) -> list[str]:
    """The answers to commands that come one after the other."""
    return [ask(memory, command, now=now).status for command in each]


def balance(memory: Memory, account: str) -> int:
    return memory.balances.get(account, Guard(0)).balance


def available(memory: Memory, user: int = 1) -> int:
    return balance(memory, f"user:{user}:available")


def moved(result: Result) -> dict[str, int]:
    assert result.fact is not None
    return dict(result.fact.postings)


def deletion(user: int) -> Append:
    return Append(parts=(Part(streams.user(user), None, (events.UserDeleted(id=user),)),))


def key_deletion(key: int) -> Append:
    return Append(parts=(Part(streams.key(key), None, (events.KeyDeleted(id=key),)),))


def written(memory: Memory, kind: type[Fact]) -> list[Fact]:
    """Every fact of a kind, in no order."""
    return [fact for facts in memory.streams.values() for fact in facts if isinstance(fact, kind)]


def posted(memory: Memory, kind: type[Fact]) -> list[Posting]:
    return [posting for fact in written(memory, kind) for posting in fact.postings]
