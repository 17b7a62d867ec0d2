"""A redemption code: a budget that pays out a fixed amount, at most once to each user, inside its dates and while it is enabled.

How often it can be used is its budget: a guarded account that may not go below nothing.
"""

from collections.abc import Iterable

import msgspec

from domain import accounts, commands, streams
from domain.accounts import MAX_ACCOUNT_MILLS, Posting
from domain.books import Books, Result, alive, credit_refused, too_large
from domain.commands import Append, Part, Register, VaultPut
from domain.events import (
    CodeChanged,
    CodeDeleted,
    CodeIssued,
    CodeRedeemed,
    CodeStatusChanged,
    CodeTerms,
    Fact,
    UserDeleted,
)
from domain.gifts import grant_rebate

ENABLED = 1
DISABLED = 2
LAST_SECOND = 253_402_300_799
"""The end of the year 9999."""


class GiftCode(msgspec.Struct, frozen=True, kw_only=True):
    """A code as the facts so far have left it. How often it was used is its budget's to say."""

    id: int
    digest: str
    secret: str
    terms: CodeTerms
    gift: bool = False
    max_uses: int | None = 1
    status: int = ENABLED
    created_at: int = 0
    deleted: bool = False


def after(code: GiftCode | None, fact: Fact) -> GiftCode | None:
    """The code once `fact` has happened; unchanged by facts that are not about codes."""
    match fact:
        case CodeIssued():
            return GiftCode(
                id=fact.id,
                digest=fact.digest,
                secret=fact.secret,
                terms=fact.terms,
                gift=fact.gift,
                max_uses=fact.max_uses,
                status=fact.status,
                created_at=fact.at,
            )
        case CodeChanged() if code:
            return msgspec.structs.replace(code, terms=fact.terms)
        case CodeStatusChanged() if code:
            return msgspec.structs.replace(code, status=fact.status)
        case CodeDeleted() if code:
            return msgspec.structs.replace(code, deleted=True)
    return code


def from_facts(facts: Iterable[Fact]) -> GiftCode | None:
    code: GiftCode | None = None
    for fact in facts:
        code = after(code, fact)
    return code


def issue(
    *,
    digest: str,
    secret: VaultPut,
    terms: CodeTerms,
    gift: bool = False,
    max_uses: int | None = 1,
    actor: int = 0,
    token: str = "",
) -> Register:
    """Issue a code. `digest` is the HMAC of its text, which no code ever had; `max_uses` None: no bound."""
    fact = CodeIssued(digest=digest, secret=secret.ref, terms=terms, gift=gift, max_uses=max_uses, actor=actor)
    return Register(kind="code", created=fact, claim=streams.code_text(digest), vault=(secret,), token=token)


def status_change(code_id: int, version: int, status: int, *, actor: int = 0) -> Append:
    fact = CodeStatusChanged(id=code_id, status=status, actor=actor)
    return Append(parts=(Part(streams.code(code_id), version, (fact,)),))


def funding(issued: CodeIssued, code_id: int) -> tuple[tuple[Posting, ...], tuple[tuple[str, int | None], ...]]:
    """(postings, floors) that give a new code its budget; one without a bound may go below nothing instead."""
    account = accounts.budget(code_id)
    if issued.max_uses is None:
        return (), ((account, None),)
    total = issued.max_uses * issued.terms.amount
    return ((account, total), (accounts.PROMO, -total)), ()


def issue_refused(issued: CodeIssued) -> Result | None:
    if issued.max_uses is not None and issued.max_uses < 1:
        return Result("invalid", why="a code has at least one use")
    if not issued.gift and issued.max_uses != 1:
        return Result("invalid", why="a code that is no gift has exactly one use")
    wrong = _wrong_terms(issued.terms)
    if wrong:
        return Result("invalid", why=wrong)
    total = (issued.max_uses or 1) * issued.terms.amount
    if total > MAX_ACCOUNT_MILLS:
        return Result(
            "too_large", needed=total, available=MAX_ACCOUNT_MILLS, why="a code's budget is at most 9e15 quota"
        )
    return None


