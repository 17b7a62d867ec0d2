"""A charge explains itself from its own facts: the lines add up to what was paid, held and given back."""

from __future__ import annotations

import re

import msgspec
import pytest

from domain.commands import Settle
from domain.pricing import Price
from domain.usage import Usage
from ledger.explain import Explanation, explain, stream_of
from tests.laws import calls
from tests.laws.seeds import chance
from tests.ledger.places import Store

PRICE = Price(
    model="m", group="vip", book=3, group_ratio="0.8", model_ratio="1.25", completion_ratio="4", cache_ratio="0.1"
)
USAGE = Usage(input=1_001, cached_input=333, output=77, reasoning=5)


@pytest.fixture
def store(store: Store) -> Store:
    store.commit([calls.customer(grant=10**9)])
    return store


def test_the_lines_are_count_times_factors_and_add_up_to_what_was_paid(store: Store) -> None:
    store.commit([calls.hold(10**7), priced(PRICE, USAGE)])

    told = explained(store)

    products = [product(line) for line in told.lines if " x " in line]
    assert products == [1_001_000, 33_300, 308_000, 20_000]
    assert told.cost_mills == told.paid_mills == sum(products) == PRICE.cost_mills(USAGE)
    assert f"sum {told.cost_mills:,} mills, rounded half up once: {told.cost_mills:,} mills" in told.lines[-2]


def test_what_was_held_is_what_was_paid_and_what_went_back(store: Store) -> None:
    first, last = [calls.hold(500), calls.extend(1, 250)], calls.settle(600, extensions=1)
    store.commit([*first, last])

    told = explained(store)

    assert told.lines[0].startswith("held 500 mills")
    assert told.lines[1] == "held 250 mills more (extension 1)"
    assert told.lines[-1] == "of 750 mills held, 150 went back"
    assert told.state == "settled"


def test_what_nobody_could_pay_is_said(store: Store) -> None:
    store.commit([calls.hold(500), calls.settle(10**9 + 40)])

    told = explained(store)

    assert (told.cost_mills, told.paid_mills, told.written_off_mills) == (10**9 + 40, 10**9, 40)
    assert "paid 1,000,000,000 mills, written off 40 mills" in told.lines


def test_a_late_settlement_is_told_with_the_expiry_before_it(store: Store) -> None:
    store.commit([calls.hold(500), calls.expire(), calls.settle(300)])

    told = explained(store)

    assert told.state == "settled_late"
    assert told.lines[1] == "expired: 500 mills went back (dead_epoch)"
    assert told.lines[-1].endswith("paid 300 mills")


@pytest.mark.parametrize(("end", "state"), [(None, "open"), (calls.release(), "released"), (calls.expire(), "expired")])
def test_a_call_that_was_not_charged_costs_nothing(store: Store, end: Settle | None, state: str) -> None:
    store.commit([calls.hold(500), *([end] if end else [])])

    told = explained(store)

    assert (told.state, told.cost_mills, told.paid_mills) == (state, 0, 0)


def test_drawn_usages_and_prices_explain_themselves_to_the_mill(store: Store) -> None:
    draw = chance("explained")
    for n in range(2, 40):
        usage = Usage(*(draw.choice([0, 1, 7, 999, 123_457]) for _ in range(10)))
        price = msgspec.structs.replace(
            PRICE, model_ratio=draw.choice(["0.0005", "1/3", "2.5"]), completion_ratio="5/3"
        )
        store.commit([calls.hold(0, calls.charge(n)), priced(price, usage, calls.charge(n))])

        told = explained(store, calls.charge(n))

        (summed,) = (line for line in told.lines if line.startswith("sum "))
        assert f"once: {price.cost_mills(usage):,} mills" in summed
        assert told.paid_mills + told.written_off_mills == told.cost_mills == price.cost_mills(usage)


def test_a_charge_that_was_never_held_has_no_story(store: Store) -> None:
    assert explain(store, calls.charge(404)) is None


def test_a_request_id_is_read_with_and_without_dashes() -> None:
    dashed = "0192F0C1-7b6a-7cc3-98c4-dc0c0c07398f"

    assert stream_of(dashed) == stream_of(f" {dashed.replace('-', '')} ") == "0192f0c17b6a7cc398c4dc0c0c07398f"


@pytest.mark.parametrize("text", ["", "0192f0c1", "x" * 32, "0192f0c1-7b6a-7cc3-98c4-dc0c0c07398f0"])
def test_what_is_no_request_id_is_said_to_be_none(text: str) -> None:
    with pytest.raises(ValueError, match="request id"):
        stream_of(text)


def explained(store: Store, charge: str = calls.FIRST) -> Explanation:
    told = explain(store, charge)
    assert told is not None
    return told


def priced(price: Price, usage: Usage, charge: str = calls.FIRST) -> Settle:
    return msgspec.structs.replace(calls.settle(0, charge), price=price, usage=usage, cost=price.cost_mills(usage))


def product(line: str) -> int:
    """The amount a line states, which must be the product of the numbers before it and 1,000 mills for a quota."""
    left, _, right = line.partition(" = ")
    result = int(right.removesuffix(" mills").replace(",", ""))
    numbers = [float(number) for number in re.findall(r"(?<![\w.])\d+(?:\.\d+)?", left)]
    found = 1_000.0
    for number in numbers:
        found *= number
    assert round(found) == result, f"{line}: {numbers} give {found}"
    return result
