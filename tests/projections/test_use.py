"""What a user and a key have used: what was paid, without what came back, and with what a migrated user used elsewhere."""

from __future__ import annotations

from domain import commands
from domain.events import ChargeSettled
from projections.readmodel import ReadModel
from tests.projections.house import House


def test_what_was_refunded_was_not_used(house: House, read: ReadModel) -> None:
    user = house.user("ada")
    key = house.key(user)
    call = house.call(user, key)
    house.call(user, key)
    paid = next(r.fact.paid for r in house.store.read_stream(call) if isinstance(r.fact, ChargeSettled))

    house.done(commands.Refund(charge=call, user=user, key=key, command_key="ticket-1", reason="slow", actor=1))
    read.await_head()

    found, used = read.user(user), read.key(key)
    assert found is not None
    assert used is not None
    assert (found.used_mills, found.request_count, used.used_mills) == (paid, 2, paid)
    (row,) = (row for row in read.page_audit(page=1, size=50).items if row.topic.startswith("charge."))
    assert (row.subject, row.actor) == (f"user:{user}", 1)


def test_what_was_used_elsewhere_counts(house: House, read: ReadModel) -> None:
    user = house.user("ada")

    house.done(
        commands.Open(user=user, amount=-500, used=7_000, calls=3, source="old", row="users:1", digest="d", actor=1)
    )
    read.await_head()

    found = read.user(user)
    assert found is not None
    assert (found.used_mills, found.request_count) == (7_000, 3)
