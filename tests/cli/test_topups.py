"""Payments, refunds, credit and freezes at the command line."""

from api.compose import open_books
from api.settings import Environment
from domain.commands import Command, InitiateTopUp, SettleTopUp
from tests.cli.shell import Shell


def booked(shell: Shell, *commands: Command) -> list[str]:
    """What the ledger says to commands that a gateway would send."""
    books = open_books(Environment(data_dir=shell.folder))
    try:
        return [books.writer.submit_blocking(command).status for command in commands]
    finally:
        books.close()


def order(trade: str = "T1", user: int = 1) -> InitiateTopUp:
    return InitiateTopUp(
        provider="epay", trade=trade, user=user, amount=5_000, money_minor=730, currency="CNY", method="alipay"
    )


def paid(trade: str = "T1", user: int = 1, money_minor: int = 730) -> SettleTopUp:
    return SettleTopUp(provider="epay", trade=trade, user=user, money_minor=money_minor, currency="CNY")


def test_payments_are_listed_by_user_and_by_what_became_of_them(shell: Shell) -> None:
    shell.says("user", "create", "alice")
    booked(shell, order(), order("T2", 2), paid("T2", 2, 1), order("T3"), paid("T3"))

    listed = [(row["trade"], row["status"]) for row in shell.records("topup", "list")]
    flagged = shell.records("topup", "list", "--status", "flagged")
    alices = shell.records("topup", "list", "--user", "alice")

    assert sorted(listed) == [("T1", "pending"), ("T2", "flagged"), ("T3", "success")]
    assert [(row["trade"], row["flagged"], row["flagged_money"]) for row in flagged] == [("T2", "amount", "0.01")]
    assert [row["trade"] for row in alices] == ["T2"]


def test_a_flagged_payment_is_credited_once_by_hand(shell: Shell) -> None:
    shell.says("user", "create", "alice")
    assert booked(shell, order("T2", 2), paid("T2", 2, 1)) == ["created", "flagged"]

    resolved = shell.record("topup", "resolve", "epay", "T2", "alice", "--reason", "looked at it")
    again = shell.record("topup", "resolve", "epay", "T2", "alice")

    assert (resolved["status"], resolved["credited_mills"], resolved["user"]) == ("success", 5_000, 2)
    assert again["credited_mills"] == 5_000
    assert shell.record("user", "show", "alice")["available_mills"] == 5_000
    assert shell.refuses("topup", "resolve", "epay", "T2", "alice", "7")[0] == 4
    assert shell.refuses("topup", "resolve", "epay", "T9", "alice", "7")[0] == 3


def test_money_without_an_order_needs_an_amount(shell: Shell) -> None:
    booked(shell, paid("LOST", 0))

    refused = shell.refuses("topup", "resolve", "epay", "LOST", "root")
    resolved = shell.record("topup", "resolve", "epay", "LOST", "root", "7")

    assert refused[0] == 2
    assert (resolved["credited_mills"], resolved["money"]) == (7_000, "7.30")


def test_a_credit_is_taken_back_once_for_a_key_and_never_beyond_it(shell: Shell) -> None:
    shell.says("user", "create", "alice")
    booked(shell, order("T1", 2), paid("T1", 2))

    _, part = (
        shell.record("topup", "reverse", "epay", "T1", "2", "--key", "case-7", "--reason", "chargeback")
        for _ in range(2)
    )
    rest = shell.record("topup", "reverse", "epay", "T1")

    assert (part["reversed_mills"], part["status"]) == (2_000, "success")
    assert (rest["reversed_mills"], rest["status"]) == (5_000, "reversed")
    assert shell.refuses("topup", "reverse", "epay", "T1", "1")[0] == 4
    assert shell.refuses("topup", "reverse", "epay", "T9")[0] == 3
    assert shell.record("user", "show", "alice")["available_mills"] == 0


def test_one_payment_is_shown_from_its_own_facts(shell: Shell) -> None:
    booked(shell, order(), paid())

    shown = shell.record("topup", "show", "epay", "T1")

    assert (shown["status"], shown["money"], shown["currency"], shown["method"]) == ("success", "7.30", "CNY", "alipay")
    assert shell.refuses("topup", "show", "epay", "T9")[0] == 3


def test_a_call_is_refunded_once_for_a_key_and_never_beyond_what_it_cost(shell: Shell) -> None:
    call = shell.charges()

    _, part = (
        shell.record("ledger", "refund", call, "10.5", "--key", "ticket-9", "--reason", "it was cut") for _ in range(2)
    )
    rest = shell.record("ledger", "refund", call)

    assert (part["refunded_mills"], part["left_mills"]) == (10_500, 23_500)
    assert (rest["refunded_mills"], rest["left_mills"]) == (23_500, 0)
    assert shell.record("user", "show", "root")["available_mills"] == 100_000_000_000
    assert shell.refuses("ledger", "refund", call, "1")[0] == 4
    assert shell.refuses("ledger", "refund", "0" * 32)[0] == 3
    assert shell.refuses("ledger", "refund", "abc")[0] == 2
    assert shell.record("ledger", "verify")["sound"] is True


def test_a_user_gets_credit_and_is_frozen_with_a_reason(shell: Shell) -> None:
    shell.says("user", "create", "alice")

    shell.says("user", "credit-limit", "alice", "2.5", "--reason", "invoiced")
    shell.says("user", "freeze", "alice", "--reason", "chargeback")
    frozen = shell.record("user", "show", "alice")
    shell.says("user", "unfreeze", "alice")

    assert (frozen["credit_limit_mills"], frozen["frozen"]) == (2_500, True)
    assert shell.record("user", "show", "alice")["frozen"] is False
    told = [line for line in shell.records("ledger", "tail") if line["topic"] == "user.frozen/1"]
    assert "chargeback" in str(told)
    assert shell.refuses("user", "freeze", "nobody")[0] == 3


def test_an_invited_user_is_made_with_the_code_of_the_link(shell: Shell) -> None:
    assert shell.refuses("user", "create", "bob", "--invite-code", "nobody0000")[0] == 2
