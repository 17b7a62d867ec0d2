"""What a credit brings the user who invited its owner: a percentage that the operator sets, in whole quota, rounded down."""

from fractions import Fraction
from math import floor

from domain.settings import InvalidSetting, Settings
from domain.units import MILLS_PER_QUOTA, mills


def rebate_mills(settings: Settings, inviter: int, credited_mills: int) -> int:
    """The inviter's share of a credit; 0 where there is no inviter, rebates are off, or the option cannot be read."""
    if not inviter:
        return 0
    try:
        share = Fraction(settings.decimal("RebatePercentage")) / 100 if settings.bool("RebateEnabled") else Fraction(0)
    except InvalidSetting:
        return 0
    return mills(floor(credited_mills * share / MILLS_PER_QUOTA))
