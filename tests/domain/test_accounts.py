"""What an account is follows from its name, and value is only moved within one asset."""

from __future__ import annotations

import pytest

from domain import accounts
from domain.accounts import Asset

QUOTA = [
    accounts.available(1), accounts.held(1), accounts.invite(1), accounts.budget(1), accounts.topup("pay"),
    accounts.REVENUE, accounts.PROMO, accounts.ADJUST, accounts.OPENING, accounts.WRITEOFF,
]  # fmt: skip
CAP = [accounts.cap(1), accounts.cap_held(1), accounts.cap_spent(1), accounts.CAP_GRANT]
SEQ = [accounts.sequence("user"), accounts.sequence("code"), accounts.SEQUENCE]
GUARDED = {
    accounts.available(1), accounts.held(1), accounts.invite(1), accounts.budget(1), accounts.cap(1), accounts.cap_held(1),
    accounts.sequence("user"), accounts.sequence("code"),
}  # fmt: skip


@pytest.mark.parametrize(("asset", "names"), [(Asset.QUOTA, QUOTA), (Asset.CAP, CAP), (Asset.SEQ, SEQ)])
def test_an_accounts_asset_follows_from_its_name(asset: Asset, names: list[str]) -> None:
    assert {accounts.asset_of(name) for name in names} == {asset}


@pytest.mark.parametrize("name", [*QUOTA, *CAP, *SEQ])
def test_what_users_keys_codes_and_counters_have_is_guarded_and_what_the_platform_records_is_not(name: str) -> None:
    assert accounts.is_guarded(name) == (name in GUARDED)


def test_postings_that_only_move_value_sum_to_nothing_in_every_asset() -> None:
    assert accounts.sums_to_zero([])
    assert accounts.sums_to_zero([("user:1:available", -5), ("user:1:held", 3), ("platform:revenue", 2)])
    assert accounts.sums_to_zero([("user:1:held", 5), ("user:2:held", -5), ("key:1:cap", 7), ("key:1:cap_held", -7)])


@pytest.mark.parametrize(
    "postings",
    [
        [("user:1:available", 5)],
        [("user:1:available", -5)],
        [("user:1:available", 5), ("key:1:cap", -5)],
        [("user:1:available", 5), ("platform:sequence", -5)],
        [("seq:user", 1), ("platform:cap_grant", -1)],
        [("user:1:available", 5), ("user:1:held", -4)],
    ],
)
def test_postings_that_make_lose_or_exchange_value_do_not(postings: list[tuple[str, int]]) -> None:
    assert not accounts.sums_to_zero(postings)
