"""What commands print: JSON for programs (one object a line, amounts in mills), aligned columns for people (quota with decimals)."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any, cast

import click

from domain.units import MILLS_PER_QUOTA

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line; amounts are mills.")


def example(*lines: str) -> str:
    """The end of a command's help: how it is called."""
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in lines)


def emit(record: Mapping[str, object]) -> None:
    """One JSON object on one line."""
    click.echo(json.dumps(record, ensure_ascii=False))


def say(text: str) -> None:
    click.echo(text)


def warn(text: str) -> None:
    """To stderr: what a program that reads our output need not see."""
    click.echo(text, err=True)


def quota(mills: int) -> str:
    """Mills as quota with three decimals, exactly: 1234500 is 1,234.500."""
    whole, rest = divmod(abs(mills), MILLS_PER_QUOTA)
    return f"{'-' if mills < 0 else ''}{whole:,}.{rest:03d}"


def moment(at_ms: int) -> str:
    """A moment, in UTC: 2026-11-22 14:03:05.123."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S.") + f"{at_ms % 1000:03d}"


def listing(records: Iterable[Mapping[str, object]], columns: Sequence[str], *, as_json: bool) -> None:
    """Records as JSON lines, or some of their fields as columns. Numbers and amounts are aligned at their ends."""
    if as_json:
        for record in records:
            emit(record)
        return
    found = list(records)
    lines = [
        [label(name) for name in columns],
        *([text_of(name, record.get(name)) for name in columns] for record in found),
    ]
    widths = [max(len(line[at]) for line in lines) for at in range(len(columns))]
    to_the_right = [bool(found) and type(found[0].get(name)) is int and not name.endswith("_ms") for name in columns]
    for line in lines:
        cells = [cell.rjust(widths[at]) if to_the_right[at] else cell.ljust(widths[at]) for at, cell in enumerate(line)]
        say("  ".join(cells).rstrip())


def show(record: Mapping[str, object], *, as_json: bool) -> None:
    """One thing: a JSON object, or a line a field."""
    if as_json:
        emit(record)
        return
    width = max(len(label(name)) for name in record)
    for name, value in record.items():
        say(f"{label(name).ljust(width)}  {text_of(name, value)}".rstrip())


def answer(record: Mapping[str, object], text: str, *, as_json: bool) -> None:
    """What was done: a JSON object, or a sentence."""
    if as_json:
        emit(record)
    else:
        say(text)


def label(name: str) -> str:
    """The name of a field for people, who read quota and moments: `available_mills` is available."""
    return name.removesuffix("_mills").removesuffix("_at_ms").removesuffix("_ms").replace("_", " ")


def text_of(name: str, value: object) -> str:
    """The value of a field for people."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return quota(value) if name.endswith("_mills") else moment(value) if name.endswith("_ms") else str(value)
    if isinstance(value, list | tuple):
        return ", ".join(str(item) for item in cast("Sequence[object]", value))
    return str(value)


def progress(length: int, label: str) -> AbstractContextManager[Any]:
    """A progress bar on stderr; silent where that is no terminal. `update(n)` moves it on by n."""
    return click.progressbar(length=max(1, length), label=label, file=sys.stderr, hidden=not sys.stderr.isatty())
