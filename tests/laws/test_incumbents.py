"""What goes wrong with quota in the field's gateways, as schedules that `decide` gives no way to."""

from __future__ import annotations

from collections import Counter

import pytest

from domain import commands, events, gift_code, streams
from domain.commands import Append, Part
from domain.events import CodeTerms, QuotaAdjusted
from tests.laws import calls
from tests.laws.asking import NOW, TODAY, ask, balance
from tests.laws.memory import Memory


@pytest.fixture
def memory() -> Memory:
    """Two users with 1,000 mills each and a key for each; the first one's may spend 600."""
    empty = Memory()
    ask(empty, calls.customer("ada", grant=1_000), calls.customer("bob", grant=1_000))
    ask(empty, calls.key_of(1, limit=600), calls.key_of(2))
    return empty


def test_calls_that_arrive_together_do_not_spend_the_same_quota_twice(memory: Memory) -> None:
    together = memory.commit([calls.hold(400, calls.charge(n), user=2) for n in range(10)], NOW)

    assert Counter(result.status for result in together.results) == {"created": 2, "insufficient": 8}
    assert balance(memory, "user:2:available") == 200


def test_a_rich_caller_is_not_trusted_but_held_like_everybody(memory: Memory) -> None:
    ask(memory, commands.Grant(user=2, amount=10**15, why="gift"), calls.hold(5, user=2))

    assert balance(memory, "user:2:held") == 5


def test_a_limit_that_does_not_suffice_leaves_the_users_quota_alone(memory: Memory) -> None:
    refused = ask(memory, calls.hold(700, capped=True))

    assert refused.account == "key:1:cap"
    assert (balance(memory, "user:1:available"), balance(memory, "key:1:cap")) == (1_000, 600)


def test_a_users_quota_and_the_keys_limit_move_in_one_step(memory: Memory) -> None:
    result = ask(memory, calls.hold(500, capped=True), calls.settle(300, capped=True))

    assert result.fact is not None
    moved = dict(result.fact.postings)
    assert (moved["user:1:available"], moved["key:1:cap"]) == (200, 200)


def test_what_a_dead_process_had_set_aside_comes_back_whole(memory: Memory) -> None:
    ask(memory, calls.hold(500, capped=True), calls.extend(1, 100, capped=True))

    ask(memory, calls.expire(capped=True, extensions=1))

    assert (balance(memory, "user:1:available"), balance(memory, "key:1:cap")) == (1_000, 600)


def test_what_was_set_aside_for_a_failed_call_comes_back_once(memory: Memory) -> None:
    ask(memory, calls.hold(500))

    ask(memory, calls.release(), calls.release(), calls.expire())

    assert balance(memory, "user:1:available") == 1_000


def test_a_settlement_that_is_sent_twice_is_paid_once(memory: Memory) -> None:
    ask(memory, calls.hold(500))

    ask(memory, calls.settle(300), calls.settle(300))

    assert balance(memory, "user:1:available") == 700


def test_charges_of_less_than_a_quota_are_not_rounded_away(memory: Memory) -> None:
    ask(
        memory,
        *(command for n in range(7) for command in (calls.hold(1, calls.charge(n)), calls.settle(1, calls.charge(n)))),
    )

    assert balance(memory, "user:1:available") == 993


@pytest.mark.parametrize("n", [-1, -1_000])
def test_a_negative_count_is_no_credit(memory: Memory, n: int) -> None:
    ask(memory, calls.hold(500))

    refused = [ask(memory, calls.settle(n)), ask(memory, calls.hold(n, calls.charge(2)))]

    assert [result.status for result in refused] == ["invalid", "invalid"]


def test_a_code_is_paid_to_one_of_two_who_enter_it_together(memory: Memory) -> None:
    ask(memory, calls.code(50))

    both = memory.commit([calls.redeem(user=1), calls.redeem(user=2)], NOW)

    assert [result.status for result in both.results] == ["created", "insufficient"]


def test_a_gift_code_is_paid_once_to_each_user(memory: Memory) -> None:
    ask(memory, calls.code(50, gift=True, uses=10))

    memory.commit([calls.redeem(user=1), calls.redeem(user=1), calls.redeem(user=2)], NOW)

    assert (balance(memory, "user:1:available"), balance(memory, "user:2:available")) == (1_050, 1_050)


def test_a_gift_code_pays_out_no_more_often_than_it_has_uses(memory: Memory) -> None:
    ask(memory, *(calls.customer(f"guest-{n}") for n in range(8)), calls.code(50, gift=True, uses=5))

    together = memory.commit([calls.redeem(user=user) for user in range(1, 11) for _ in range(3)], NOW)

    assert Counter(result.status for result in together.results)["created"] == 5
    assert balance(memory, "code:1:budget") == 0


