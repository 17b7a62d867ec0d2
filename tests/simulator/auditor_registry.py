"""What an auditor expects of everything that has a name or a limit: people, keys, channels, codes, what they may spend."""

from __future__ import annotations

from collections.abc import Callable

from domain import commands, streams
from domain.commands import Command
from domain.events import (
    CodeIssued,
    CodeStatusChanged,
    CodeTerms,
    Fact,
    KeyCreated,
    UserCreated,
    UsernameClaimed,
    UsernameReleased,
)
from tests.simulator.auditor import (
    CREATED,
    EXISTS,
    INSUFFICIENT,
    INVALID,
    MOST,
    NOT_FOUND,
    NOT_YET,
    TOO_LARGE,
    UNCHANGED,
    YEAR_9999_S,
    Answer,
    Auditor,
    Code,
    Key,
    Person,
    found,
    stream_of,
)


def register(books: Auditor, command: commands.Register, now: int) -> Answer:
    token = ("register", command.kind, command.token)
    if command.token and token in books.once:
        number = books.once[token]
        assert isinstance(number, int), "a registration is remembered by its id"
        return Answer("exists", number)
    made = command.created
    if made.TOPIC not in {f"{command.kind}.created/1", f"{command.kind}.issued/1"}:
        return INVALID
    if command.claim and books.names.get(command.claim):
        return Answer("taken")
    refused = _wrong_kind(books, command)
    if refused:
        return refused
    inviter = made.inviter if isinstance(made, UserCreated) and books.lives(made.inviter) else 0
    first = command.grant + (command.invited_bonus if inviter else 0)
    amounts = (command.limit or 0, command.grant, command.invited_bonus, command.inviter_bonus, first)
    if min(amounts) < 0 or max(amounts) > MOST:
        return TOO_LARGE
    if inviter and books.balances[f"user:{inviter}:invite"] + command.inviter_bonus > MOST:
        return TOO_LARGE
    books.move("platform:sequence", f"seq:{command.kind}", 1)
    number = books.balances[f"seq:{command.kind}"]
    books.versions[stream_of(command.kind, number)] = 1
    if command.token:
        books.once[token] = number
    if command.claim:
        books.names[command.claim] = -1 if command.kind == "code" else number
        books.versions[command.claim] += 1
    _furnish(books, command, number, inviter)
    return Answer("created", number)


def _no_code(made: CodeIssued) -> Answer | None:
    uses = made.max_uses
    if (uses is not None and uses < 1) or (not made.gift and uses != 1) or not is_possible(made.terms):
        return INVALID
    return TOO_LARGE if (uses or 1) * made.terms.amount > MOST else None


def _wrong_kind(books: Auditor, command: commands.Register) -> Answer | None:
    made = command.created
    if command.grant and not isinstance(made, UserCreated):
        return INVALID
    if isinstance(made, KeyCreated):
        if not books.lives(made.user):
            return NOT_FOUND
        return INVALID if made.unlimited == (command.limit is not None) else None
    if command.limit is not None:
        return INVALID
    return _no_code(made) if isinstance(made, CodeIssued) else None


def _furnish(books: Auditor, command: commands.Register, number: int, inviter: int) -> None:
    made = command.created
    if isinstance(made, UserCreated):
        books.people[number] = Person()
        if command.grant:
            give(books, number, command.grant, command.grant_why, 0)
        if inviter and command.invited_bonus:
            give(books, number, command.invited_bonus, "invited", 0)
        if inviter and command.inviter_bonus:
            books.move("platform:promo", f"user:{inviter}:invite", command.inviter_bonus)
    elif isinstance(made, KeyCreated):
        books.keys[number] = Key(made.user, command.limit is None)
        books.move("platform:cap_grant", f"key:{number}:cap", command.limit or 0)
    elif isinstance(made, CodeIssued):
        books.codes[number] = Code(made.terms, made.max_uses, made.status)
        books.move("platform:promo", f"code:{number}:budget", (made.max_uses or 0) * made.terms.amount)


def append(books: Auditor, command: commands.Append, now: int) -> Answer:
    if command.claim and books.names.get(command.claim, 0) not in (0, command.user):
        return Answer("taken")
    for part in command.parts:
        kinds = {fact.TOPIC.split(".")[0] for fact in part.facts}
        if part.stream in books.gone or (
            not books.versions[part.stream] and kinds & {"user", "key", "channel", "code"}
        ):
            return NOT_FOUND
        freed = [fact.user for fact in part.facts if isinstance(fact, UsernameReleased)]
        if any(user != books.names.get(part.stream, 0) for user in freed):
            return Answer("conflict")
        if part.expected not in (None, books.versions[part.stream]):
            return Answer("conflict")
    for part in command.parts:
        for fact in part.facts:
            _note(books, part.stream, fact)
    return CREATED


def _note(books: Auditor, stream: str, fact: Fact) -> None:
    books.versions[stream] += 1
    kind, what = fact.TOPIC.split("/")[0].split(".")
    if isinstance(fact, UsernameClaimed | UsernameReleased):
        books.names[stream] = fact.user if isinstance(fact, UsernameClaimed) else 0
    elif isinstance(fact, CodeStatusChanged):
        books.codes[fact.id].status = fact.status
    elif what == "deleted":
        books.gone.add(stream)
        number: int = getattr(fact, "id", 0)
        if kind == "user":
            books.people[number].is_gone = True
        elif kind == "key":
            books.keys[number].is_gone = True


