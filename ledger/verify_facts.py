"""Does a fact agree with itself, and with the hold that it ends? Written apart from what wrote it: the amounts that a fact states,
and the postings that moved them, must say the same.
"""

from typing import NamedTuple

from domain import accounts
from domain.accounts import Posting
from domain.events import (
    ChargeExpired,
    ChargeExtended,
    ChargeHeld,
    ChargeRefunded,
    ChargeReleased,
    ChargeSettled,
    ChargeSettledLate,
    CheckedIn,
    CodeChanged,
    CodeDeleted,
    CodeIssued,
    CodeRedeemed,
    Fact,
    InviteRewarded,
    InviteTransferred,
    KeyCreated,
    KeyLimitChanged,
    QuotaAdjusted,
    QuotaGranted,
    QuotaOpened,
    RebateGranted,
    TopUpReversed,
    TopUpSettled,
)
from domain.pricing import Price
from ledger.store import OpenHold

OnCharge = (
    ChargeHeld | ChargeExtended | ChargeSettled | ChargeReleased | ChargeExpired | ChargeSettledLate | ChargeRefunded
)


class Held(NamedTuple):
    """An open charge as its facts have left it, and the prices it was held at."""

    hold: OpenHold
    prices: tuple[Price, ...]


def held_by(charge: str, fact: ChargeHeld) -> Held:
    hold = OpenHold(charge, fact.user, fact.key, fact.capped, fact.amount, 0, fact.node, fact.epoch, fact.deadline)
    return Held(hold, fact.prices)


def wrong_in(fact: Fact) -> str:
    """What a fact contradicts itself in; "" for nothing."""
    expected = _expected(fact)
    if expected is not None and _sums(expected) != _sums(fact.postings):
        return "its postings do not move what it states"
    if isinstance(fact, ChargeSettled | ChargeSettledLate):
        if fact.price.cost(fact.usage).mills != fact.cost:
            return f"its usage at its price costs {fact.price.cost(fact.usage).mills} mills, it states {fact.cost}"
        if fact.paid + fact.written_off != fact.cost:
            return "what was paid and what was written off are not its cost"
    return ""


def wrong_for(held: Held, fact: OnCharge) -> str:
    """What the end or extension of a charge contradicts its hold in; "" for nothing."""
    hold = held.hold
    if (fact.user, fact.key, fact.capped) != (hold.user, hold.key, hold.capped):
        return "another payer than the hold's"
    if isinstance(fact, ChargeSettled) and fact.price not in held.prices:
        return "a price that was not pinned at the hold"
    return ""


def _expected(fact: Fact) -> list[Posting] | None:
    """The postings that a fact's own fields ask for; None for facts that state no amounts."""
    match fact:
        case ChargeHeld() | ChargeExtended():
            return _moved(fact, held=fact.amount, spent=0)
        case ChargeSettled():
            return [*_moved(fact, held=-fact.held, spent=fact.paid), *_earned(fact)]
        case ChargeSettledLate():
            return [*_moved(fact, held=0, spent=fact.paid), *_earned(fact)]
        case ChargeReleased() | ChargeExpired():
            return _moved(fact, held=-fact.held, spent=0)
        case QuotaAdjusted():
            return [(accounts.available(fact.user), fact.delta), (accounts.ADJUST, -fact.delta)]
        case QuotaGranted():
            source = accounts.OPENING if fact.why == "opening" else accounts.PROMO
            return [(accounts.available(fact.user), fact.amount), (source, -fact.amount)]
        case KeyLimitChanged():
            return [(accounts.cap(fact.id), fact.delta), (accounts.CAP_GRANT, -fact.delta)]
        case ChargeRefunded():
            return [*_moved(fact, held=0, spent=-fact.amount), (accounts.REVENUE, -fact.amount)]
        case KeyCreated() if fact.unlimited:
            return [(accounts.sequence("key"), 1), (accounts.SEQUENCE, -1)]
    return _given(fact)


def _given(fact: Fact) -> list[Posting] | None:
    """What the facts about payments and gifts move by their own fields; None for facts that state no amounts."""
    match fact:
        case TopUpSettled():
            return [(accounts.available(fact.user), fact.amount), (accounts.topup(fact.provider), -fact.amount)]
        case TopUpReversed():
            return [(accounts.available(fact.user), -fact.amount), (accounts.topup(fact.provider), fact.amount)]
        case CheckedIn() | RebateGranted():
            return [(accounts.available(fact.user), fact.amount), (accounts.PROMO, -fact.amount)]
        case InviteRewarded():
            return [(accounts.invite(fact.user), fact.amount), (accounts.PROMO, -fact.amount)]
        case InviteTransferred():
            return [(accounts.invite(fact.user), -fact.amount), (accounts.available(fact.user), fact.amount)]
        case QuotaOpened():
            moved = [(accounts.available(fact.user), fact.amount), (accounts.invite(fact.user), fact.invite)]
            return [*moved, (accounts.OPENING, -fact.amount - fact.invite)]
    return _budgeted(fact)


def _budgeted(fact: Fact) -> list[Posting] | None:
    """What the facts about codes move."""
    match fact:
        case CodeRedeemed():
            return [(accounts.budget(fact.code), -fact.amount), (accounts.available(fact.user), fact.amount)]
        case CodeChanged():
            return [(accounts.budget(fact.id), fact.delta), (accounts.PROMO, -fact.delta)]
        case CodeDeleted():
            return [(accounts.budget(fact.id), -fact.rest), (accounts.PROMO, fact.rest)]
        case CodeIssued():
            total = (fact.max_uses or 0) * fact.terms.amount
            counted = [(accounts.sequence("code"), 1), (accounts.SEQUENCE, -1)]
            return [*counted, (accounts.budget(fact.id), total), (accounts.PROMO, -total)]
    return None


def _moved(fact: OnCharge, *, held: int, spent: int) -> list[Posting]:
    """`held` mills go from available to held (back, when negative), `spent` mills leave what is available."""
    moved = [(accounts.held(fact.user), held), (accounts.available(fact.user), -held - spent)]
    if fact.capped:
        moved += [
            (accounts.cap_held(fact.key), held),
            (accounts.cap(fact.key), -held - spent),
            (accounts.cap_spent(fact.key), spent),
        ]
    return moved


def _earned(fact: ChargeSettled | ChargeSettledLate) -> list[Posting]:
    return [(accounts.REVENUE, fact.cost), (accounts.WRITEOFF, -fact.written_off)]


def _sums(postings: "list[Posting] | tuple[Posting, ...]") -> dict[str, int]:
    sums: dict[str, int] = {}
    for account, delta in postings:
        sums[account] = sums.get(account, 0) + delta
    return {account: total for account, total in sums.items() if total}
