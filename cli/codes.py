"""`veloera code`: redemption codes, issued with a budget and used once by each user they are for."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click
import msgspec

from cli import output
from cli.failures import Misused, NotFound, Refused
from cli.finding import balance_mills, user_named
from cli.kinds import QUOTA
from cli.opening import carried_out, caught_up, opened
from cli.output import answer, example, json_option, listing, quota
from cli.settings import stored
from domain import accounts, gift_code
from domain.gift_code import DISABLED, ENABLED, GiftCode

if TYPE_CHECKING:
    from api.compose import Books
    from projections.codes import CodeRow

MAX_COUNT = 1_000
STATUSES = {ENABLED: "enabled", DISABLED: "disabled"}
COLUMNS = ("id", "name", "status", "gift", "amount_mills", "uses", "max_uses", "valid_from_ms", "valid_until_ms")

since = click.option("--from", "valid_from", type=click.DateTime(), help="From when it works, in UTC. [default: now]")
until = click.option("--until", "valid_until", type=click.DateTime(), help="Until when, in UTC. [default: for ever]")


@click.group(name="code")
def codes() -> None:
    """Redemption codes: issue, list, change, switch off, redeem.

    CODE is the id of a code, TEXT what a user types.
    """


@codes.command(
    epilog=example(
        "veloera code create spring 500000 --count 20 --json",
        "veloera code create welcome 1000 --gift --uses 50 --text HELLO",
    )
)
@click.argument("name")
@click.argument("amount", metavar="QUOTA", type=QUOTA)
@click.option("--count", default=1, type=click.IntRange(1, MAX_COUNT), show_default=True, help="How many codes.")
@click.option("--text", default="", help="The text of the one code, instead of one that is drawn.")
@click.option("--gift", is_flag=True, help="Several users may use it, each once.")
@click.option("--uses", type=click.IntRange(1), help="How many users may, of a gift code. [default: no bound]")
@since
@until
@json_option
def create(
    name: str,
    amount: int,
    count: int,
    text: str,
    uses: int | None,
    valid_from: datetime | None,
    valid_until: datetime | None,
    *,
    gift: bool,
    as_json: bool,
) -> None:
    """Issue codes, and show their texts. The fact of each says what it gives; its budget is funded from platform:promo."""
    from api.admin import code_shape
    from api.payments.code_texts import digest, new_text
    from domain.events import CodeTerms

    if uses is not None and not gift:
        raise Misused("--uses is for a gift code: add --gift, or leave it out")
    if text and count != 1:
        raise Misused("--text is for one code: leave --count out")
    terms = CodeTerms(
        name=code_shape.check_name(name),
        amount=amount,
        valid_from=_seconds(valid_from),
        valid_until=_seconds(valid_until),
    )
    texts = [code_shape.check_text(text)] if text else [new_text() for _ in range(count)]
    with opened() as books:
        issues = [
            gift_code.issue(
                digest=digest(books.vault, made),
                secret=books.vault.put(made),
                terms=terms,
                gift=gift,
                max_uses=uses if gift else 1,
            )
            for made in texts
        ]
        results = books.writer.submit_all_blocking(issues)
    refused = next((result for result in results if not result.ok), None)
    if refused is not None:
        raise Refused(refused.why or f"the ledger refused: {refused.status}")
    records = [
        {"id": result.id, "name": name, "amount_mills": amount, "text": made}
        for result, made in zip(results, texts, strict=True)
    ]
    listing(records, ("id", "name", "amount_mills", "text"), as_json=as_json)


@codes.command(name="list", epilog=example("veloera code list", "veloera code list --keyword spring --reveal --json"))
@click.option("--keyword", default="", help="How the name begins, or an id.")
@click.option("--page", default=1, type=click.IntRange(1), show_default=True)
@click.option("--size", default=100, type=click.IntRange(1, 1000), show_default=True, help="Codes on a page.")
@click.option("--reveal", is_flag=True, help="Show their texts, too.")
@json_option
def list_codes(keyword: str, page: int, size: int, *, reveal: bool, as_json: bool) -> None:
    """List codes that were not deleted, the newest first."""
    with opened() as books:
        caught_up(books)
        found = books.read.page_codes(page=page, size=size, keyword=keyword)
        records = [_record(books, row, reveal=reveal) for row in found.items]
    listing(records, (*COLUMNS, "text") if reveal else COLUMNS, as_json=as_json)


@codes.command(epilog=example("veloera code show 7", "veloera code show 7 --reveal"))
@click.argument("code_id", metavar="CODE", type=int)
@click.option("--reveal", is_flag=True, help="Show its text, too.")
@json_option
def show(code_id: int, *, reveal: bool, as_json: bool) -> None:
    """Show one code, and who used it last."""
    with opened() as books:
        record = _shown(books, code_id, reveal=reveal)
    output.show(record, as_json=as_json)


@codes.command(epilog=example("veloera code disable 7"))
@click.argument("code_id", metavar="CODE", type=int)
@json_option
def disable(code_id: int, *, as_json: bool) -> None:
    """Switch a code off: it is refused, whatever kind it is."""
    _switch(code_id, DISABLED, as_json=as_json)


@codes.command(epilog=example("veloera code enable 7"))
@click.argument("code_id", metavar="CODE", type=int)
@json_option
def enable(code_id: int, *, as_json: bool) -> None:
    """Switch a code on. One that is used up stays used up."""
    _switch(code_id, ENABLED, as_json=as_json)


@codes.command(epilog=example("veloera code change 7 --quota 250000", "veloera code change 7 --until 2027-01-01"))
@click.argument("code_id", metavar="CODE", type=int)
@click.option("--name", help="What it is found by.")
@click.option("--quota", "amount", type=QUOTA, help="What each use that is left gives.")
@since
@until
@json_option
def change(
    code_id: int,
    name: str | None,
    amount: int | None,
    valid_from: datetime | None,
    valid_until: datetime | None,
    *,
    as_json: bool,
) -> None:
    """Change a code's terms; what is not named stays. The budget follows, so that the uses that are left are paid for."""
    from api.admin import code_shape
    from domain.commands import ChangeCode

    if name is None and amount is None and valid_from is None and valid_until is None:
        raise Misused("name what shall be different: --name, --quota, --from or --until")
    if name is not None:
        code_shape.check_name(name)
    with opened() as books:

        def make() -> ChangeCode:
            found, version = _code(books, code_id)
            old = found.terms
            terms = msgspec.structs.replace(
                old,
                name=old.name if name is None else name,
                amount=old.amount if amount is None else amount,
                valid_from=old.valid_from if valid_from is None else _seconds(valid_from),
                valid_until=old.valid_until if valid_until is None else _seconds(valid_until),
            )
            return ChangeCode(code=code_id, terms=terms, expected=version)

        carried_out(books, make)
        record = _shown(books, code_id, reveal=False)
    output.show(record, as_json=as_json)


