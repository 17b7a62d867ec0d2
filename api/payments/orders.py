"""What an order buys and costs: exact fractions, rounded once each, and pinned in the order whatever prices become.

People type whole units of the currency, or quota, as the site is set to show amounts.
"""

import secrets
import string
from fractions import Fraction
from typing import NamedTuple

from api.payments.provider import OrderRefused
from domain.accounts import MAX_ACCOUNT_MILLS
from domain.settings import InvalidSetting, Settings
from domain.units import MILLS_PER_QUOTA, round_half_up

MINOR_PER_MONEY = 100
TRADE_CHARACTERS = 8
_ALPHABET = string.ascii_letters + string.digits


class Quote(NamedTuple):
    """An amount and its price."""

    amount_mills: int
    money_minor: int


def quote(settings: Settings, group: str, amount: int) -> Quote:
    """What `amount` (units where the site shows money, else quota) buys, and costs a user of a group.

    Raises:
        OrderRefused: less than the least that the site sells, more than an account holds, or a price that cannot be paid.
    """
    try:
        per_unit, price = Fraction(settings.decimal("QuotaPerUnit")), Fraction(settings.decimal("Price"))
        least, in_units = settings.int("MinTopUp"), settings.bool("DisplayInCurrencyEnabled")
        multiplier = settings.ratios("TopupGroupRatio").get(group) or Fraction(1)
    except InvalidSetting as error:
        raise OrderRefused(f"the site's prices cannot be read: {error}") from error
    units = Fraction(amount) if in_units else Fraction(amount) / per_unit
    if units < least:
        said = f"{least:,}" if in_units else f"{round_half_up(least * per_unit):,} quota"
        raise OrderRefused(f"amount: expected at least {said}, got {amount:,}")
    amount_mills = round_half_up(units * per_unit * MILLS_PER_QUOTA)
    if amount_mills > MAX_ACCOUNT_MILLS:
        raise OrderRefused(f"amount: {amount:,} is more than an account holds")
    money_minor = round_half_up(units * price * multiplier * MINOR_PER_MONEY)
    if money_minor < 1:
        raise OrderRefused(f"amount: {amount:,} costs less than can be paid")
    return Quote(amount_mills, money_minor)


def new_trade(user_id: int, now_s: int) -> str:
    """A number for an order, of the family's form; the ledger refuses one that was given before."""
    drawn = "".join(secrets.choice(_ALPHABET) for _ in range(TRADE_CHARACTERS))
    return f"USR{user_id}NO{drawn}{now_s}"
