"""Quota and mills: the ledger counts whole mills, people read whole quota, and only these functions go between.

1 quota = 1,000 mills. No float ever holds money.
"""

from fractions import Fraction
from typing import Final

MILLS_PER_QUOTA: Final = 1_000


def mills(quota: int) -> int:
    """Mills in a whole number of quota."""
    return quota * MILLS_PER_QUOTA


def quota_rounded(amount_mills: int) -> int:
    """Whole quota nearest to an amount, half up: what charges (`logs.quota`, `used_quota`) show."""
    return (2 * amount_mills + MILLS_PER_QUOTA) // (2 * MILLS_PER_QUOTA)


def quota_floored(amount_mills: int) -> int:
    """Whole quota not above an amount: what balances show. An overdraft of half a quota shows as -1."""
    return amount_mills // MILLS_PER_QUOTA


def round_half_up(exact: Fraction) -> int:
    """The nearest whole number, a half going up."""
    return (2 * exact.numerator + exact.denominator) // (2 * exact.denominator)


def ratio_text(ratio: Fraction) -> str:
    """The shortest exact text of a multiplier: `1.25` where decimals end, `4/3` where they do not.

    `Fraction(ratio_text(r)) == r` for every `r`, and equal ratios have equal texts.
    """
    decimals = _decimals(ratio.denominator)
    if decimals is None:
        return f"{ratio.numerator}/{ratio.denominator}"
    if decimals == 0:
        return str(ratio.numerator)
    sign = "-" if ratio < 0 else ""
    digits = str(abs(ratio.numerator) * 10**decimals // ratio.denominator).rjust(decimals + 1, "0")
    return f"{sign}{digits[:-decimals]}.{digits[-decimals:]}"


def _decimals(denominator: int) -> int | None:
    """Digits after the point that 1/denominator needs; None when they never end."""
    twos = fives = 0
    while denominator % 2 == 0:
        denominator //= 2
        twos += 1
    while denominator % 5 == 0:
        denominator //= 5
        fives += 1
    return max(twos, fives) if denominator == 1 else None
