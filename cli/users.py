"""`veloera user`: who may log in and spend, and what they have."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli import output
from cli.failures import Misused, Refused
from cli.finding import balance_mills, profile_of, user_named
from cli.kinds import QUOTA, QUOTA_DELTA
from cli.opening import carried_out, caught_up, opened
from cli.output import answer, example, json_option, listing, quota
from domain import accounts, user
from domain.user import Role, Status, User

if TYPE_CHECKING:
    from api.compose import Books
    from projections.readmodel import UserRow

ROLES = {Role.USER: "user", Role.ADMIN: "admin", Role.ROOT: "root"}
STATUSES = {Status.ENABLED: "enabled", Status.DISABLED: "disabled"}


@click.group(name="user")
def users() -> None:
    """Users: list, create, give quota to, switch off.

    USER is an id or a username.
    """


@users.command(name="list", epilog=example("veloera user list", "veloera user list --keyword alice --json"))
@click.option("--keyword", default="", help="Part of the username, e-mail or display name.")
@click.option("--group", default="", help="Only users of this group.")
@click.option("--page", default=1, type=click.IntRange(1), show_default=True)
@click.option("--size", default=100, type=click.IntRange(1, 1000), show_default=True, help="Users on a page.")
@json_option
def list_users(keyword: str, group: str, page: int, size: int, *, as_json: bool) -> None:
    """List users, the newest first, deleted ones too."""
    with opened() as books:
        caught_up(books)
        found = books.read.page_users(page=page, size=size, keyword=keyword, group=group)
        records = [_of_row(books, row) for row in found.items]
    columns = (
        "id",
        "username",
        "role",
        "status",
        "group",
        "available_mills",
        "held_mills",
        "used_mills",
        "request_count",
    )
    listing(records, columns, as_json=as_json)


@users.command(epilog=example("veloera user show alice"))
@click.argument("named", metavar="USER")
@json_option
def show(named: str, *, as_json: bool) -> None:
    """Show one user."""
    with opened() as books:
        found, _ = user_named(books, named)
        caught_up(books)
        record = _of_user(books, found)
        row = books.read.user(found.id)
        record |= {"used_mills": row.used_mills, "request_count": row.request_count} if row else {}
    output.show(record, as_json=as_json)


@users.command(
    epilog=example("veloera user create alice --quota 500000", "veloera user create bob --role admin --json")
)
@click.argument("username")
@click.option("--password", help="At least 8 characters. Without it one is made and shown once.")
@click.option("--display-name", default="", help="As which the console greets them.")
@click.option("--group", default="default", show_default=True)
@click.option("--role", type=click.Choice(["user", "admin"]), default="user", show_default=True)
@click.option("--quota", "grant", type=QUOTA, help="What they start with. [default: the setting QuotaForNewUser]")
@click.option("--invite-code", default="", help="Of the invite link that brought them; both get what the site gives.")
@json_option
def create(
    username: str,
    password: str | None,
    display_name: str,
    group: str,
    role: str,
    grant: int | None,
    invite_code: str,
    *,
    as_json: bool,
) -> None:
    """Create a user."""
    from api.admin import names, passwords
    from api.admin.invites import welcome
    from api.bootstrap import PASSWORD_CHARACTERS, new_text, profile_put
    from cli.settings import stored
    from domain.units import mills

    names.check_username(username)
    names.check_display_name(display_name)
    names.check_group(group)
    made = passwords.check(password) if password is not None else new_text(PASSWORD_CHARACTERS)
    with opened() as books:
        settings = stored(books, ["QuotaForNewUser", "QuotaForInvitee", "QuotaForInviter"]).settings
        opening = mills(settings.int("QuotaForNewUser")) if grant is None else grant
        welcomed = welcome(books, settings, invite_code)
        command = user.creation(
            claim=books.vault.digest("username", username),
            profile=profile_put(books.vault, username, display_name),
            password=books.vault.put(passwords.hashed(made)),
            role=Role.ADMIN if role == "admin" else Role.USER,
            group=group,
            grant_mills=opening,
            inviter=welcomed.inviter,
            invited_bonus_mills=welcomed.invited_mills,
            inviter_bonus_mills=welcomed.inviter_mills,
        )
        result = carried_out(books, lambda: command)
        found, _ = user_named(books, str(result.id))
        record = _of_user(books, found)
    if password is None:
        record["password"] = made
    output.show(record, as_json=as_json)


@users.command(
    epilog=example("veloera user set-quota alice 500000", "veloera user set-quota alice --by -1000 --reason refund")
)
@click.argument("named", metavar="USER")
@click.argument("target", metavar="[QUOTA]", type=QUOTA_DELTA, required=False)
@click.option("--by", "delta", type=QUOTA_DELTA, help="Change what is available by so much, instead of setting it.")
@click.option("--reason", default="", help="Kept with the fact.")
@json_option
def set_quota(named: str, target: int | None, delta: int | None, reason: str, *, as_json: bool) -> None:
    """Correct what a user has available.

    What is spent meanwhile stays spent: the correction is the difference to what was there when the command looked.
    """
    from uuid import uuid4

    from domain.commands import Adjust

    if (target is None) == (delta is None):
        raise Misused("name either QUOTA, what shall be available, or --by, the difference")
    with opened() as books:
        found, _ = user_named(books, named)
        seen = balance_mills(books.store, accounts.available(found.id))
        change = delta if delta is not None else (target or 0) - seen
        command = Adjust(command_key=uuid4().hex, user=found.id, delta=change, reason=reason)
        carried_out(books, lambda: command)
        after = balance_mills(books.store, accounts.available(found.id))
    record = {"id": found.id, "delta_mills": change, "before_mills": seen, "available_mills": after}
    answer(record, f"User {found.id} has {quota(after)} quota available, changed by {quota(change)}.", as_json=as_json)


@users.command(epilog=example("veloera user grant alice 10000 --why spring-2026"))
@click.argument("named", metavar="USER")
@click.argument("amount", metavar="QUOTA", type=QUOTA)
@click.option("--why", default="", help="Given once to a user for one reason, however often it is asked.")
@json_option
def grant(named: str, amount: int, why: str, *, as_json: bool) -> None:
    """Give a user quota from the platform.

    With --why a second grant for the same reason changes nothing, so the command may be repeated safely.
    """
    from uuid import uuid4

    from domain.commands import Grant

    reason = why or f"cli:{uuid4().hex}"
    with opened() as books:
        found, _ = user_named(books, named)
        command = Grant(user=found.id, amount=amount, why=reason)
        result = books.writer.submit_blocking(command)
        if result.status == "exists_with_different":
            raise Refused(f"user {found.id} was given another amount for {reason!r} already; choose another --why")
        result = carried_out(books, lambda: command)
        after = balance_mills(books.store, accounts.available(found.id))
    record = {"id": found.id, "granted_mills": amount, "why": reason, "available_mills": after}
    answer(record, f"User {found.id} was given {quota(amount)} quota and has {quota(after)}.", as_json=as_json)


@users.command(epilog=example("veloera user credit-limit alice 100000 --reason 'pays by invoice'"))
@click.argument("named", metavar="USER")
@click.argument("limit", metavar="QUOTA", type=QUOTA)
@click.option("--reason", default="", help="Kept with the fact.")
@json_option
def credit_limit(named: str, limit: int, reason: str, *, as_json: bool) -> None:
    """Let a user spend so far below nothing; 0 is prepaid. Written as user.credit_limit_changed."""
    from domain.commands import SetCreditLimit

    with opened() as books:
        found, _ = user_named(books, named)
        command = SetCreditLimit(user=found.id, limit=limit, reason=reason)
        carried_out(books, lambda: command)
    record = {"id": found.id, "credit_limit_mills": limit}
    answer(record, f"User {found.id} may spend {quota(limit)} quota below nothing.", as_json=as_json)


@users.command(epilog=example("veloera user freeze alice --reason chargeback"))
@click.argument("named", metavar="USER")
@click.option("--reason", default="", help="Kept with the fact.")
@json_option
def freeze(named: str, reason: str, *, as_json: bool) -> None:
    """Let nothing new be spent. What is open settles, credits still arrive. Written as user.frozen."""
    from domain.commands import Freeze

    with opened() as books:
        found, _ = user_named(books, named)
        command = Freeze(user=found.id, reason=reason)
        carried_out(books, lambda: command)
    answer({"id": found.id, "frozen": True}, f"User {found.id} spends nothing new.", as_json=as_json)


@users.command(epilog=example("veloera user unfreeze alice --reason paid"))
@click.argument("named", metavar="USER")
@click.option("--reason", default="", help="Kept with the fact.")
@json_option
def unfreeze(named: str, reason: str, *, as_json: bool) -> None:
    """Let a frozen user spend again, down to their credit limit. Written as user.unfrozen."""
    from domain.commands import Unfreeze

    with opened() as books:
        found, _ = user_named(books, named)
        command = Unfreeze(user=found.id, reason=reason)
        carried_out(books, lambda: command)
    answer({"id": found.id, "frozen": False}, f"User {found.id} may spend again.", as_json=as_json)


@users.command(epilog=example("veloera user disable alice"))
@click.argument("named", metavar="USER")
@json_option
def disable(named: str, *, as_json: bool) -> None:
    """Switch a user off: they may neither log in nor spend."""
    _switch(named, Status.DISABLED, as_json=as_json)


@users.command(epilog=example("veloera user enable alice"))
@click.argument("named", metavar="USER")
@json_option
def enable(named: str, *, as_json: bool) -> None:
    """Switch a user on again."""
    _switch(named, Status.ENABLED, as_json=as_json)


@users.command(epilog=example("veloera user password root"))
@click.argument("named", metavar="USER")
@click.option("--password", help="At least 8 characters. Without it one is made and shown once.")
@json_option
def password(named: str, password: str | None, *, as_json: bool) -> None:
    """Set a new password: also the way in when the root password is lost."""
    from api.admin import passwords
    from api.bootstrap import PASSWORD_CHARACTERS, new_text

    made = passwords.check(password) if password is not None else new_text(PASSWORD_CHARACTERS)
    with opened() as books:
        found, _ = user_named(books, named)
        sealed = books.vault.put(passwords.hashed(made))
        carried_out(books, lambda: user.password_change(user_named(books, str(found.id))[0], password=sealed))
    shown = {} if password is not None else {"password": made}
    text = f"The password of user {found.id} is {made}" if shown else f"The password of user {found.id} was changed."
    answer({"id": found.id, **shown}, text, as_json=as_json)


def _switch(named: str, status: Status, *, as_json: bool) -> None:
    with opened() as books:
        found, _ = user_named(books, named)
        if found.role >= Role.ROOT and status != Status.ENABLED:
            raise Refused("the root account cannot be switched off: nobody could switch it on again")
        if found.status != status:
            carried_out(books, lambda: user.standing_change(*user_named(books, str(found.id)), status=status))
    record = {"id": found.id, "status": STATUSES[status]}
    answer(record, f"User {found.id} is {STATUSES[status]}.", as_json=as_json)


def _of_row(books: Books, row: UserRow) -> dict[str, object]:
    return {
        "id": row.id,
        "username": row.username,
        "display_name": row.display_name,
        "email": row.email,
        "role": _named(ROLES, row.role),
        "status": _named(STATUSES, row.status) if row.deleted_at is None else "deleted",
        "group": row.group,
        "created_at_ms": row.created_at,
        "available_mills": balance_mills(books.store, accounts.available(row.id)),
        "held_mills": balance_mills(books.store, accounts.held(row.id)),
        "used_mills": row.used_mills,
        "request_count": row.request_count,
    }


def _of_user(books: Books, found: User) -> dict[str, object]:
    person = profile_of(books, found)
    return {
        "id": found.id,
        **person._asdict(),
        "role": _named(ROLES, found.role),
        "status": _named(STATUSES, found.status),
        "group": found.group,
        "created_at_ms": found.created_at,
        "available_mills": balance_mills(books.store, accounts.available(found.id)),
        "held_mills": balance_mills(books.store, accounts.held(found.id)),
        "invite_mills": balance_mills(books.store, accounts.invite(found.id)),
        "credit_limit_mills": found.credit_limit,
        "frozen": found.frozen,
    }


def _named(names: dict[Role, str] | dict[Status, str], number: int) -> str:
    return {int(known): name for known, name in names.items()}.get(number, str(number))
