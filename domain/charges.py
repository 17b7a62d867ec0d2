"""A charge: held, perhaps extended, and ended exactly once.

Version 1 of a charge's stream holds, version 2 is its only end. What a hold moved goes back at the end, whatever its key or
user is by then; what the call cost is taken from it, and beyond it only what is spendable above the floors.
"""

from collections.abc import Sequence

from domain import accounts, commands, streams
from domain.accounts import FROZEN_FLOOR, MAX_ACCOUNT_MILLS, Posting
from domain.books import Books, Result, Status, same, too_large
from domain.errors import Broken
from domain.events import (
    ChargeExpired,
    ChargeExtended,
    ChargeHeld,
    ChargeReleased,
    ChargeSettled,
    ChargeSettledLate,
    Fact,
)


def hold(command: commands.Hold, books: Books) -> Result:
    past = books.history(command.charge)
    if past:
        return same(past[0], _held(command, past[0].at))
    if command.amount < 0:
        return Result("invalid", why="a hold is never negative")
    short = _short_of(command, command.amount, books)
    if short is not None:
        return short
    fact = _held(command, books.now)
    books.record(command.charge, fact)
    return Result("created", fact)


def extend(command: commands.Extend, books: Books) -> Result:
    stream = streams.extension(command.charge, command.n)
    parent = books.history(command.charge)
    if not parent:
        return Result("not_found", why=f"charge {command.charge} was never held")
    past = books.history(stream)
    if past:
        return same(past[0], _extended(command, past[0].at))
    if len(parent) > 1:
        return Result(_ended(parent[1]), parent[1])
    refused = _may_extend(command, parent[0], books)
    if refused is not None:
        return refused
    fact = _extended(command, books.now)
    books.record(stream, fact)
    return Result("created", fact)


def _may_extend(command: commands.Extend, first: Fact, books: Books) -> Result | None:
    if not isinstance(first, ChargeHeld):
        raise Broken(f"stream {command.charge} does not begin with a hold")
    if not _same_payer(first, command):
        return Result("invalid", first, why="another payer holds this charge")
    if command.amount <= 0:
        return Result("invalid", why="an extension adds something")
    follows = command.n == 1 or (command.n > 1 and books.history(streams.extension(command.charge, command.n - 1)))
    if not follows:
        return Result("stale", first, why=f"extension {command.n} does not follow the last one")
    return _short_of(command, command.amount, books)


def settle(command: commands.Settle, books: Books) -> Result:
    if not 0 <= command.cost <= MAX_ACCOUNT_MILLS:
        return Result("invalid", why=f"a cost lies between 0 and {MAX_ACCOUNT_MILLS} mills", needed=command.cost)
    past = books.history(command.charge)
    if len(past) > 1 and isinstance(past[1], ChargeExpired):
        return _settle_late(command, books, past)
    opened = _open_hold(command, books)
    if isinstance(opened, Result):
        return _settled_again(command, opened)
    paid = _affordable(command, command.cost, opened, books)
    fact = ChargeSettled(
        at=books.now,
        user=command.user,
        key=command.key,
        capped=command.capped,
        model=command.model,
        group=command.group,
        price=command.price,
        usage=command.usage,
        cost=command.cost,
        paid=paid,
        written_off=command.cost - paid,
        held=opened,
        ended_by=command.ended_by,
        basis=command.basis,
        endpoint=command.endpoint,
        stream=command.stream,
        channel=command.channel,
        upstream_model=command.upstream_model,
        upstream_request_id=command.upstream_request_id,
        client_request_id=command.client_request_id,
        first_byte_ms=command.first_byte_ms,
        duration_ms=command.duration_ms,
        attempts=command.attempts,
        postings=_ending_postings(command, opened, paid, command.cost - paid),
    )
    books.record(command.charge, fact)
    return Result("created", fact)