def limit_key(books: Auditor, command: commands.LimitKey, now: int) -> Answer:
    key, account = books.keys.get(command.key), f"key:{command.key}:cap"
    if key and command.command_key and command.command_key in key.changes:
        unlimited, target, delta = key.changes[command.command_key]
        if command.unlimited or unlimited:
            return found(unlimited, command.unlimited)
        return found((target, delta if target is None else 0), (command.target, command.delta if target is None else 0))
    if not key or key.is_gone:
        return NOT_FOUND
    left = books.balances[account]
    wanted = left + command.delta
    if command.unlimited:
        wanted = 0
    elif command.target is not None:
        wanted = left if not key.unlimited and left // 1000 == command.target // 1000 else command.target
    if wanted == left and key.unlimited == command.unlimited:
        return UNCHANGED
    if wanted < 0 or wanted + books.balances[f"key:{command.key}:cap_held"] > MOST:
        return INVALID
    books.move("platform:cap_grant", account, wanted - left)
    key.unlimited = command.unlimited
    key.changes[command.command_key] = (command.unlimited, None if command.unlimited else command.target, wanted - left)
    books.versions[stream_of("key", command.key)] += 1
    return CREATED


def credit_limit(books: Auditor, command: commands.SetCreditLimit, now: int) -> Answer:
    if not books.lives(command.user):
        return NOT_FOUND
    if command.limit < 0 or command.limit > MOST:
        return INVALID
    return _stand(books, command.user, books.people[command.user].frozen, command.limit)


def freeze(books: Auditor, command: commands.Freeze | commands.Unfreeze, now: int) -> Answer:
    if not books.lives(command.user):
        return NOT_FOUND
    return _stand(books, command.user, isinstance(command, commands.Freeze), books.people[command.user].credit)


def _stand(books: Auditor, user: int, frozen: bool, credit: int) -> Answer:
    person = books.people[user]
    if (person.frozen, person.credit) == (frozen, credit):
        return UNCHANGED
    person.frozen, person.credit = frozen, credit
    books.versions[stream_of("user", user)] += 1
    books.touched[f"user:{user}:available"] = None
    return CREATED


def redeem(books: Auditor, command: commands.RedeemCode, now: int) -> Answer:
    name, account = ("redeem", command.code, command.user), f"code:{command.code}:budget"
    if name in books.once:
        return EXISTS
    code = books.codes.get(command.code)
    if not code or code.is_gone:
        return NOT_FOUND
    if code.status != 1:
        return Answer("disabled")
    if code.terms.valid_from and now // 1000 < code.terms.valid_from:
        return NOT_YET
    if code.terms.valid_until and now // 1000 > code.terms.valid_until:
        return Answer("over")
    if not books.lives(command.user):
        return NOT_FOUND
    if books.room(account) < code.terms.amount:
        return INSUFFICIENT
    if books.balances[account] - code.terms.amount < -MOST or books.is_full(command.user, code.terms.amount):
        return TOO_LARGE
    books.once[name] = True
    books.move(account, f"user:{command.user}:available", code.terms.amount)
    rebate(books, command)
    return CREATED


def change_code(books: Auditor, command: commands.ChangeCode, now: int) -> Answer:
    code, stream, account = books.codes.get(command.code), streams.code(command.code), f"code:{command.code}:budget"
    if not code or code.is_gone:
        return NOT_FOUND
    if command.expected not in (None, books.versions[stream]):
        return Answer("conflict")
    if code.terms == command.terms:
        return UNCHANGED
    if not is_possible(command.terms):
        return INVALID
    if code.max_uses is not None:
        uses = books.balances[account] // code.terms.amount
        if uses * command.terms.amount > MOST:
            return TOO_LARGE
        books.move("platform:promo", account, uses * command.terms.amount - books.balances[account])
    code.terms = command.terms
    books.versions[stream] += 1
    return CREATED


def delete_code(books: Auditor, command: commands.DeleteCode, now: int) -> Answer:
    code, account = books.codes.get(command.code), f"code:{command.code}:budget"
    if not code:
        return NOT_FOUND
    if code.is_gone:
        return EXISTS
    code.is_gone = True
    books.versions[streams.code(command.code)] += 1
    books.gone.add(streams.code(command.code))
    books.move(account, "platform:promo", max(0, books.balances[account]))
    return CREATED


def give(books: Auditor, user: int, amount: int, why: str, actor: int) -> None:
    books.once["grant", user, why] = (amount, actor)
    books.move("platform:opening" if why == "opening" else "platform:promo", f"user:{user}:available", amount)


def no_credit(books: Auditor, user: int, amount: int) -> Answer | None:
    if not books.lives(user):
        return NOT_FOUND
    if amount <= 0:
        return INVALID
    return TOO_LARGE if books.is_full(user, amount) else None


def rebate(books: Auditor, command: commands.RedeemCode | commands.OnPayment) -> None:
    user, amount = command.inviter, command.rebate
    if amount > 0 and user != command.user and books.lives(user) and not books.is_full(user, amount):
        books.move("platform:promo", f"user:{user}:available", amount)


def is_possible(terms: CodeTerms) -> bool:
    ends_first = 0 < terms.valid_until < terms.valid_from
    dates = (terms.valid_from, terms.valid_until)
    return 0 < terms.amount <= MOST and min(dates) >= 0 and max(dates) <= YEAR_9999_S and not ends_first


REGISTRY_RULES: dict[type[Command], Callable[..., Answer]] = {
    commands.Register: register,
    commands.Append: append,
    commands.LimitKey: limit_key,
    commands.SetCreditLimit: credit_limit,
    commands.Freeze: freeze,
    commands.Unfreeze: freeze,
    commands.RedeemCode: redeem,
    commands.ChangeCode: change_code,
    commands.DeleteCode: delete_code,
}
