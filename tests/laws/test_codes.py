"""A redemption code at the edges: of its dates, its uses, its budget and its life."""

from __future__ import annotations

import pytest

from domain import commands, events, gift_code, streams
from domain.books import Guard
from domain.commands import VaultPut
from domain.events import CodeTerms
from tests.laws import calls
from tests.laws.asking import MOST, NOW, ask, available, balance, deletion, statuses, written
from tests.laws.memory import Memory

NOW_S = NOW // 1_000
LAST_SECOND = 253_402_300_799


@pytest.fixture
def memory() -> Memory:
    """Three users with nothing."""
    empty = Memory()
    ask(empty, *(calls.customer(name) for name in ("ada", "bob", "eve")))
    return empty


def changed(mills: int, *, expected: int | None = None, name: str = "code") -> commands.ChangeCode:
    return commands.ChangeCode(code=1, terms=CodeTerms(name=name, amount=mills), expected=expected)


DELETED = commands.DeleteCode(code=1)


@pytest.mark.parametrize(("ms", "status"), [(-1, "not_yet"), (0, "created")])
def test_a_code_is_valid_from_the_first_millisecond_of_its_first_second(memory: Memory, ms: int, status: str) -> None:
    ask(memory, calls.code(5, valid_from=NOW_S))

    assert ask(memory, calls.redeem(), now=NOW + ms).status == status


@pytest.mark.parametrize(("ms", "status"), [(999, "created"), (1_000, "over")])
def test_a_code_is_valid_to_the_last_millisecond_of_its_last_second(memory: Memory, ms: int, status: str) -> None:
    ask(memory, calls.code(5, valid_until=NOW_S))

    assert ask(memory, calls.redeem(), now=NOW + ms).status == status


@pytest.mark.parametrize(
    ("starts", "ends", "status"),
    [
        (NOW_S, NOW_S, "created"),
        (NOW_S + 1, NOW_S, "invalid"),
        (0, LAST_SECOND, "created"),
        (LAST_SECOND, 0, "created"),
        (0, LAST_SECOND + 1, "invalid"),
        (LAST_SECOND + 1, 0, "invalid"),
        (-1, 0, "invalid"),
        (0, -1, "invalid"),
    ],
)
def test_a_codes_dates_are_in_order_and_on_the_calendar(memory: Memory, starts: int, ends: int, status: str) -> None:
    assert ask(memory, calls.code(5, valid_from=starts, valid_until=ends)).status == status