@codes.command(epilog=example("veloera code delete 7"))
@click.argument("code_id", metavar="CODE", type=int)
@json_option
def delete(code_id: int, *, as_json: bool) -> None:
    """Delete a code, and its text; what is left of its budget goes back. What it gave stays given."""
    from domain.commands import DeleteCode

    with opened() as books:
        found, _ = _code(books, code_id)
        left = max(0, balance_mills(books.store, accounts.budget(code_id)))
        carried_out(books, lambda: DeleteCode(code=code_id, vault_delete=(found.secret,)))
    answer({"id": code_id, "deleted": True, "returned_mills": left}, f"Code {code_id} is deleted.", as_json=as_json)


@codes.command(epilog=example("veloera code redeem alice HELLO"))
@click.argument("named", metavar="USER")
@click.argument("text")
@json_option
def redeem(named: str, text: str, *, as_json: bool) -> None:
    """Redeem a code for a user, as they would themselves; their inviter gets the rebate."""
    from api.payments.code_texts import code_with_id, code_with_text
    from api.payments.rebates import rebate_mills
    from domain.commands import RedeemCode

    with opened() as books:
        found, _ = user_named(books, named)
        code_id = code_with_text(books, text)
        code, _ = code_with_id(books.store, code_id)
        if code is None or code.deleted:
            raise NotFound("there is no such code; `veloera code list --reveal` shows those there are")
        settings = stored(books, ["RebateEnabled", "RebatePercentage"]).settings
        rebate = rebate_mills(settings, found.inviter, code.terms.amount)
        command = RedeemCode(code=code_id, user=found.id, inviter=found.inviter, rebate=rebate)
        result = carried_out(books, lambda: command)
        if result.status == "exists":
            raise Refused(f"user {found.id} has used code {code_id} before")
        after = balance_mills(books.store, accounts.available(found.id))
    record = {"id": code_id, "user": found.id, "credited_mills": code.terms.amount, "available_mills": after}
    answer(
        record, f"User {found.id} was given {quota(code.terms.amount)} quota and has {quota(after)}.", as_json=as_json
    )


def _switch(code_id: int, status: int, *, as_json: bool) -> None:
    with opened() as books:
        found, _ = _code(books, code_id)
        if found.status != status:
            carried_out(books, lambda: gift_code.status_change(code_id, _code(books, code_id)[1], status))
    answer({"id": code_id, "status": STATUSES[status]}, f"Code {code_id} is {STATUSES[status]}.", as_json=as_json)


def _code(books: Books, code_id: int) -> tuple[GiftCode, int]:
    from api.payments.code_texts import code_with_id

    found, version = code_with_id(books.store, code_id)
    if found is None or found.deleted:
        raise NotFound(f"there is no code {code_id}; `veloera code list` shows those there are")
    return found, version


def _shown(books: Books, code_id: int, *, reveal: bool) -> dict[str, object]:
    _code(books, code_id)
    caught_up(books)
    row = books.read.code(code_id)
    if row is None:
        raise NotFound(f"the lists do not know code {code_id} yet; try again in a moment")
    used = {"used_by": row.used_by or None, "used_at_ms": row.used_at or None}
    left = balance_mills(books.store, accounts.budget(code_id))
    return _record(books, row, reveal=reveal) | {"budget_mills": left} | used


def _record(books: Books, row: CodeRow, *, reveal: bool) -> dict[str, object]:
    used_up = row.max_uses is not None and row.used_count >= row.max_uses
    record: dict[str, object] = {
        "id": row.id,
        "name": row.name,
        "status": "used up" if row.status == ENABLED and used_up else STATUSES.get(row.status, str(row.status)),
        "gift": row.is_gift,
        "amount_mills": row.amount_mills,
        "uses": row.used_count,
        "max_uses": row.max_uses,
        "valid_from_ms": row.valid_from * 1000 or None,
        "valid_until_ms": row.valid_until * 1000 or None,
        "created_at_ms": row.created_at,
        "issued_by": row.actor,
    }
    return record | {"text": books.vault.text(row.secret_ref)} if reveal else record


def _seconds(moment: datetime | None) -> int:
    return 0 if moment is None else int(moment.replace(tzinfo=UTC).timestamp())
