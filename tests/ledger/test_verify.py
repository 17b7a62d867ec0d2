"""`verify` finds what was changed behind the ledger's back, and names it; it accuses nobody in a sound one."""

from __future__ import annotations

import threading

import pytest

from domain import streams
from ledger.verify import verify
from ledger.writer import Writer
from tests.laws import calls
from tests.laws.seeds import chance
from tests.ledger.places import Place, Store

OPEN, ENDED = calls.charge(1), calls.charge(2)
ROWS = {
    "a balance": ("UPDATE balances SET balance = balance + 1 WHERE account = 'user:1:available'", "user:1:available"),
    "a balance of nothing": ("UPDATE balances SET balance = 1 WHERE account = 'user:2:available'", "user:2:available"),
    "a held balance": ("UPDATE balances SET balance = balance - 1 WHERE account = 'user:1:held'", "user:1:held"),
    "a key's limit": ("UPDATE balances SET balance = balance + 1 WHERE account = 'key:1:cap'", "key:1:cap"),
    "a floor": ("UPDATE balances SET floor = -1000000 WHERE account = 'user:1:available'", "user:1:available"),
    "a floor taken away": ("UPDATE balances SET floor = NULL WHERE account = 'user:1:available'", "user:1:available"),
    "a balance that is gone": ("DELETE FROM balances WHERE account = 'user:1:available'", "user:1:available"),
    "a balance from nowhere": ("INSERT INTO balances VALUES ('user:9:available', 5, 0)", "user:9:available"),
    "a hold that is gone": (f"DELETE FROM holds WHERE charge = '{OPEN}'", OPEN),
    "a hold of another amount": (f"UPDATE holds SET amount = 1 WHERE charge = '{OPEN}'", OPEN),
    "a hold from nowhere": (
        f"INSERT INTO holds SELECT '{ENDED}', user, key, capped, 1, 0, node, epoch, 0 FROM holds",
        ENDED,
    ),
    "a hold of another payer": (f"UPDATE holds SET user = 2 WHERE charge = '{OPEN}'", OPEN),
    "a hold with another count": (f"UPDATE holds SET extensions = 0 WHERE charge = '{OPEN}'", OPEN),
}
FIELDS = {
    "an amount held": ('"amount":700', '"amount":70', OPEN, 1),
    "a posting": ('["user:1:available",-700]', '["user:1:available",-699]', OPEN, 1),
    "the account of a posting": ('"user:1:available",-700', '"user:2:available",-700', OPEN, 1),
    "what was paid": ('"paid":150', '"paid":140', ENDED, 2),
    "what it cost": ('"cost":150', '"cost":140', ENDED, 2),
    "what was used": ('"input":150', '"input":140', ENDED, 2),
    "a price": ('"model_ratio":"0.001"', '"model_ratio":"0.002"', ENDED, 2),
    "who paid": ('"user":1', '"user":2', ENDED, 2),
    "what went back": ('"held":300', '"held":290', ENDED, 2),
    "an amount that is no whole number": ('"amount":700', '"amount":700.5', OPEN, 1),
    "a grant": ('"amount":9000', '"amount":9001', streams.grant(1, "signup"), 1),
}
BROKEN = {
    "no JSON": ("state = x'7b22'", "position"),
    "no text": ("state = x'ff00ff'", "position"),
    "nothing": ("state = x''", "position"),
    "another shape": ("state = '[]'", "position"),
    "an unknown topic": ("topic = 'charge.held/99'", "charge.held/99"),
    "a topic of another fact": ("topic = 'user.deleted/1'", "position"),
    "another version": ("originator_version = 7", OPEN),
    "another stream": (f"originator_id = 'f{OPEN[1:]}'", OPEN),
}


@pytest.fixture
def store(store: Store) -> Store:
    """Two customers; one call that is open and extended, one that was settled, one that was settled beyond its hold."""
    store.commit([calls.customer(grant=9_000), calls.customer("bob", grant=4_000), calls.key_of(1, limit=5_000)])
    store.commit([calls.hold(700, OPEN, capped=True), calls.extend(1, 50, OPEN, capped=True)])
    store.commit([calls.hold(300, ENDED), calls.settle(150, ENDED)])
    store.commit([calls.hold(20, calls.charge(3), user=2), calls.settle(20_000, calls.charge(3), user=2)])
    store.commit([calls.hold(7, calls.charge(4)), calls.expire(calls.charge(4)), calls.settle(5, calls.charge(4))])
    return store


def test_a_sound_ledger_is_found_sound(store: Store) -> None:
    report = verify(store)

    assert report.differences == ()
    assert (report.facts, report.head, report.open_holds) == (14, 14, 1)
    assert report.totals == {
        "platform:cap_grant": -5_000,
        "platform:promo": -13_000,
        "platform:revenue": 150 + 20_000 + 5,
        "platform:sequence": -3,
        "platform:writeoff": -16_000,
    }