def redeem(command: commands.RedeemCode, books: Books) -> Result:
    there = books.history(command.credited())
    if there:
        return Result("exists", there[0])
    code = from_facts(books.history(streams.code(command.code)))
    refused = _not_redeemable(code, books.now)
    if refused is not None:
        return refused
    assert code is not None, "a code that can be redeemed is there"
    if not alive(books, streams.user(command.user), UserDeleted):
        return Result("not_found", why=f"there is no user {command.user}")
    account, amount = accounts.budget(code.id), code.terms.amount
    left = books.spendable(account)
    if left < amount:
        return Result("insufficient", needed=amount, available=left, account=account, why="the code is used up")
    given = books.guard(account).balance - amount
    if given < -MAX_ACCOUNT_MILLS:
        return too_large(account, given)
    refused = credit_refused(books, command.user, amount)
    if refused is not None:
        return refused
    moved = ((account, -amount), (accounts.available(command.user), amount))
    fact = CodeRedeemed(at=books.now, code=code.id, user=command.user, amount=amount, postings=moved)
    books.record(command.credited(), fact)
    grant_rebate(command, books)
    return Result("created", fact)


def _not_redeemable(code: GiftCode | None, now_ms: int) -> Result | None:
    if code is None or code.deleted:
        return Result("not_found", why="there is no such code")
    if code.status != ENABLED:
        return Result("disabled", why="the code is disabled")
    now_s = now_ms // 1000
    if code.terms.valid_from and now_s < code.terms.valid_from:
        return Result("not_yet", why=f"the code is valid from {code.terms.valid_from}, it is {now_s} s")
    if code.terms.valid_until and now_s > code.terms.valid_until:
        return Result("over", why=f"the code was valid until {code.terms.valid_until}, it is {now_s} s")
    return None


def change(command: commands.ChangeCode, books: Books) -> Result:
    stream = streams.code(command.code)
    past = books.history(stream)
    code = from_facts(past)
    if code is None or code.deleted:
        return Result("not_found", why="there is no such code")
    if command.expected is not None and command.expected != len(past):
        return Result("conflict", why=f"somebody was faster: the stream is at {len(past)}, not {command.expected}")
    if code.terms == command.terms:
        return Result("unchanged")
    wrong = _wrong_terms(command.terms)
    if wrong:
        return Result("invalid", why=wrong)
    account = accounts.budget(code.id)
    left = books.guard(account).balance
    wanted = left if code.max_uses is None else left // code.terms.amount * command.terms.amount
    if wanted > MAX_ACCOUNT_MILLS:
        return too_large(account, wanted)
    delta = wanted - left
    fact = CodeChanged(
        at=books.now,
        id=code.id,
        terms=command.terms,
        delta=delta,
        actor=command.actor,
        postings=((account, delta), (accounts.PROMO, -delta)) if delta else (),
    )
    books.record(stream, fact)
    return Result("created", fact)


def delete(command: commands.DeleteCode, books: Books) -> Result:
    stream = streams.code(command.code)
    code = from_facts(books.history(stream))
    if code is None:
        return Result("not_found", why="there is no such code")
    if code.deleted:
        return Result("exists", books.history(stream)[-1])
    account = accounts.budget(code.id)
    rest = max(0, books.guard(account).balance)
    fact = CodeDeleted(
        at=books.now,
        id=code.id,
        rest=rest,
        actor=command.actor,
        postings=((account, -rest), (accounts.PROMO, rest)) if rest else (),
    )
    books.record(stream, fact)
    return Result("created", fact)


def _wrong_terms(terms: CodeTerms) -> str:
    if not 0 < terms.amount <= MAX_ACCOUNT_MILLS:
        return "a code gives between 1 mill and 9e15 quota"
    if min(terms.valid_from, terms.valid_until) < 0 or max(terms.valid_from, terms.valid_until) > LAST_SECOND:
        return "a date lies between 1970 and 9999"
    if terms.valid_from and terms.valid_until and terms.valid_from > terms.valid_until:
        return "a code ends after it begins"
    return ""