def release(command: commands.Release, books: Books) -> Result:
    opened = _open_hold(command, books)
    if isinstance(opened, Result):
        if isinstance(opened.fact, ChargeReleased):
            return Result("exists", opened.fact)
        return opened
    fact = ChargeReleased(
        at=books.now,
        user=command.user,
        key=command.key,
        capped=command.capped,
        model=command.model,
        held=opened,
        why=command.why,
        endpoint=command.endpoint,
        status=command.status,
        attempts=command.attempts,
        duration_ms=command.duration_ms,
        postings=_ending_postings(command, opened, 0, 0),
    )
    books.record(command.charge, fact)
    return Result("created", fact)


def expire(command: commands.Expire, books: Books) -> Result:
    opened = _open_hold(command, books)
    if isinstance(opened, Result):
        if isinstance(opened.fact, ChargeExpired):
            return Result("exists", opened.fact)
        return opened
    first = books.history(command.charge)[0]
    assert isinstance(first, ChargeHeld), "an open charge begins with its hold"
    if not command.dead_epoch and books.now < first.deadline:
        return Result("not_yet", first, why=f"the hold runs until {first.deadline} ms, it is {books.now} ms")
    fact = ChargeExpired(
        at=books.now,
        user=command.user,
        key=command.key,
        capped=command.capped,
        held=opened,
        node=command.node,
        why="dead_epoch" if command.dead_epoch else "deadline",
        postings=_ending_postings(command, opened, 0, 0),
    )
    books.record(command.charge, fact)
    return Result("created", fact)


def _held(command: commands.Hold, at: int) -> ChargeHeld:
    return ChargeHeld(
        at=at,
        user=command.user,
        key=command.key,
        capped=command.capped,
        model=command.model,
        group=command.group,
        prices=command.prices,
        amount=command.amount,
        input_bound=command.input_bound,
        output_bound=command.output_bound,
        endpoint=command.endpoint,
        stream=command.stream,
        node=command.node,
        epoch=command.epoch,
        deadline=at + command.ttl_ms,
        client_request_id=command.client_request_id,
        postings=_held_postings(command, command.amount),
    )


def _extended(command: commands.Extend, at: int) -> ChargeExtended:
    return ChargeExtended(
        at=at,
        charge=command.charge,
        n=command.n,
        user=command.user,
        key=command.key,
        capped=command.capped,
        amount=command.amount,
        postings=_held_postings(command, command.amount),
    )


def _held_postings(command: commands.OnCharge, amount: int) -> tuple[Posting, ...]:
    user = command.user
    moved = ((accounts.available(user), -amount), (accounts.held(user), amount))
    if not command.capped:
        return moved
    return (*moved, (accounts.cap(command.key), -amount), (accounts.cap_held(command.key), amount))


def _ending_postings(command: commands.OnCharge, held: int, paid: int, written_off: int) -> tuple[Posting, ...]:
    """Everything held goes back, what is paid goes to revenue, what nobody pays is written off against it."""
    user = command.user
    moved: list[Posting] = [(accounts.held(user), -held), (accounts.available(user), held - paid)]
    if paid + written_off:
        moved.append((accounts.REVENUE, paid + written_off))
    if written_off:
        moved.append((accounts.WRITEOFF, -written_off))
    if command.capped:
        moved += [(accounts.cap_held(command.key), -held), (accounts.cap(command.key), held - paid)]
        if paid:
            moved.append((accounts.cap_spent(command.key), paid))
    return tuple([posting for posting in moved if posting[1]])


def _short_of(command: commands.OnCharge, amount: int, books: Books) -> Result | None:
    available = accounts.available(command.user)
    for account in (available, accounts.cap(command.key)) if command.capped else (available,):
        there = books.spendable(account)
        if there < amount or there < 0:
            if books.guard(account).floor == FROZEN_FLOOR:
                return Result("frozen", needed=amount, account=account, why="the account is frozen")
            return Result("insufficient", needed=amount, available=there, account=account)
    held = accounts.held(command.user)
    total = books.guard(held).balance + amount
    return too_large(held, total) if total > MAX_ACCOUNT_MILLS else None


