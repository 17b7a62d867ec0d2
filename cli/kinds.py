"""What people type on the command line: amounts of quota, lists with commas."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any, cast

import click

from domain.accounts import MAX_ACCOUNT_QUOTA
from domain.units import MILLS_PER_QUOTA


class Quota(click.ParamType[int]):
    """An amount of quota with at most three decimals, read exactly; the value is mills."""

    name = "quota"

    def __init__(self, *, least: int = 0) -> None:
        self._least = least

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            mills = Decimal(str(value).replace(",", "").replace("_", "")) * MILLS_PER_QUOTA
            whole = int(mills)
        except (InvalidOperation, OverflowError, ValueError):
            self.fail(f"{value!r} is no amount: expected quota such as 500000 or 0.125", param, ctx)
        if whole != mills:
            self.fail(f"{value} is finer than a mill: at most three decimals", param, ctx)
        if not self._least * MILLS_PER_QUOTA <= whole <= MAX_ACCOUNT_QUOTA * MILLS_PER_QUOTA:
            self.fail(f"{value} is out of bounds: an account holds at most 9e15 quota", param, ctx)
        return whole


QUOTA = Quota()
QUOTA_DELTA = Quota(least=-MAX_ACCOUNT_QUOTA)


class Names(click.ParamType[tuple[str, ...]]):
    """Names with commas between them, each once."""

    name = "names"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return cast("tuple[str, ...]", value)
        return tuple(dict.fromkeys(name for part in str(value).split(",") if (name := part.strip())))


NAMES = Names()