def test_a_gift_code_that_is_switched_off_pays_nothing(memory: Memory) -> None:
    ask(memory, calls.code(50, gift=True, uses=10), gift_code.status_change(1, 1, gift_code.DISABLED))

    assert ask(memory, calls.redeem()).status == "disabled"


def test_a_used_code_that_is_switched_on_again_is_still_used(memory: Memory) -> None:
    ask(memory, calls.code(50), calls.redeem(user=1))
    ask(memory, gift_code.status_change(1, 1, gift_code.DISABLED), gift_code.status_change(1, 2, gift_code.ENABLED))

    assert ask(memory, calls.redeem(user=2)).status == "insufficient"


@pytest.mark.parametrize("mills", [-50, 0])
def test_a_code_that_would_take_or_give_nothing_is_not_issued(memory: Memory, mills: int) -> None:
    assert ask(memory, calls.code(mills)).status == "invalid"


def test_a_code_without_uses_is_not_one_without_bound(memory: Memory) -> None:
    assert ask(memory, calls.code(50, gift=True, uses=0)).status == "invalid"


def test_the_text_of_a_deleted_code_opens_no_other(memory: Memory) -> None:
    ask(memory, calls.code(50, text="summer"), commands.DeleteCode(code=1))

    assert ask(memory, calls.code(50, text="summer")).status == "taken"


def test_a_change_of_a_code_does_not_give_back_its_uses(memory: Memory) -> None:
    ask(memory, calls.code(50, gift=True, uses=2), calls.redeem(user=1))

    ask(memory, commands.ChangeCode(code=1, terms=CodeTerms(amount=70)))

    assert balance(memory, "code:1:budget") == 70


def test_ten_copies_of_a_payment_notice_credit_once(memory: Memory) -> None:
    ask(memory, calls.order(500))

    together = memory.commit([calls.paid()] * 10, NOW)

    assert Counter(result.status for result in together.results) == {"created": 1, "exists": 9}
    assert balance(memory, "user:1:available") == 1_500


@pytest.mark.parametrize("notice", [calls.paid(money=1), calls.paid(currency="USD"), calls.paid("T2", user=0)])
def test_a_payment_that_does_not_fit_its_order_credits_nothing(memory: Memory, notice: commands.SettleTopUp) -> None:
    ask(memory, calls.order(500))

    assert ask(memory, notice).status == "flagged"
    assert balance(memory, "user:1:available") == 1_000


def test_a_payment_credits_what_was_ordered_whatever_prices_have_become(memory: Memory) -> None:
    ask(memory, calls.order(500, money=100), calls.order(300, "T2", money=100))

    ask(memory, calls.paid(money=100))

    assert balance(memory, "user:1:available") == 1_500


def test_a_payment_that_arrives_after_it_was_given_up_is_credited(memory: Memory) -> None:
    ask(memory, calls.order(500), commands.FailTopUp(provider="pay", trade="T1", user=1))

    assert ask(memory, calls.paid()).status == "created"


def test_a_rebate_comes_in_the_step_that_credits_and_once(memory: Memory) -> None:
    ask(memory, calls.order(500))

    memory.commit([calls.paid(inviter=2, rebate=50), calls.paid(inviter=2, rebate=50)], NOW)

    assert balance(memory, "user:2:available") == 1_050


def test_two_check_ins_at_the_same_moment_reward_once(memory: Memory) -> None:
    check_in = commands.CheckIn(user=1, day=TODAY, amount=5)

    memory.commit([check_in, check_in], NOW)

    assert balance(memory, "user:1:available") == 1_005


def test_two_sign_ups_at_the_same_moment_reward_their_inviter_twice(memory: Memory) -> None:
    memory.commit([brought_by_ada("eve"), brought_by_ada("zoe")], NOW)

    assert balance(memory, "user:1:invite") == 120


def test_two_transfers_of_invite_quota_neither_collapse_nor_pass_what_is_there(memory: Memory) -> None:
    ask(memory, brought_by_ada("eve"), brought_by_ada("zoe"))

    together = memory.commit([transfer(name, 50) for name in ("a", "b", "c")], NOW)

    assert [result.status for result in together.results] == ["created", "created", "insufficient"]
    assert (balance(memory, "user:1:available"), balance(memory, "user:1:invite")) == (1_100, 20)


