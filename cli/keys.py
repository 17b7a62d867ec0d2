"""`veloera key`: what programs spend a user's quota with."""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import ip_network
from time import time
from typing import TYPE_CHECKING

import click

from cli import output
from cli.failures import Misused
from cli.finding import balance_mills, key_with_id, left_mills, user_named
from cli.kinds import NAMES, QUOTA, QUOTA_DELTA
from cli.opening import carried_out, caught_up, opened
from cli.output import answer, example, json_option, listing, quota
from domain import accounts, api_key
from domain.api_key import ApiKey, Status

if TYPE_CHECKING:
    from api.compose import Books

STATUSES = {
    Status.ENABLED: "enabled",
    Status.DISABLED: "disabled",
    Status.EXPIRED: "expired",
    Status.EXHAUSTED: "exhausted",
}

NEVER = -1


@click.group(name="key")
def keys() -> None:
    """API keys: list, create, limit, switch off.

    USER is an id or a username, KEY the id of a key.
    """


@keys.command(name="list", epilog=example("veloera key list alice"))
@click.argument("named", metavar="USER")
@click.option("--page", default=1, type=click.IntRange(1), show_default=True)
@click.option("--size", default=100, type=click.IntRange(1, 1000), show_default=True, help="Keys on a page.")
@json_option
def list_keys(named: str, page: int, size: int, *, as_json: bool) -> None:
    """List the keys of a user, the newest first."""
    with opened() as books:
        found, _ = user_named(books, named)
        caught_up(books)
        rows = books.read.page_keys(found.id, page0=page - 1, size=size)
        records = [_record(books, key_with_id(books, row.id)[0]) | {"used_mills": row.used_mills} for row in rows]
    columns = ("id", "name", "status", "left_mills", "used_mills", "expires_ms", "group", "models")
    listing(records, columns, as_json=as_json)


@keys.command(
    epilog=example(
        "veloera key create alice --name laptop", "veloera key create alice --limit 1000 --models gpt-4o --json"
    )
)
@click.argument("named", metavar="USER")
@click.option("--name", default="", help="What its owner calls it.")
@click.option("--limit", type=QUOTA, help="What it may spend. [default: no limit]")
@click.option("--expires", type=click.DateTime(), help="Until when it works, in UTC. [default: for ever]")
@click.option("--models", type=NAMES, default=(), help="Models it may call, with commas between. [default: all]")
@click.option("--ips", type=NAMES, default=(), help="Addresses or networks it may be used from. [default: all]")
@click.option("--group", default="", help="Whose channels and prices count. [default: its user's]")
@json_option
def create(
    named: str,
    name: str,
    limit: int | None,
    expires: datetime | None,
    models: tuple[str, ...],
    ips: tuple[str, ...],
    group: str,
    *,
    as_json: bool,
) -> None:
    """Make a key for a user, and show its text."""
    from api.bootstrap import KEY_CHARACTERS, KEY_PREFIX, new_text
    from domain.events import KeyTerms

    terms = KeyTerms(
        name=name,
        expires_at=_seconds(expires),
        model_limits_enabled=bool(models),
        model_limits=models,
        allow_ips=_networks(ips),
        group=group,
    )
    with opened() as books:
        owner, _ = user_named(books, named)
        text = new_text(KEY_CHARACTERS)
        command = api_key.creation(
            user=owner.id,
            digest=books.vault.digest("key", text),
            secret=books.vault.put(text),
            terms=terms,
            limit_mills=limit,
        )
        result = carried_out(books, lambda: command)
        record = _record(books, key_with_id(books, result.id)[0]) | {"key": KEY_PREFIX + text}
    output.show(record, as_json=as_json)


@keys.command(epilog=example("veloera key show 7", "veloera key show 7 --reveal"))
@click.argument("key_id", metavar="KEY", type=int)
@click.option("--reveal", is_flag=True, help="Show its text, too.")
@json_option
def show(key_id: int, *, reveal: bool, as_json: bool) -> None:
    """Show one key."""
    from api.bootstrap import KEY_PREFIX

    with opened() as books:
        found, _ = key_with_id(books, key_id)
        record = _record(books, found)
        caught_up(books)
        row = books.read.key(key_id)
        record["used_mills"] = row.used_mills if row else 0
        if reveal:
            record["key"] = KEY_PREFIX + books.vault.text(found.secret)
    output.show(record, as_json=as_json)


