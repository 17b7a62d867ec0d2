"""Whatever arrives twice, from however many processes, has its effect once; and the guards say what the log says."""

from __future__ import annotations

from collections import Counter

from domain import accounts, commands
from domain.accounts import is_guarded
from domain.events import (
    ChargeExpired,
    ChargeRefunded,
    ChargeSettled,
    ChargeSettledLate,
    CodeRedeemed,
    Fact,
    QuotaAdjusted,
    TaskFailed,
)
from domain.units import quota_floored
from ledger.mapper import Recorded
from ledger.store import LedgerReader
from ledger.verify import verify
from ledger.writer import Writer
from tests.laws import calls
from tests.laws.seeds import chance
from tests.ledger.places import Place, Store
from tests.money.racer import COST_MILLS, HELD_MILLS, Item
from tests.money.racers import Racers


def test_a_code_with_fifty_uses_gives_fifty_of_two_hundred_users_who_try_thrice_from_two_processes(
    racers: Racers, place: Place, store: Store
) -> None:
    store.commit([calls.customer(f"u{n}") for n in range(200)])
    store.commit([calls.code(700, uses=50, gift=True)])
    tries: list[Item] = [("redeem", user) for user in range(1, 201) for _ in range(3)]
    chance("code").shuffle(tries)

    statuses = racers.race(place, tries[::2], tries[1::2])

    redeemed = [fact for fact in facts(store) if isinstance(fact, CodeRedeemed)]
    assert statuses["created"] == len(redeemed) == len({fact.user for fact in redeemed}) == 50
    assert statuses.total() == 600
    assert set(statuses) == {"created", "exists", "insufficient"}
    assert balance(store, accounts.budget(1)) == 0
    assert Counter(balance(store, accounts.available(user)) for user in range(1, 201)) == {700: 50, 0: 150}
    assert guards_equal_log(store)


def test_a_failure_that_five_pollers_see_is_refunded_once(racers: Racers, place: Place, store: Store) -> None:
    tasks = range(1, 41)
    store.commit([calls.customer(grant=10**9), calls.key_of(1)])
    store.commit([calls.hold(HELD_MILLS, calls.charge(n)) for n in tasks])
    store.commit([calls.accept(COST_MILLS, calls.charge(n), number=n) for n in tasks])
    assert balance(store, accounts.available(1)) == 10**9 - len(tasks) * COST_MILLS
    draw = chance("pollers")

    statuses = racers.race(place, *(draw.sample([("fail", n) for n in tasks], len(tasks)) for _ in range(5)))

    assert statuses == {"created": len(tasks), "exists": 4 * len(tasks)}
    for n in tasks:
        refunds = [one.fact for one in store.read_stream(calls.charge(n)) if isinstance(one.fact, ChargeRefunded)]
        (ended,) = [one.fact for one in store.read_stream(calls.task(n))[1:]]
        assert [fact.amount for fact in refunds] == [COST_MILLS]
        assert isinstance(ended, TaskFailed)
        assert ended.refunded == COST_MILLS
    assert balance(store, accounts.available(1)) == 10**9
    assert guards_equal_log(store)


def test_five_hundred_charges_that_are_settled_twice_and_expired_once_end_once_each(
    racers: Racers, place: Place, store: Store
) -> None:
    ended = range(1, 501)
    store.commit([calls.customer(grant=10**9), calls.key_of(1)])
    store.commit([calls.hold(HELD_MILLS, calls.charge(n)) for n in ended])
    work: list[Item] = [(kind, n) for n in ended for kind in ("settle", "settle", "expire")]
    chance("ends").shuffle(work)

    statuses = racers.race(place, work[::2], work[1::2])

    endings = [store.read_stream(calls.charge(n))[1:] for n in ended]
    terminals = [past[0].fact for past in endings]
    late = [fact.fact for past in endings for fact in past[1:]]
    assert len(terminals) == 500
    assert all(isinstance(fact, ChargeSettled | ChargeExpired) for fact in terminals)
    assert all(isinstance(fact, ChargeSettledLate) for fact in late)
    assert len(late) == sum(isinstance(fact, ChargeExpired) for fact in terminals)
    assert statuses["created"] == len(terminals) + len(late)
    assert statuses.total() == 1_500
    assert set(statuses) <= {"created", "exists", "already_settled"}
    assert (balance(store, accounts.available(1)), balance(store, accounts.held(1))) == (10**9 - 500 * COST_MILLS, 0)
    assert guards_equal_log(store)


def test_a_balance_for_a_thousand_holds_gives_a_thousand_to_five_thousand_attempts(
    racers: Racers, place: Place, store: Store
) -> None:
    store.commit([calls.customer(grant=1_000 * HELD_MILLS + HELD_MILLS - 1), calls.key_of(1)])
    attempts: list[Item] = [("hold", n) for n in range(1, 5_001)]

    statuses = racers.race(place, attempts[::3], attempts[1::3], attempts[2::3])

    assert statuses == {"created": 1_000, "insufficient": 4_000}
    assert (balance(store, accounts.available(1)), balance(store, accounts.held(1))) == (
        HELD_MILLS - 1,
        1_000 * HELD_MILLS,
    )
    assert guards_equal_log(store)


def test_a_balance_that_is_set_while_calls_run_is_what_was_set_and_what_moved_since_it_was_seen(
    racers: Racers, place: Place, store: Store
) -> None:
    store.commit([calls.customer(grant=10**9), calls.key_of(1)])
    work: list[Item] = [("call", n) for n in range(1, 401)]
    writer, account = Writer(store), accounts.available(1)

    racers.begin(place, work[::2], work[1::2])
    seen = [set_to(target, store, writer) for target in (700_000, 300_000, 5_000_000)]
    statuses = racers.end()
    writer.close()

    position, there = seen[-1]
    later = [one.fact for one in log(store) if one.position > position and not isinstance(one.fact, QuotaAdjusted)]
    moved = sum(delta for fact in later for name, delta in fact.postings if name == account)
    assert statuses == {"created": 800}
    assert balance(store, account) == 5_000_000_000 + there % 1_000 + moved
    adjusted = [fact for fact in facts(store) if isinstance(fact, QuotaAdjusted)]
    assert balance(store, account) == 10**9 + sum(fact.delta for fact in adjusted) - 400 * COST_MILLS
    assert guards_equal_log(store)


def set_to(target: int, store: Store, writer: Writer) -> tuple[int, int]:
    """An admin looks at a balance and sets it, as whole quota; the position and the mills that were seen."""
    with store.snapshot() as reader:
        position, there = reader.head(), balance(reader, accounts.available(1))
    setting = commands.Adjust(command_key=f"set {target}", user=1, target=target, seen=quota_floored(there), actor=1)
    assert writer.submit_blocking(setting).status == "created"
    return position, there


def log(store: Store) -> list[Recorded]:
    found: list[Recorded] = []
    while page := store.read_log(found[-1].position if found else 0, 1_000):
        found += page
    return found


def facts(store: Store) -> list[Fact]:
    return [recorded.fact for recorded in log(store)]


def balance(reader: LedgerReader, account: str) -> int:
    guard = reader.balance(account)
    return guard.balance if guard else 0


def guards_equal_log(store: Store) -> bool:
    """True when every guard is the sum of the postings in the log, added up here, and `verify` finds so too."""
    sums: Counter[str] = Counter()
    for fact in facts(store):
        for account, delta in fact.postings:
            sums[account] += delta
    kept = {account: guard.balance for account, guard in store.balances() if guard.balance}
    return (
        kept == {account: total for account, total in sums.items() if is_guarded(account) and total}
        and verify(store).is_sound
    )
