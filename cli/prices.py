"""`veloera price`: what a model costs. A price is a setting: changed by a fact, in force for calls that are held afterwards.

Ratios are exact. Changing one model writes the whole table that it stands in, as the family's options are written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, Final

import click

from cli import output
from cli.failures import Misused, NotFound
from cli.opening import carried_out, opened
from cli.output import answer, example, json_option, listing
from cli.settings import Stored, stored
from domain import streams
from domain.units import ratio_text

if TYPE_CHECKING:
    from api.compose import Books
    from domain.commands import Append

TABLES: Final = {
    "ratio": "ModelRatio",
    "completion": "CompletionRatio",
    "cache": "CacheRatio",
    "per_call": "ModelPrice",
}
OF_THE_BOOK: Final = (
    *TABLES.values(),
    "GroupRatio",
    "CacheWriteRatio",
    "AudioRatio",
    "AudioCompletionRatio",
    "QuotaPerUnit",
    "SelfUseModeEnabled",
)

Tables = dict[str, dict[str, Fraction]]


@click.group(name="price")
def prices() -> None:
    """Prices: list, set, take away.

    A ratio of 1 is one quota for a token of input; completion and cache are multiples of it; a price per call is in USD.
    """


@prices.command(name="list", epilog=example("veloera price list", "veloera price list --keyword gpt-4o --json"))
@click.option("--keyword", default="", help="Part of the model's name.")
@json_option
def list_prices(keyword: str, *, as_json: bool) -> None:
    """List every model that has a price, as the tables say."""
    with opened() as books:
        tables = _tables(stored(books, TABLES.values()))
    models = sorted({model for name in ("ratio", "per_call") for model in tables[name] if keyword in model})
    records = [_row(model, tables) for model in models]
    listing(records, ("model", *TABLES), as_json=as_json)


@prices.command(epilog=example("veloera price show gpt-4o", "veloera price show gpt-4o --group vip"))
@click.argument("model")
@click.option("--group", default="default", show_default=True, help="Whose ratio counts.")
@json_option
def show(model: str, group: str, *, as_json: bool) -> None:
    """Show what a call of a model costs in a group, with every multiplier that applies."""
    import msgspec

    from domain.pricing import PriceBook, Unpriced

    with opened() as books:
        book = PriceBook.from_settings(stored(books, OF_THE_BOOK).texts, 0)
    try:
        price = book.price(model, group)
    except Unpriced:
        raise NotFound(f"{model} has no price; set one with `veloera price set {model} --ratio 1`") from None
    record = {name: value for name, value in msgspec.structs.asdict(price).items() if value != "" and name != "book"}
    output.show(record, as_json=as_json)


@prices.command(
    name="set",
    epilog=example(
        "veloera price set my-model --ratio 1.25 --completion 4", "veloera price set my-image --per-call 0.04"
    ),
)
@click.argument("model")
@click.option("--ratio", help="Quota for a token of input.")
@click.option("--completion", help="Output costs so many times input.")
@click.option("--cache", help="Cached input costs so many times input.")
@click.option("--per-call", help="USD for a call, whatever its length. It goes before a ratio.")
@json_option
def set_price(
    model: str, ratio: str | None, completion: str | None, cache: str | None, per_call: str | None, *, as_json: bool
) -> None:
    """Set a model's prices; what is not named stays.

    A ratio takes a price per call away, which would go before it.
    """
    given = {"ratio": ratio, "completion": completion, "cache": cache, "per_call": per_call}
    chosen = {name: _ratio(name, text) for name, text in given.items() if text is not None}
    if not chosen:
        raise Misused("name at least one of --ratio, --completion, --cache and --per-call")
    if "ratio" in chosen and "per_call" in chosen:
        raise Misused("a model is sold by its tokens or by the call: name --ratio or --per-call")

    def changed(tables: Tables) -> None:
        for name, number in chosen.items():
            tables[name][model] = number
        if "ratio" in chosen:
            tables["per_call"].pop(model, None)

    with opened() as books:
        tables = _change(books, changed)
    record = _row(model, tables)
    text = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in record.items() if value and name != "model")
    answer(record, f"{model}: {text}. In force for calls that are held from now on.", as_json=as_json)


@prices.command(epilog=example("veloera price unset my-model"))
@click.argument("model")
@json_option
def unset(model: str, *, as_json: bool) -> None:
    """Take a model's prices away. Without a price it is refused, unless the site runs in self-use mode."""

    def changed(tables: Tables) -> None:
        if not any(model in table for table in tables.values()):
            raise NotFound(f"{model} has no price; `veloera price list` shows those that have")
        for table in tables.values():
            table.pop(model, None)

    with opened() as books:
        _change(books, changed)
    answer({"model": model, "unset": True}, f"{model} has no price any more.", as_json=as_json)


def _change(books: Books, changed: Callable[[Tables], None]) -> Tables:
    """Change the tables in one command, at the versions they were read at; the tables as they are then."""
    tables: Tables = {}

    def made() -> Append:
        nonlocal tables
        found = stored(books, TABLES.values())
        before, tables = _tables(found), _tables(found)
        changed(tables)
        return _append(found, (name for name in TABLES if tables[name] != before[name]), tables)

    first = made()
    if first.parts:
        carried_out(books, made)
    return tables


def _append(found: Stored, changed: Iterable[str], tables: Tables) -> Append:
    from domain.commands import Append, Part
    from domain.events import SettingChanged
    from domain.setting_kinds import ratio_json
    from domain.settings import validate

    parts: list[Part] = []
    for name in changed:
        key = TABLES[name]
        text = validate(key, ratio_json({model: ratio_text(number) for model, number in tables[name].items()}))
        parts.append(Part(streams.setting(key), found.versions[key], (SettingChanged(key=key, value=text),)))
    return Append(parts=tuple(parts))


def _tables(found: Stored) -> Tables:
    return {name: dict(found.settings.ratios(key)) for name, key in TABLES.items()}


def _row(model: str, tables: Mapping[str, Mapping[str, Fraction]]) -> dict[str, object]:
    """Multipliers as exact texts; None where a table does not name the model."""
    numbers = {name: tables[name].get(model) for name in TABLES}
    return {
        "model": model,
        **{name: None if number is None else ratio_text(number) for name, number in numbers.items()},
    }


def _ratio(name: str, text: str) -> Fraction:
    from domain.setting_kinds import MAX_RATIO, InvalidSetting, parse_decimal

    option = f"--{name.replace('_', '-')}"
    try:
        number = parse_decimal(option, text)
    except InvalidSetting:
        number = None
    if number is None or not 0 <= number <= MAX_RATIO:
        raise Misused(f"{option}: expected a number from 0 to {MAX_RATIO:,}, got {text!r}")
    return Fraction(number)