def _affordable(command: commands.OnCharge, cost: int, held: int, books: Books) -> int:
    """What is paid: up to what was held from the hold, beyond it only what is spendable above the floors."""
    if cost <= held:
        return cost
    rest = min(cost - held, max(0, books.spendable(accounts.available(command.user))))
    if command.capped:
        rest = min(rest, max(0, books.spendable(accounts.cap(command.key))))
    return held + rest


def _open_hold(command: commands.EndCharge, books: Books) -> int | Result:
    """Mills held by an open charge, extensions included; or the result that says why it is not open."""
    past = books.history(command.charge)
    if not past:
        return Result("not_found", why=f"charge {command.charge} was never held")
    if len(past) > 1:
        return Result(_ended(past[1]), past[1])
    first = past[0]
    if not isinstance(first, ChargeHeld):
        raise Broken(f"stream {command.charge} does not begin with a hold")
    if not _same_payer(first, command):
        return Result("invalid", first, why="another payer holds this charge")
    if command.extensions < 0:
        return Result("stale", first, why="no charge has fewer than no extensions")
    total = first.amount
    if not (command.extensions or books.has_extensions):
        return total
    for n in range(1, command.extensions + 2):
        more = books.history(streams.extension(command.charge, n))
        if bool(more) != (n <= command.extensions):
            return Result("stale", first, why=f"the charge has other extensions than {command.extensions}")
        if more and isinstance(more[0], ChargeExtended):
            total += more[0].amount
    return total


def _settle_late(command: commands.Settle, books: Books, past: Sequence[Fact]) -> Result:
    for fact in past[2:]:
        if isinstance(fact, ChargeSettledLate):
            return Result("exists" if _same_end(command, fact) else "exists_with_different", fact)
    first = past[0]
    assert isinstance(first, ChargeHeld), "an expired charge begins with its hold"
    if not _same_payer(first, command):
        return Result("invalid", first, why="another payer held this charge")
    paid = _affordable(command, command.cost, 0, books)
    fact = ChargeSettledLate(
        at=books.now,
        command_key="late",
        user=command.user,
        key=command.key,
        capped=command.capped,
        model=command.model,
        group=command.group,
        price=command.price,
        usage=command.usage,
        cost=command.cost,
        paid=paid,
        written_off=command.cost - paid,
        ended_by=command.ended_by,
        basis=command.basis,
        endpoint=command.endpoint,
        stream=command.stream,
        channel=command.channel,
        upstream_model=command.upstream_model,
        upstream_request_id=command.upstream_request_id,
        postings=_ending_postings(command, 0, paid, command.cost - paid),
    )
    books.record(command.charge, fact)
    return Result("created", fact)


def _settled_again(command: commands.Settle, refused: Result) -> Result:
    if isinstance(refused.fact, ChargeSettled):
        return Result("exists" if _same_end(command, refused.fact) else "exists_with_different", refused.fact)
    return refused


def is_billed(command: commands.Settle, books: Books) -> bool:
    """True when the charge was settled, in time or late, by this very bill."""
    bill = bill_of(books.history(command.charge))
    return bill is not None and _same_end(command, bill)


def bill_of(past: Sequence[Fact]) -> ChargeSettled | ChargeSettledLate | None:
    """What a charge paid; it does so once. None while it has paid nothing."""
    return next((fact for fact in past if isinstance(fact, ChargeSettled | ChargeSettledLate)), None)


def _same_end(command: commands.Settle, fact: ChargeSettled | ChargeSettledLate) -> bool:
    asked, there = (command.cost, command.usage, command.price), (fact.cost, fact.usage, fact.price)
    return asked == there and _same_payer(command, fact)


def _same_payer(
    command: commands.OnCharge | ChargeHeld, fact: commands.OnCharge | ChargeHeld | ChargeSettled | ChargeSettledLate
) -> bool:
    return command.user == fact.user and command.key == fact.key and command.capped == fact.capped


def _ended(fact: Fact) -> Status:
    if isinstance(fact, ChargeSettled):
        return "already_settled"
    if isinstance(fact, ChargeReleased):
        return "already_released"
    if isinstance(fact, ChargeExpired):
        return "already_expired"
    raise Broken(f"a charge cannot end with {fact.TOPIC}")
