"""`veloera ledger balance` and `account`: an account as it was, from the read models or from the bytes of the log, and why."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from cli.failures import Failure, Misused, NotFound
from cli.opening import caught_up, opened, opened_store
from cli.output import emit, example, json_option, listing, progress, quota, say
from domain.accounts import Asset, asset_of, is_guarded

if TYPE_CHECKING:
    from api.compose import Books
    from ledger.store import LedgerStore

PAGE_FACTS = 1_000
A_POSITION = click.IntRange(0, 2**63 - 1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

position_option = click.option("--position", type=A_POSITION, help="As it was after this position.")
at_option = click.option(
    "--at", "moment", help="As it was at this moment: 2026-11-22T18:00:00Z, 2026-11-22, or ms since the epoch."
)


@click.command(
    epilog=example(
        "veloera ledger balance user:1:available",
        "veloera ledger balance user:1:available --at 2026-11-22T18:00:00Z",
        "veloera ledger balance platform:revenue --position 120000 --from-log --json",
    )
)
@click.argument("account")
@position_option
@at_option
@click.option("--from-log", is_flag=True, help="Add up the log itself, trusting no read model. Reads all of it.")
@json_option
def balance(account: str, position: int | None, moment: str | None, *, from_log: bool, as_json: bool) -> None:
    """Show what is, or was, on an account."""
    at_ms = moment_of(moment, position)
    if from_log:
        with opened_store() as store:
            upto, mills, has_moved = _summed(store, account, position, at_ms)
    else:
        with opened() as books:
            caught_up(books)
            found = books.read.standing(account, _upto(books, position, at_ms))
            upto, mills, has_moved = found.upto, found.balance_mills, found.position > 0
    if not has_moved and position is None and at_ms is None:
        raise NotFound(f"nothing ever moved on {account}; accounts are named as in user:1:available")
    if as_json:
        emit({"account": account, "position": upto, "balance_mills": mills})
        return
    shown = f"{mills:,}" if asset_of(account) is Asset.SEQ else f"{mills:,} mills = {quota(mills)} quota"
    say(f"{account} at position {upto:,}: {shown}")


@click.command(
    "account",
    epilog=example(
        "veloera ledger account user:1:available", "veloera ledger account user:1:available --after 5000 --json"
    ),
)
@click.argument("account")
@position_option
@at_option
@click.option("--after", type=A_POSITION, default=0, show_default=True, help="Begin with the balance here.")
@json_option
def account_story(account: str, position: int | None, moment: str | None, after: int, *, as_json: bool) -> None:
    """Explain a balance: what it began with, what moved it by kind, what it came to, and whether three ways agree.

    The sum of its postings, the running balance of its statement and the balance that the ledger keeps are found apart.
    """
    from projections.checking import check

    at_ms = moment_of(moment, position)
    with opened() as books:
        caught_up(books)
        upto = _upto(books, position, at_ms)
        if after > upto:
            raise Misused(f"--after: {after:,} lies behind {upto:,}, where the story ends")
        first, last = books.read.standing(account, after), books.read.standing(account, upto)
        # Up to where the closing balance is known: the lists may move on meanwhile.
        groups = books.read.groups(account, after, last.upto)
        disagree = check(books.store, books.read, [account])
    if not last.position:
        raise NotFound(f"nothing had moved on {account} by then; accounts are named as in user:1:available")
    if as_json:
        kinds = [{"topic": g.topic, "note": g.note, "count": g.count, "delta_mills": g.delta_mills} for g in groups]
        agrees = None if disagree is None or not is_guarded(account) else not disagree
        story = {"account": account, "opening_mills": first.balance_mills, "closing_mills": last.balance_mills}
        emit({**story, "after": after, "position": last.upto, "groups": kinds, "three_ways_agree": agrees})
    else:
        say(f"{account} had {first.balance_mills:,} mills after position {after:,}")
        rows = [
            {"what": g.topic.partition("/")[0], "note": g.note, "count": g.count, "delta_mills": g.delta_mills}
            for g in groups
        ]
        listing(rows, ("what", "note", "count", "delta_mills"), as_json=False)
        say(f"and {last.balance_mills:,} mills = {quota(last.balance_mills)} quota after position {last.upto:,}")
        if is_guarded(account) and not disagree:
            agreed = "sum, statement and kept balance agree"
            say(agreed if disagree is not None else "the lists are too far behind to compare three ways now")
    for one in disagree or ():
        raise Failure(
            f"three ways do not agree on {account} at position {one.position:,}: the sum of its postings is {one.summed}, "
            f"its statement says {one.running}, the ledger keeps {one.kept} mills; see `veloera ledger verify`"
        )


def moment_of(text: str | None, position: int | None) -> int | None:
    """ms since the epoch of what somebody typed; a moment without a zone is UTC."""
    if text is None:
        return None
    if position is not None:
        raise Misused("name one of --position and --at")
    try:
        if text.isdecimal():
            return int(text)
        found = datetime.fromisoformat(text)
    except ValueError:
        raise Misused(f"--at: {text!r} is no moment; write 2026-11-22T18:00:00Z, or ms since the epoch") from None
    return ((found if found.tzinfo else found.replace(tzinfo=UTC)) - EPOCH) // timedelta(milliseconds=1)


def _upto(books: Books, position: int | None, at_ms: int | None) -> int:
    if at_ms is not None:
        return books.read.position_at(at_ms)
    return books.store.head() if position is None else position


def _summed(store: LedgerStore, account: str, position: int | None, at_ms: int | None) -> tuple[int, int, bool]:
    """From the facts alone: up to which position, mills, and whether anything had moved by then."""
    with store.snapshot() as reader:
        head = reader.head() if position is None else min(position, reader.head())
        after = total = 0
        has_moved = False
        with progress(head, "Adding up") as bar:
            while after < head and (page := reader.read_log(after, PAGE_FACTS)):
                for recorded in page:
                    if recorded.position > head or (at_ms is not None and recorded.fact.at > at_ms):
                        return after, total, has_moved
                    moved = [delta for name, delta in recorded.fact.postings if name == account]
                    total, has_moved = total + sum(moved), has_moved or bool(moved)
                    bar.update(recorded.position - after)
                    after = recorded.position
        return after, total, has_moved