@pytest.mark.parametrize(
    ("mills", "uses", "gift", "status"),
    [
        (MOST, 1, False, "created"),
        (MOST + 1, 1, False, "invalid"),
        (MOST // 3, 3, True, "created"),
        (MOST // 3 + 1, 3, True, "too_large"),
        (MOST, None, True, "created"),
        (5, None, False, "invalid"),
        (5, 2, False, "invalid"),
        (1, 1, True, "created"),
        (0, 1, True, "invalid"),
        (5, -1, True, "invalid"),
    ],
)
def test_a_code_is_issued_with_uses_and_a_budget_that_one_account_holds(
    memory: Memory, mills: int, uses: int | None, gift: bool, status: str
) -> None:
    result = ask(memory, calls.code(mills, uses=uses, gift=gift))

    assert result.status == status
    assert (result.needed, result.available) == ((3 * mills, MOST) if status == "too_large" else (0, 0))
    assert balance(memory, "code:1:budget") == (mills * (uses or 0) if status == "created" else 0)


def test_a_redemption_is_named_for_its_code_and_its_user(memory: Memory) -> None:
    ask(memory, calls.code(5), calls.redeem(1, user=3))

    assert streams.redemption(1, 3) in memory.streams


def test_a_code_without_bound_has_no_floor_and_stops_where_an_account_ends(memory: Memory) -> None:
    ask(memory, calls.code(MOST, gift=True, uses=None), calls.redeem(user=1))

    refused = ask(memory, calls.redeem(user=2))

    assert memory.balances["code:1:budget"] == Guard(-MOST, None)
    assert (refused.status, refused.account, refused.needed) == ("too_large", "code:1:budget", -2 * MOST)


def test_a_code_that_is_used_up_says_so_with_what_it_gives_and_has(memory: Memory) -> None:
    ask(memory, calls.code(5), calls.redeem(user=1))

    refused = ask(memory, calls.redeem(user=2))

    assert (refused.status, refused.needed, refused.available, refused.account) == (
        "insufficient",
        5,
        0,
        "code:1:budget",
    )
    assert refused.why


def test_the_numbers_for_on_and_off_are_the_familys() -> None:
    assert (gift_code.ENABLED, gift_code.DISABLED) == (1, 2)


def test_a_code_that_is_issued_switched_off_waits_for_its_switch(memory: Memory) -> None:
    ask(memory, calls.code(5, status=gift_code.DISABLED))

    off = ask(memory, calls.redeem()).status
    ask(memory, gift_code.status_change(1, 1, gift_code.ENABLED))

    assert (off, ask(memory, calls.redeem()).status) == ("disabled", "created")


def test_the_uses_that_are_left_get_the_new_amount(memory: Memory) -> None:
    ask(memory, calls.code(5, gift=True, uses=3), calls.redeem(user=1), changed(70))

    ask(memory, calls.redeem(user=2))

    assert (available(memory, 1), available(memory, 2), balance(memory, "code:1:budget")) == (5, 70, 70)


@pytest.mark.parametrize(("mills", "status"), [(MOST // 2, "created"), (MOST // 2 + 1, "too_large"), (0, "invalid")])
def test_a_change_stays_within_what_one_account_holds(memory: Memory, mills: int, status: str) -> None:
    ask(memory, calls.code(5, gift=True, uses=2))

    result = ask(memory, changed(mills))

    assert (result.status, result.account) == (status, "code:1:budget" if status == "too_large" else "")
    assert balance(memory, "code:1:budget") == (2 * mills if status == "created" else 10)


def test_a_change_of_the_name_alone_moves_nothing(memory: Memory) -> None:
    ask(memory, calls.code(5))

    result = ask(memory, changed(5, name="other"))

    assert result.fact is not None
    assert (result.status, result.fact.postings) == ("created", ())


def test_a_change_of_a_code_without_bound_moves_nothing(memory: Memory) -> None:
    ask(memory, calls.code(5, gift=True, uses=None), calls.redeem(user=1), changed(7))

    ask(memory, calls.redeem(user=2))

    assert (available(memory, 2), balance(memory, "code:1:budget")) == (7, -12)


def test_a_change_by_somebody_who_looked_too_early_is_a_conflict(memory: Memory) -> None:
    ask(memory, calls.code(5))

    assert statuses(memory, changed(6, expected=1), changed(7, expected=1), changed(7, expected=2)) == [
        "created", "conflict", "created",
    ]  # fmt: skip


@pytest.mark.parametrize(("uses", "rest"), [(3, 10), (None, 0)])
def test_a_deleted_code_gives_back_what_is_left_and_opens_nothing(memory: Memory, uses: int | None, rest: int) -> None:
    ask(memory, calls.code(5, gift=True, uses=uses), calls.redeem(user=1), changed(5, name="renamed"))

    result = ask(memory, DELETED)

    assert isinstance(result.fact, events.CodeDeleted)
    assert (result.fact.rest, dict(result.fact.postings).get("platform:promo", 0)) == (rest, rest)
    assert statuses(memory, calls.redeem(user=2), changed(6), DELETED) == ["not_found", "not_found", "exists"]
    assert isinstance(ask(memory, DELETED).fact, events.CodeDeleted)
    assert ask(memory, gift_code.status_change(1, 3, 1)).status == "not_found"


def test_a_code_that_never_was_is_not_found(memory: Memory) -> None:
    others = [calls.redeem(), changed(6), DELETED, gift_code.status_change(1, 0, 1)]

    assert set(statuses(memory, *others)) == {"not_found"}


def test_a_user_who_is_gone_or_never_was_redeems_nothing(memory: Memory) -> None:
    ask(memory, calls.code(5, gift=True, uses=9), deletion(1))

    assert statuses(memory, calls.redeem(user=1), calls.redeem(user=9)) == ["not_found", "not_found"]
    assert balance(memory, "code:1:budget") == 45


def test_a_redemption_that_does_not_fit_takes_nothing_from_the_code(memory: Memory) -> None:
    ask(memory, calls.code(5), commands.Grant(user=1, amount=MOST - 4, why="gift"))

    refused = ask(memory, calls.redeem())

    assert (refused.status, refused.account, refused.needed) == ("too_large", "user:1:available", MOST + 1)
    assert balance(memory, "code:1:budget") == 5


@pytest.mark.parametrize(("inviter", "rebate"), [(0, 9), (1, 9), (3, 9), (9, 9), (2, 0), (2, -9), (2, MOST + 1)])
def test_a_rebate_goes_to_nobody_who_is_oneself_gone_full_or_not_there(
    memory: Memory, inviter: int, rebate: int
) -> None:
    ask(memory, calls.code(5), deletion(3))

    assert ask(memory, calls.redeem(inviter=inviter, rebate=rebate)).status == "created"
    assert written(memory, events.RebateGranted) == []
    assert (available(memory, 1), available(memory, 2), available(memory, 3)) == (5, 0, 0)


@pytest.mark.parametrize(("room", "rebated"), [(9, 9), (8, 0)])
def test_a_rebate_fits_or_is_left_out(memory: Memory, room: int, rebated: int) -> None:
    ask(memory, calls.code(5), commands.Grant(user=2, amount=MOST - room, why="gift"))

    ask(memory, calls.redeem(inviter=2, rebate=9))

    assert available(memory, 2) == MOST - room + rebated
    assert available(memory, 1) == 5


@pytest.mark.parametrize(("rebate", "rebated"), [(9, 9), (10, 0)])
def test_a_rebate_leaves_room_for_what_is_held(memory: Memory, rebate: int, rebated: int) -> None:
    ask(memory, calls.code(5), commands.Grant(user=2, amount=MOST - 9, why="gift"), calls.hold(100, user=2))

    ask(memory, calls.redeem(inviter=2, rebate=rebate))

    assert available(memory, 2) == MOST - 109 + rebated


def test_a_rebate_of_nothing_is_none_also_where_the_inviter_is_in_the_same_batch(memory: Memory) -> None:
    ask(memory, calls.code(5), commands.Freeze(user=2), calls.redeem(inviter=2, rebate=0))

    assert written(memory, events.RebateGranted) == []


def test_a_rebate_of_one_mill_is_one(memory: Memory) -> None:
    ask(memory, calls.code(5), calls.redeem(inviter=2, rebate=1))

    assert available(memory, 2) == 1


def test_the_fold_of_a_code_has_what_its_facts_say() -> None:
    put = VaultPut("ref", b"sealed")
    first = gift_code.issue(
        digest="d", secret=put, terms=CodeTerms(amount=5), gift=True, max_uses=3, actor=8, token="t"
    )
    assert isinstance(first.created, events.CodeIssued)
    issued = events.CodeIssued(
        id=4, digest="d", secret="ref", terms=CodeTerms(amount=5), gift=True, max_uses=3, status=2, at=6
    )
    later = CodeTerms(amount=7)
    facts = [
        issued,
        events.CodeChanged(id=4, terms=later),
        events.CodeStatusChanged(id=4, status=1),
        events.UserDeleted(id=4),
    ]

    code = gift_code.from_facts(facts)

    assert code == gift_code.GiftCode(
        id=4, digest="d", secret="ref", terms=later, gift=True, max_uses=3, status=1, created_at=6
    )
    assert gift_code.from_facts(facts[:1]) == gift_code.GiftCode(
        id=4, digest="d", secret="ref", terms=CodeTerms(amount=5), gift=True, max_uses=3, status=2, created_at=6
    )
    assert gift_code.after(code, events.CodeDeleted(id=4)) == gift_code.GiftCode(
        id=4, digest="d", secret="ref", terms=later, gift=True, max_uses=3, status=1, created_at=6, deleted=True
    )
    assert gift_code.from_facts(facts[1:]) is None


def test_issuing_names_the_claim_the_secret_and_who_did_it() -> None:
    put = VaultPut("ref", b"sealed")

    made = gift_code.issue(digest="d", secret=put, terms=CodeTerms(amount=5), gift=True, max_uses=3, actor=8, token="t")
    plain = gift_code.issue(digest="d", secret=put, terms=CodeTerms(amount=5))

    assert made == commands.Register(
        kind="code",
        created=events.CodeIssued(digest="d", secret="ref", terms=CodeTerms(amount=5), gift=True, max_uses=3, actor=8),
        claim=streams.code_text("d"),
        vault=(put,),
        token="t",
    )
    assert plain.created == events.CodeIssued(digest="d", secret="ref", terms=CodeTerms(amount=5), max_uses=1)
    assert plain.token == ""


def test_a_switch_names_its_code_its_version_and_who_did_it() -> None:
    fact = events.CodeStatusChanged(id=4, status=2, actor=8)

    made = gift_code.status_change(4, 3, 2, actor=8)

    assert made.parts == (commands.Part(streams.code(4), 3, (fact,)),)
    assert gift_code.status_change(4, 3, 2).parts[0].facts == (events.CodeStatusChanged(id=4, status=2),)
