"""Accounts are names: what an account is (its asset, whether it is guarded, its floor) follows from its name alone.

Value is never made or lost, only moved, so the postings of one fact sum to zero per asset. A *guarded* account may not
go below its floor; a platform account only records, and no call has to lock it.
"""

from collections.abc import Iterable
from enum import StrEnum
from functools import lru_cache

from domain.units import MILLS_PER_QUOTA

Posting = tuple[str, int]
"""(account, delta): delta in mills of the account's asset, or in ids for `seq:*`."""

MAX_ACCOUNT_QUOTA = 9 * 10**15
MAX_ACCOUNT_MILLS = MAX_ACCOUNT_QUOTA * MILLS_PER_QUOTA
FROZEN_FLOOR = MAX_ACCOUNT_MILLS + 1
"""The floor of a frozen account: above whatever it can hold, so that nothing is left to spend."""

NAMES_KEPT = 65_536
"""Names of the accounts that move most are made once: every call asks for them several times."""

REVENUE = "platform:revenue"
PROMO = "platform:promo"
ADJUST = "platform:adjust"
OPENING = "platform:opening"
WRITEOFF = "platform:writeoff"
CAP_GRANT = "platform:cap_grant"
SEQUENCE = "platform:sequence"


class Asset(StrEnum):
    QUOTA = "QUOTA"
    """What users spend, in mills."""
    CAP = "CAP"
    """What a limited key may still spend, in mills: an allowance, not money."""
    SEQ = "SEQ"
    """Public ids handed out so far."""


@lru_cache(maxsize=NAMES_KEPT)
def available(user_id: int) -> str:
    return f"user:{user_id}:available"


@lru_cache(maxsize=NAMES_KEPT)
def held(user_id: int) -> str:
    return f"user:{user_id}:held"


def invite(user_id: int) -> str:
    """The wallet of invite bonuses: not spendable until it is transferred."""
    return f"user:{user_id}:invite"


def budget(code_id: int) -> str:
    """What a code has left to give."""
    return f"code:{code_id}:budget"


def topup(provider: str) -> str:
    """Where paid quota comes from; never guarded."""
    return f"platform:topup:{provider}"


def cap(key_id: int) -> str:
    return f"key:{key_id}:cap"


def cap_held(key_id: int) -> str:
    return f"key:{key_id}:cap_held"


def cap_spent(key_id: int) -> str:
    return f"key:{key_id}:cap_spent"


def sequence(kind: str) -> str:
    """The counter of public ids of one kind: `user`, `key`, `channel` or `code`."""
    return f"seq:{kind}"


def asset_of(account: str) -> Asset:
    if account.startswith("key:") or account == CAP_GRANT:
        return Asset.CAP
    if account.startswith("seq:") or account == SEQUENCE:
        return Asset.SEQ
    return Asset.QUOTA


@lru_cache(maxsize=NAMES_KEPT)
def is_guarded(account: str) -> bool:
    """Guarded accounts have a row that is read and locked with every commit that names them."""
    return not account.startswith("platform:") and not account.endswith(":cap_spent")


def sums_to_zero(postings: Iterable[Posting]) -> bool:
    """True when value was only moved: the deltas of every asset add up to nothing."""
    sums: dict[Asset, int] = {}
    for account, delta in postings:
        asset = asset_of(account)
        sums[asset] = sums.get(asset, 0) + delta
    return not any(sums.values())
