"""`veloera ledger`: the facts as they come, the movements of an account, why a call cost what it cost, and the proof of it all.

`explain` and `verify` read the event store alone, and trust no read model.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click
import msgspec

from cli.archiving import export, read_back
from cli.as_of import account_story, balance
from cli.failures import Misused, NotFound
from cli.finding import user_named
from cli.opening import caught_up, opened, opened_store
from cli.output import emit, example, json_option, listing, moment, quota, say
from cli.refunding import refund
from cli.sealing import anchor, check_proof, prove, seal, seal_key
from cli.spooling import spool
from cli.verifying import verify
from domain import accounts
from domain.accounts import Asset, asset_of
from domain.events import ChargeExtended, ChargeHeld, ChargeSettled, ChargeSettledLate, Fact

if TYPE_CHECKING:
    from api.compose import Books
    from ledger.explain import Explanation
    from ledger.mapper import Recorded
    from ledger.store import LedgerStore
    from projections.readmodel import StatementRow

MAX_TAIL_FACTS = 10_000
FOLLOW_WAIT_S = 1.0
CHARGE = "charge."


@click.group()
def ledger() -> None:
    """The ledger: follow it, read it, have it explain and prove itself."""


ledger.add_command(spool)
ledger.add_command(refund)


@ledger.command(epilog=example("veloera ledger tail", "veloera ledger tail --follow --json"))
@click.option(
    "--lines", "-n", default=20, type=click.IntRange(0, MAX_TAIL_FACTS), show_default=True, help="Facts to begin with."
)
@click.option("--after", type=click.IntRange(0), help="Begin after this position instead.")
@click.option("--follow", "-f", is_flag=True, help="Go on with new facts as they come, until interrupted.")
@json_option
def tail(lines: int, after: int | None, *, follow: bool, as_json: bool) -> None:
    """Print the newest facts, oldest first."""
    from ledger.follow import PAGE_LIMIT_FACTS, Follow

    with opened_store() as store:
        following = Follow(store, after=max(0, store.head() - lines) if after is None else after)
        try:
            while True:
                page = following.page()
                for recorded in page:
                    emit(_fact_record(recorded)) if as_json else say(_fact_line(recorded))
                if len(page) < PAGE_LIMIT_FACTS and not follow:
                    return
                while follow and not page and not following.wait(FOLLOW_WAIT_S):
                    pass
        except KeyboardInterrupt:
            return


@ledger.command(epilog=example("veloera ledger statement", "veloera ledger statement --user alice -n 200 --json"))
@click.argument("account", required=False)
@click.option("--user", "named", help="The accounts of this user: an id or a username. [default: the root user]")
@click.option("--all", "everybody", is_flag=True, help="The accounts of all users.")
@click.option("--lines", "-n", default=50, type=click.IntRange(1, 1000), show_default=True, help="Of each account.")
@click.option("--after", type=click.IntRange(0), help="The first movements after this position, instead of the newest.")
@json_option
def statement(
    account: str | None, named: str | None, lines: int, after: int | None, *, everybody: bool, as_json: bool
) -> None:
    """Show the movements of an account with the balance after each, oldest first.

    ACCOUNT is a name such as user:1:available, key:7:cap or platform:revenue. Without one, what a user has available and held.
    """
    if (account is not None) + (named is not None) + everybody > 1:
        raise Misused("name one of ACCOUNT, --user and --all")
    with opened() as books:
        names = [account] if account is not None else _accounts(books, named, everybody=everybody)
        caught_up(books)
        rows = [row for name in names for row in _statement(books, name, lines, after)]
        rows.sort(key=lambda row: (row.position, row.account))
        records = [_movement(books.store, row) for row in rows]
        if account is not None and not records and books.store.balance(account) is None:
            raise NotFound(f"nothing ever moved on {account}; accounts are named as in user:1:available")
    columns = ("at_ms", "account", "delta_mills", "balance_mills", "what", "note", "request_id")
    listing(records, columns, as_json=as_json)


@ledger.command(epilog=example("veloera ledger explain 0199b3c2d4e5f60718293a4b5c6d7e8f"))
@click.argument("request_id")
@json_option
def explain(request_id: str, *, as_json: bool) -> None:
    """Show why a call cost what it cost: every line of the arithmetic, and the rounding.

    REQUEST_ID is the x-request-id of an answer, with dashes or without.
    """
    from ledger.explain import explain as explained
    from ledger.explain import stream_of

    try:
        stream = stream_of(request_id)
    except ValueError as error:
        raise Misused(str(error)) from None
    with opened_store() as store:
        found = explained(store, stream)
    if found is None:
        raise NotFound(f"no call {request_id} was ever held; a call that was refused before its hold has no charge")
    if as_json:
        emit(_explanation_record(found))
        return
    say(f"call {found.charge}: {found.state}")
    for line in found.lines:
        say(f"  {line}")
    say(f"  charged {quota(found.paid_mills)} quota ({found.paid_mills:,} mills)")
    if found.block is not None:
        say(f"  sealed in block {found.block:,}")


for command in (balance, account_story, verify, seal, anchor, seal_key, prove, check_proof, export, read_back):
    ledger.add_command(command)


def _fact_record(recorded: Recorded) -> dict[str, object]:
    fact = msgspec.to_builtins(recorded.fact)
    return {
        "position": recorded.position,
        "at_ms": recorded.fact.at,
        "stream": recorded.stream,
        "version": recorded.version,
        "topic": recorded.fact.TOPIC,
        "fact": fact,
    }


def _fact_line(recorded: Recorded) -> str:
    fact = recorded.fact
    moved = [
        f"{account} {quota(delta) if asset_of(account) is not Asset.SEQ else delta}"
        for account, delta in fact.postings
        if accounts.is_guarded(account)
    ]
    told = ", ".join(moved) or ", ".join(_simple_fields(fact))
    return f"{moment(fact.at)}  {recorded.position:>8}  {fact.TOPIC:<24}  {told}".rstrip()


def _simple_fields(fact: Fact) -> Iterator[str]:
    """What a fact without movements says in single words and numbers."""
    for name, value in msgspec.structs.asdict(fact).items():
        if name not in ("at", "postings", "floors") and isinstance(value, str | int) and len(str(value)) <= 64:
            yield f"{name}={value}"


def _accounts(books: Books, named: str | None, *, everybody: bool) -> list[str]:
    from api.bootstrap import root_id

    if everybody:
        return [account for account, _ in books.store.balances() if account.startswith("user:")]
    if named is None:
        user_id = root_id(books)
        if not user_id:
            raise NotFound("there is no root account; make one with `veloera init`, or name a user with --user")
    else:
        user_id = user_named(books, named)[0].id
    return [accounts.available(user_id), accounts.held(user_id)]


def _statement(books: Books, account: str, lines: int, after: int | None) -> list[StatementRow]:
    if after is not None:
        return books.read.statement(account, after_position=after, limit=lines)
    return books.read.statement(account, limit=lines, newest_first=True)


def _movement(store: LedgerStore, row: StatementRow) -> dict[str, object]:
    return {
        "position": row.position,
        "at_ms": row.at_ms,
        "account": row.account,
        "delta_mills": row.delta_mills,
        "balance_mills": row.balance_mills,
        "what": what(row.topic),
        "note": row.note,
        "request_id": _request_id(store, row),
        "topic": row.topic,
        "stream": row.stream,
        "version": row.version,
    }


def what(topic: str) -> str:
    """The word for what happened: `charge.settled_late/1` is settled late."""
    return topic.partition(".")[2].partition("/")[0].replace("_", " ")


def _request_id(store: LedgerStore, row: StatementRow) -> str | None:
    """The call that a movement belongs to; an extension has a stream of its own, which names the call."""
    if not row.topic.startswith(CHARGE):
        return None
    if row.topic != ChargeExtended.TOPIC:
        return row.stream
    extension = store.read_stream(row.stream)[0].fact
    assert isinstance(extension, ChargeExtended), "the topic says so"
    return extension.charge


def _explanation_record(found: Explanation) -> dict[str, object]:
    held = next((recorded.fact for recorded in found.facts if isinstance(recorded.fact, ChargeHeld)), None)
    assert held is not None, "a charge begins with its hold"
    ending = next(
        (r.fact for r in reversed(found.facts) if isinstance(r.fact, ChargeSettled | ChargeSettledLate)), None
    )
    extended = sum(recorded.fact.amount for recorded in found.facts if isinstance(recorded.fact, ChargeExtended))
    record: dict[str, object] = {
        "request_id": found.charge,
        "state": found.state,
        "user": held.user,
        "key": held.key,
        "model": held.model,
        "group": held.group,
        "held_mills": held.amount + extended,
        "cost_mills": found.cost_mills,
        "paid_mills": found.paid_mills,
        "written_off_mills": found.written_off_mills,
        "block": found.block,
    }
    if ending is not None:
        record |= {"ended_by": ending.ended_by, "basis": ending.basis, "channel": ending.channel}
        record |= {"usage": msgspec.to_builtins(ending.usage), "price": msgspec.to_builtins(ending.price)}
    return record | {"lines": found.lines, "facts": [_fact_record(recorded) for recorded in found.facts]}
