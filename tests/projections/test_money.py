"""Codes, payments and invitations as people see them: the same rows however facts are paged, and the same as counting by hand."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from domain import accounts, events, gift_code, streams, user
from domain.commands import (
    ChangeCode,
    CheckIn,
    Command,
    DeleteCode,
    FailTopUp,
    InitiateTopUp,
    Open,
    RedeemCode,
    ResolveTopUp,
    ReverseTopUp,
    SettleTopUp,
)
from domain.events import CodeTerms, Fact
from domain.gifts import day_of
from projections.codes import CodeRow
from projections.payments import PaymentRow
from projections.readmodel import ReadModel
from tests.laws.seeds import chance
from tests.projections.house import House
from tests.projections.whereabouts import ON_BOTH, Where

pytestmark = ON_BOTH

STEPS = 150
NAMES = ("spring", "spring sale", "Ünter%_", "x" * 300)


@pytest.fixture
def lived(house: House) -> House:
    """A house in which much was given away and paid for, and at least one code is there at the end whatever was drawn."""
    draw = chance("money")
    for n in range(3):
        house.user(f"u{n}")
    for n in range(STEPS):
        house.do(step(house, draw, n))
    house.do(issue(house, CodeTerms(name=NAMES[0], amount=700), STEPS, uses=2))
    return house


def step(house: House, draw: random.Random, n: int) -> Command:
    """One command, which may be refused."""
    who, code, trade = draw.randint(1, 6), draw.randint(1, 8), f"T{draw.randint(1, 8)}"
    terms = CodeTerms(name=draw.choice(NAMES), amount=draw.choice([1, 700, accounts.MAX_ACCOUNT_MILLS]))
    mills, money = draw.randint(1, 5_000), draw.choice([100, 200])
    settling = SettleTopUp(provider="pay", trade=trade, user=owner(house, trade), money_minor=money, currency="EUR")
    made: list[Command] = [
        issue(house, terms, n, uses=draw.choice([None, 2, 3])),
        ChangeCode(code=code, terms=terms, actor=1),
        gift_code.status_change(code, len(house.store.read_stream(streams.code(code))), draw.choice([1, 2]), actor=1),
        DeleteCode(code=code, actor=1),
        *(RedeemCode(code=code, user=who) for _ in range(4)),
        *[InitiateTopUp(provider="pay", trade=trade, user=who, amount=mills, money_minor=money, currency="EUR")] * 3,
        *[settling] * 4,
        FailTopUp(provider="pay", trade=trade, user=0),
        ResolveTopUp(provider="pay", trade=trade, user=who, amount=mills, reason="", actor=1),
        ReverseTopUp(provider="pay", trade=trade, user=who, command_key=str(n), amount=draw.choice([None, 1])),
        *(registration(house, n, inviter=who) for _ in range(2)),
        Open(user=who, amount=0, invite=mills, source="there", row=str(n), digest=""),
        CheckIn(user=who, day=day_of(last_at(house)), amount=5),
    ]
    if house.store.read_stream(streams.user(who)):
        made.append(user.invite_code_making(house.user_now(who), f"code{n}"))
    return draw.choice(made)


def issue(house: House, terms: CodeTerms, n: int, *, uses: int | None) -> Command:
    put = house.vault.put(f"text {n}")
    return gift_code.issue(digest=f"d{n}", secret=put, terms=terms, gift=True, max_uses=uses, actor=n % 2)


def registration(house: House, n: int, *, inviter: int) -> Command:
    profile, password = house.vault.put("{}"), house.vault.put("a hash")
    return user.creation(claim=f"c{n}", profile=profile, password=password, inviter=inviter, inviter_bonus_mills=n + 1)


def owner(house: House, trade: str) -> int:
    order = payment_facts(house, trade)
    return order[0].user if order and isinstance(order[0], events.TopUpInitiated) else 0


def payment_facts(house: House, trade: str) -> list[Fact]:
    return [recorded.fact for recorded in house.store.read_stream(streams.payment("pay", trade))]


def last_at(house: House) -> int:
    return house.store.read_log(house.store.head() - 1, 1)[0].fact.at


def test_rows_are_the_same_however_facts_are_paged(lived: House, read: ReadModel, where: Where) -> None:
    read.await_head()

    digests = {lived.digest((1,)), lived.digest((7, 3)), lived.digest((1000,)), where.digest()}

    assert len(digests) == 1


def test_codes_are_what_their_facts_say_counted_by_hand(lived: House, read: ReadModel) -> None:
    said = [recorded.fact for recorded in lived.facts()]
    read.await_head()

    found = read.page_codes(page=1, size=1000)

    living = [fact.id for fact in said if isinstance(fact, events.CodeIssued)]
    deleted = {fact.id for fact in said if isinstance(fact, events.CodeDeleted)}
    uses = Counter(fact.code for fact in said if isinstance(fact, events.CodeRedeemed))
    last = {fact.code: fact for fact in said if isinstance(fact, events.CodeRedeemed)}
    assert [row.id for row in found.items] == [code for code in reversed(living) if code not in deleted]
    assert found.total == len(found.items) > 0
    for row in found.items:
        state = gift_code.from_facts(fact for fact in said if about(fact, row.id))
        assert state is not None
        assert (row.name, row.amount_mills, row.status) == (state.terms.name, state.terms.amount, state.status)
        assert (row.max_uses, row.created_at, row.secret_ref) == (state.max_uses, state.created_at, state.secret)
        assert row.used_count == uses[row.id]
        assert (row.used_by, row.used_at) == ((last[row.id].user, last[row.id].at) if row.id in last else (0, 0))
        assert read.code(row.id) == row
    assert all(read.code(code) is None for code in deleted)


def test_codes_are_found_by_name_and_status_counted_by_hand(lived: House, read: ReadModel) -> None:
    read.await_head()
    rows: list[CodeRow] = read.page_codes(page=1, size=1000).items

    for name in NAMES:
        named = sorted(row.id for row in rows if row.name == name)
        beginning = [row.id for row in rows if row.name.startswith(name[:6])]
        assert read.count_codes(name) == len(named)
        assert read.code_ids(name=name) == named
        assert read.code_ids(name=name, after=named[0] if named else 0, limit=1) == named[1:2]
        assert [row.id for row in read.page_codes(page=1, size=1000, keyword=name[:6]).items] == beginning
    assert read.code_ids(status=2) == sorted(row.id for row in rows if row.status == 2)


def test_payments_are_what_their_facts_say_counted_by_hand(lived: House, read: ReadModel) -> None:
    read.await_head()

    found: list[PaymentRow] = read.page_payments(page=1, size=1000).items

    trades = {
        fact.trade for r in lived.facts() if isinstance(fact := r.fact, events.TopUpInitiated | events.TopUpFlagged)
    }
    assert {row.trade for row in found} == trades
    for row in found:
        past = payment_facts(lived, row.trade)
        settled = [fact for fact in past if isinstance(fact, events.TopUpSettled)]
        back = sum(fact.amount for fact in past if isinstance(fact, events.TopUpReversed))
        flagged = [fact.why for fact in past if isinstance(fact, events.TopUpFlagged)]
        assert (row.credited_mills, row.reversed_mills) == (sum(fact.amount for fact in settled), back)
        assert row.flagged_why == (flagged[-1] if flagged else "")
        assert row.status == status_of(bool(settled), row.credited_mills == back, bool(flagged), past)
    for status in ("pending", "success", "failed", "flagged", "reversed"):
        assert read.page_payments(page=1, size=1000, status=status).items == [
            row for row in found if row.status == status
        ]
    for who in range(7):
        assert read.page_payments(page=1, size=1000, user_id=who).items == [row for row in found if row.user_id == who]


def test_invitations_are_what_their_facts_say_counted_by_hand(lived: House, read: ReadModel) -> None:
    said = [recorded.fact for recorded in lived.facts()]
    users = [fact for fact in said if isinstance(fact, events.UserCreated)]
    read.await_head()

    found = read.invites_of([fact.id for fact in users])

    invited = Counter(fact.inviter for fact in users if fact.inviter)
    earned: Counter[int] = Counter()
    for fact in said:
        if isinstance(fact, events.InviteRewarded):
            earned[fact.user] += fact.amount
        elif isinstance(fact, events.QuotaOpened):
            earned[fact.user] += fact.invite
    codes = {fact.id: fact.code for fact in said if isinstance(fact, events.InviteCodeMade)}
    came = {fact.user: fact.at for fact in said if isinstance(fact, events.CheckedIn)}
    for one in users:
        row = found.get(one.id)
        told = (row.inviter, row.invited, row.earned_mills, row.code, row.checked_in_at) if row else (0, 0, 0, "", 0)
        assert told == (one.inviter, invited[one.id], earned[one.id], codes.get(one.id, ""), came.get(one.id, 0))
    assert read.invites_of([]) == {}


def about(fact: Fact, code: int) -> bool:
    of_a_code = events.CodeIssued | events.CodeChanged | events.CodeStatusChanged | events.CodeDeleted
    return isinstance(fact, of_a_code) and fact.id == code


def status_of(settled: bool, all_back: bool, flagged: bool, past: list[Fact]) -> str:
    if settled:
        return "reversed" if all_back else "success"
    if flagged:
        return "flagged"
    return "failed" if any(isinstance(fact, events.TopUpFailed) for fact in past) else "pending"