@pytest.mark.parametrize("name", ROWS)
def test_a_changed_row_is_found_and_named(store: Store, place: Place, name: str) -> None:
    sql, named = ROWS[name]
    place.tamper(sql)

    differences = [str(difference) for difference in verify(store).differences]

    assert any(named in difference for difference in differences), differences


@pytest.mark.parametrize("name", FIELDS)
def test_a_changed_field_of_a_fact_is_found(store: Store, place: Place, name: str) -> None:
    old, new, stream, version = FIELDS[name]
    (fact,) = (f for f in store.read_stored(0, 100) if (f.stream, f.version) == (stream, version))
    assert old.encode() in fact.state
    changed = fact.state.replace(old.encode(), new.encode())
    place.tamper("UPDATE stored_events SET state = ? WHERE id = ?", (changed, fact.position))

    assert not verify(store).is_sound


@pytest.mark.parametrize("name", BROKEN)
def test_a_fact_that_cannot_be_what_was_written_is_found_and_named(store: Store, place: Place, name: str) -> None:
    change, named = BROKEN[name]
    place.tamper(f"UPDATE stored_events SET {change} WHERE originator_id = ?", (OPEN,))

    differences = [str(difference) for difference in verify(store).differences]

    assert any(named in difference for difference in differences), differences


@pytest.mark.parametrize("version", [1, 2])
def test_a_fact_that_is_gone_is_found(store: Store, place: Place, version: int) -> None:
    sql = "DELETE FROM stored_events WHERE originator_id = ? AND originator_version = ?"
    place.tamper(sql, (calls.charge(4), version))

    assert not verify(store).is_sound


def test_a_difference_says_what_the_facts_say_and_what_is_stored(store: Store, place: Place) -> None:
    place.tamper("UPDATE balances SET balance = 77 WHERE account = 'user:1:available'")

    (difference,) = verify(store).differences

    assert (difference.where, difference.expected, difference.found) == ("user:1:available", 8_095, 77)
    assert str(difference) == "user:1:available: balance: the facts say 8095, stored is 77"


def test_any_single_changed_digit_of_a_charge_is_found(store: Store, place: Place) -> None:
    """Amounts and accounts of charges; what only describes a call (its moment, its channel) is a seal's business."""
    draw = chance("one digit")
    facts = [fact for fact in store.read_stored(0, 100) if fact.topic.startswith("charge.")]
    missed: list[str] = []

    for _ in range(60 if place.kind == "sqlite" else 20):
        fact = draw.choice(facts)
        at = draw.choice(digits(fact.state))
        digit = draw.choice([d for d in b"123456789" if d != fact.state[at]])
        changed = fact.state[:at] + bytes([digit]) + fact.state[at + 1 :]
        place.tamper("UPDATE stored_events SET state = ? WHERE id = ?", (changed, fact.position))
        if verify(store).is_sound:
            missed.append(f"{fact.topic}: {changed.decode()}")
        place.tamper("UPDATE stored_events SET state = ? WHERE id = ?", (fact.state, fact.position))

    assert missed == []
    assert verify(store).is_sound


def test_verifying_beside_running_calls_accuses_nobody(store: Store, writer: Writer) -> None:
    stop = threading.Event()

    def call() -> None:
        number = 1_000
        while not stop.is_set():
            number += 1
            writer.submit_blocking(calls.hold(0, calls.charge(number)))
            writer.submit_blocking(calls.release(calls.charge(number)))

    calling = threading.Thread(target=call)
    calling.start()
    try:
        reports = [verify(store)]
        while reports[-1].head < reports[0].head + 200:
            reports.append(verify(store))
    finally:
        stop.set()
        calling.join()

    assert {report.differences for report in reports} == {()}


def test_sums_beyond_64_bits_stay_exact(store: Store) -> None:
    most = 9 * 10**18
    store.commit([calls.customer(f"rich {n}", grant=most) for n in range(5)])

    report = verify(store)

    assert report.is_sound
    assert report.totals["platform:promo"] == -5 * most - 13_000


def test_progress_is_told_page_by_page_up_to_the_head(store: Store) -> None:
    told: list[tuple[int, int]] = []

    verify(store, lambda position, head: told.append((position, head)))

    assert told[-1] == (14, 14)


def digits(state: bytes) -> list[int]:
    """Where the digits of amounts, counts and accounts are, in the postings and in the fields that say what they mean."""
    told = [
        state.index(name) for name in (b'"postings"', b'"amount"', b'"cost"', b'"paid"', b'"held"') if name in state
    ]
    ends = [state.find(b"]]" if state[at:].startswith(b'"postings"') else b",", at) for at in told]
    return [n for at, end in zip(told, ends, strict=True) for n in range(at, end) if state[n] in b"0123456789"]