@keys.command(epilog=example("veloera key limit 7 1000", "veloera key limit 7 --by 500", "veloera key limit 7 --none"))
@click.argument("key_id", metavar="KEY", type=int)
@click.argument("target", metavar="[QUOTA]", type=QUOTA, required=False)
@click.option("--by", "delta", type=QUOTA_DELTA, help="Change what it may still spend by so much.")
@click.option("--none", "unlimited", is_flag=True, help="Take the limit away.")
@json_option
def limit(key_id: int, target: int | None, delta: int | None, *, unlimited: bool, as_json: bool) -> None:
    """Set what a key may still spend, whatever its user has."""
    from domain.commands import LimitKey

    if (target is not None) + (delta is not None) + unlimited != 1:
        raise Misused("name one of QUOTA, what it may still spend, --by, the difference, and --none")
    with opened() as books:
        found, _ = key_with_id(books, key_id)
        seen = left_mills(books.store, found) or 0
        change = delta if delta is not None else (target or 0) - seen
        command = LimitKey(key=key_id, unlimited=unlimited, delta=0 if unlimited else change)
        carried_out(books, lambda: command)
        record = _record(books, key_with_id(books, key_id)[0])
    left = record["left_mills"]
    said = f"may still spend {quota(left)} quota" if isinstance(left, int) else "has no limit"
    answer(record, f"Key {key_id} {said}.", as_json=as_json)


@keys.command(epilog=example("veloera key disable 7"))
@click.argument("key_id", metavar="KEY", type=int)
@json_option
def disable(key_id: int, *, as_json: bool) -> None:
    """Switch a key off."""
    _switch(key_id, Status.DISABLED, as_json=as_json)


@keys.command(epilog=example("veloera key enable 7"))
@click.argument("key_id", metavar="KEY", type=int)
@json_option
def enable(key_id: int, *, as_json: bool) -> None:
    """Switch a key on again."""
    _switch(key_id, Status.ENABLED, as_json=as_json)


@keys.command(epilog=example("veloera key delete 7"))
@click.argument("key_id", metavar="KEY", type=int)
@json_option
def delete(key_id: int, *, as_json: bool) -> None:
    """Delete a key, and its text. What it spent stays in the ledger."""
    with opened() as books:
        carried_out(books, lambda: api_key.deletion(key_with_id(books, key_id)[0]))
    answer({"id": key_id, "deleted": True}, f"Key {key_id} is deleted.", as_json=as_json)


def _switch(key_id: int, status: Status, *, as_json: bool) -> None:
    with opened() as books:
        found, _ = key_with_id(books, key_id)
        if found.status != status:
            carried_out(books, lambda: api_key.status_change(*key_with_id(books, key_id), status))
        record = _record(books, key_with_id(books, key_id)[0])
    answer(record, f"Key {key_id} is {STATUSES[status]}.", as_json=as_json)


def _record(books: Books, key: ApiKey) -> dict[str, object]:
    left = left_mills(books.store, key)
    terms = key.terms
    return {
        "id": key.id,
        "user": key.user,
        "name": terms.name,
        "status": _status(key, left),
        "unlimited": key.unlimited,
        "left_mills": left,
        "held_mills": None if left is None else balance_mills(books.store, accounts.cap_held(key.id)),
        "expires_ms": None if terms.expires_at == NEVER else terms.expires_at * 1000,
        "group": terms.group,
        "models": list(terms.model_limits) if terms.model_limits_enabled else None,
        "allow_ips": list(terms.allow_ips),
        "created_at_ms": key.created_at,
    }


def _status(key: ApiKey, left: int | None) -> str:
    """As it acts: a key that is on and has expired, or has nothing left, is named for that."""
    status = key.status
    if status == Status.ENABLED and key.is_expired(time()):
        status = Status.EXPIRED
    elif status == Status.ENABLED and left is not None and left <= 0:
        status = Status.EXHAUSTED
    return {int(known): name for known, name in STATUSES.items()}.get(status, str(status))


def _seconds(expires: datetime | None) -> int:
    return NEVER if expires is None else int(expires.replace(tzinfo=UTC).timestamp())


def _networks(written: tuple[str, ...]) -> tuple[str, ...]:
    for entry in written:
        try:
            ip_network(entry, strict=False)
        except ValueError:
            raise Misused(f"--ips: expected addresses or networks such as 192.0.2.0/24, got {entry!r}") from None
    return written
