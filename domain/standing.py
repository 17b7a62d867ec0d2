"""How low a user's balance may go: the credit limit, and the freeze that leaves nothing to spend.

Both are floors of one account, so that a hold needs to read nothing more.
"""

from collections.abc import Sequence

from domain import accounts, commands, streams
from domain.accounts import FROZEN_FLOOR, MAX_ACCOUNT_MILLS
from domain.books import Books, Result, alive
from domain.events import Fact, UserCreditLimitChanged, UserDeleted, UserFrozen, UserUnfrozen


def set_credit_limit(command: commands.SetCreditLimit, books: Books) -> Result:
    stream = streams.user(command.user)
    if not alive(books, stream, UserDeleted):
        return Result("not_found", why=f"there is no user {command.user}")
    if not 0 <= command.limit <= MAX_ACCOUNT_MILLS:
        return Result("invalid", why="a credit limit lies between 0 and 9e15 quota", needed=command.limit)
    past = books.history(stream)
    if credit_limit(past) == command.limit:
        return Result("unchanged")
    floor = FROZEN_FLOOR if is_frozen(past) else -command.limit
    fact = UserCreditLimitChanged(
        at=books.now,
        id=command.user,
        limit=command.limit,
        reason=command.reason,
        actor=command.actor,
        floors=((accounts.available(command.user), floor),),
    )
    books.record(stream, fact)
    return Result("created", fact)


def freeze(command: commands.Freeze, books: Books) -> Result:
    return _freeze(command, books, frozen=True)


def unfreeze(command: commands.Unfreeze, books: Books) -> Result:
    return _freeze(command, books, frozen=False)


def _freeze(command: commands.OnStanding, books: Books, *, frozen: bool) -> Result:
    stream = streams.user(command.user)
    if not alive(books, stream, UserDeleted):
        return Result("not_found", why=f"there is no user {command.user}")
    past = books.history(stream)
    if is_frozen(past) == frozen:
        return Result("unchanged")
    floor = FROZEN_FLOOR if frozen else -credit_limit(past)
    fact = (UserFrozen if frozen else UserUnfrozen)(
        at=books.now,
        id=command.user,
        reason=command.reason,
        actor=command.actor,
        floors=((accounts.available(command.user), floor),),
    )
    books.record(stream, fact)
    return Result("created", fact)


def credit_limit(past: Sequence[Fact]) -> int:
    """Mills that a user may spend below nothing, by the facts of the user's stream."""
    return next((fact.limit for fact in reversed(past) if isinstance(fact, UserCreditLimitChanged)), 0)


def is_frozen(past: Sequence[Fact]) -> bool:
    last = next((fact for fact in reversed(past) if isinstance(fact, UserFrozen | UserUnfrozen)), None)
    return isinstance(last, UserFrozen)
