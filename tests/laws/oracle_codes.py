"""The oracle's rules of a redemption code: a fixed amount, once for each user, as often as it has uses."""

from __future__ import annotations

from domain import commands, streams
from domain.events import CodeIssued, CodeTerms
from tests.laws.oracle_quota import rebate
from tests.laws.oracle_state import LIMIT, Answer, Code, State, too_large

YEAR_10000 = 253_402_300_800


def may_be_issued(issued: CodeIssued) -> Answer | None:
    """Why not; None when it may."""
    if issued.max_uses is not None and issued.max_uses < 1:
        return Answer("invalid")
    if not issued.gift and issued.max_uses != 1:
        return Answer("invalid")
    if not _are_possible(issued.terms):
        return Answer("invalid")
    return Answer("too_large") if issued.terms.amount * (issued.max_uses or 1) > LIMIT else None


def issue(state: State, number: int, issued: CodeIssued) -> None:
    state.codes[number] = Code(issued.terms, issued.max_uses, enabled=issued.status == 1)
    if issued.max_uses is not None:
        state.move("platform:promo", _budget(number), issued.max_uses * issued.terms.amount)


def redeem(state: State, command: commands.RedeemCode, now: int) -> Answer:
    if (command.code, command.user) in state.redeemed:
        return Answer("exists")
    code = state.codes.get(command.code)
    if code is None or code.deleted:
        return Answer("not_found")
    if not code.enabled:
        return Answer("disabled")
    if now < code.terms.valid_from * 1000:
        return Answer("not_yet")
    if code.terms.valid_until and now >= (code.terms.valid_until + 1) * 1000:
        return Answer("over")
    if not state.is_alive("user", command.user):
        return Answer("not_found")
    amount, budget = code.terms.amount, _budget(command.code)
    if code.left == 0:
        return Answer("insufficient", needed=amount, account=budget)
    if code.left is None and code.given + amount > LIMIT:
        return too_large(budget, -code.given - amount)
    full = state.full(command.user, amount)
    if full is not None:
        return full
    state.move(budget, f"user:{command.user}:available", amount)
    state.redeemed.add((command.code, command.user))
    code.given += amount
    code.left = None if code.left is None else code.left - 1
    rebate(state, command)
    return Answer("created")


def change(state: State, command: commands.ChangeCode, now: int) -> Answer:
    code = state.codes.get(command.code)
    if code is None or code.deleted:
        return Answer("not_found")
    if command.expected is not None and command.expected != state.versions[streams.code(command.code)]:
        return Answer("conflict")
    if command.terms == code.terms:
        return Answer("unchanged")
    if not _are_possible(command.terms):
        return Answer("invalid")
    budget, uses = _budget(command.code), code.left or 0
    if uses * command.terms.amount > LIMIT:
        return too_large(budget, uses * command.terms.amount)
    state.move("platform:promo", budget, uses * (command.terms.amount - code.terms.amount))
    code.terms = command.terms
    state.noted("code", command.code)
    return Answer("created")


def delete(state: State, command: commands.DeleteCode, now: int) -> Answer:
    code = state.codes.get(command.code)
    if code is None:
        return Answer("not_found")
    if code.deleted:
        return Answer("exists")
    state.move(_budget(command.code), "platform:promo", (code.left or 0) * code.terms.amount)
    code.deleted, code.left = True, 0
    state.noted("code", command.code)
    state.gone.add(streams.code(command.code))
    return Answer("created")


def _budget(number: int) -> str:
    return f"code:{number}:budget"


def _are_possible(terms: CodeTerms) -> bool:
    if not 1 <= terms.amount <= LIMIT:
        return False
    starts, ends = terms.valid_from, terms.valid_until
    if not 0 <= starts < YEAR_10000 or not 0 <= ends < YEAR_10000:
        return False
    return not ends or starts <= ends