def test_an_admin_who_looked_a_while_ago_neither_erases_spending_nor_payments(memory: Memory) -> None:
    ask(memory, commands.Adjust(command_key="start", user=1, delta=9_000))
    ask(memory, calls.hold(4_000), calls.settle(4_000), calls.order(500), calls.paid())

    result = ask(memory, commands.Adjust(command_key="edit", user=1, target=12, seen=10))

    assert isinstance(result.fact, QuotaAdjusted)
    assert result.fact.delta == 2_000
    assert balance(memory, "user:1:available") == 10_000 - 4_000 + 500 + 2_000


def test_a_form_that_is_saved_unchanged_moves_nothing(memory: Memory) -> None:
    ask(memory, calls.hold(400), calls.settle(400))

    assert ask(memory, commands.Adjust(command_key="edit", user=1, target=1, seen=1)).status == "unchanged"


def test_a_profile_that_is_saved_meanwhile_changes_no_quota_and_lifts_no_freeze(memory: Memory) -> None:
    ask(memory, calls.hold(400), commands.Freeze(user=1))

    standing = events.UserStandingChanged(id=1, role=1, status=1, group="vip")
    ask(memory, Append(parts=(Part(streams.user(1), None, (standing,)),)))

    assert (balance(memory, "user:1:available"), balance(memory, "user:1:held")) == (600, 400)
    assert ask(memory, calls.hold(1, calls.charge(2))).status == "frozen"


def test_a_limit_that_is_raised_while_calls_run_keeps_what_they_spend(memory: Memory) -> None:
    ask(memory, calls.hold(500, capped=True))

    ask(memory, commands.LimitKey(key=1, delta=100), calls.settle(450, capped=True))

    assert balance(memory, "key:1:cap") == 600 + 100 - 450


def test_a_task_that_five_pollers_see_fail_is_refunded_once(memory: Memory) -> None:
    ask(memory, calls.hold(500), calls.accept(300))

    together = memory.commit([calls.end_task("failed")] * 5, NOW)

    assert Counter(result.status for result in together.results) == {"created": 1, "exists": 4}
    assert balance(memory, "user:1:available") == 1_000


def test_a_failed_task_gives_the_keys_limit_back_as_well(memory: Memory) -> None:
    ask(memory, calls.hold(500, capped=True), calls.accept(300, capped=True))

    ask(memory, calls.end_task("failed", capped=True))

    assert (balance(memory, "key:1:cap"), balance(memory, "user:1:available")) == (600, 1_000)


def test_a_task_that_nobody_can_ask_about_any_more_is_refunded_after_its_time(memory: Memory) -> None:
    ask(memory, calls.hold(500), calls.accept(300))

    early = ask(memory, calls.end_task("given_up"))
    late = memory.commit([calls.end_task("given_up")], NOW + calls.TTL_MS).results[0]

    assert (early.status, late.status) == ("not_yet", "created")
    assert balance(memory, "user:1:available") == 1_000


def test_a_task_that_was_never_charged_brings_no_refund(memory: Memory) -> None:
    ask(memory, calls.hold(500), calls.release())

    refused = [ask(memory, calls.accept(300)), ask(memory, calls.end_task("failed")), ask(memory, calls.refund(300))]

    assert [result.status for result in refused] == ["already_released", "not_found", "not_found"]
    assert balance(memory, "user:1:available") == 1_000


def test_refunds_in_pieces_never_pass_what_was_paid(memory: Memory) -> None:
    ask(memory, calls.hold(500), calls.settle(300))

    pieces = [ask(memory, calls.refund(200, name=name)).status for name in ("a", "b")]

    assert pieces == ["created", "insufficient"]
    assert balance(memory, "user:1:available") == 900


def test_a_chargeback_leaves_a_debt_that_stops_spending(memory: Memory) -> None:
    ask(memory, calls.order(500), calls.paid(), calls.hold(1_400), calls.settle(1_400))

    ask(memory, calls.reverse())

    assert balance(memory, "user:1:available") == -400
    assert ask(memory, calls.hold(0, calls.charge(2))).status == "insufficient"


def test_a_new_account_inherits_nothing_of_a_deleted_one(memory: Memory) -> None:
    ask(memory, Append(parts=(Part(streams.user(2), None, (events.UserDeleted(id=2),)),)))

    assert ask(memory, calls.customer("eve")).id == 3
    assert balance(memory, "user:3:available") == 0


def brought_by_ada(name: str) -> commands.Register:
    made = events.UserCreated(profile=f"profile-{name}", password="h", claim=name, inviter=1)
    return commands.Register(kind="user", created=made, inviter_bonus=60)


def transfer(name: str, mills: int) -> commands.TransferInvite:
    return commands.TransferInvite(command_key=name, user=1, amount=mills)
