"""`veloera channel`: upstream accounts, the models they serve, and whether they are on."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli import output
from cli.failures import Misused
from cli.finding import channel_with_id
from cli.kinds import NAMES
from cli.opening import carried_out, caught_up, opened
from cli.output import answer, example, json_option, listing
from domain import channel
from domain.channel import Channel, Status, Type

if TYPE_CHECKING:
    from domain.events import ChannelTerms

STATUSES = {
    Status.ENABLED: "enabled",
    Status.SWITCHED_OFF: "switched off",
    Status.FAILED: "switched off by the gateway",
}
TYPES = {kind.name.lower(): int(kind) for kind in Type}


@click.group(name="channel")
def channels() -> None:
    """Channels: list, create, switch off.

    CHANNEL is the id of a channel.
    """


@channels.command(name="list", epilog=example("veloera channel list", "veloera channel list --model gpt-4o --json"))
@click.option("--keyword", default="", help="Part of the name, or an id.")
@click.option("--model", default="", help="Part of the name of a model it serves.")
@click.option("--group", default="", help="Only channels of this group.")
@click.option("--size", default=100, type=click.IntRange(1, 1000), show_default=True, help="At most so many.")
@json_option
def list_channels(keyword: str, model: str, group: str, size: int, *, as_json: bool) -> None:
    """List channels, the highest priority first."""
    with opened() as books:
        caught_up(books)
        if keyword or model or group:
            rows = books.read.search_channels(keyword=keyword, group=group, model=model, limit=size)
        else:
            rows = books.read.page_channels(page0=0, size=size)
        records = [
            _record(Channel(id=row.id, terms=row.terms, secret="", status=row.status, created_at=row.created_at))
            | {"status_reason": row.status_reason, "used_mills": row.used_mills}
            for row in rows
        ]
    columns = ("id", "name", "type", "status", "priority", "weight", "groups", "models", "used_mills")
    listing(records, columns, as_json=as_json)


@channels.command(
    epilog=example(
        "veloera channel create --name main --base-url https://api.example.com --models gpt-4o,gpt-4o-mini --key-file key.txt",
        "veloera channel create --name try --type sandbox --models sandbox-1",
    )
)
@click.option("--name", required=True)
@click.option(
    "--type", "kind", default="openai", show_default=True, help=f"{', '.join(TYPES)}, or the family's number."
)
@click.option("--base-url", default="", help="Where the provider is. [default: the type's own]")
@click.option("--models", type=NAMES, required=True, help="Models it serves, with commas between.")
@click.option("--groups", type=NAMES, default="default", show_default=True, help="Groups it serves.")
@click.option("--priority", default=0, show_default=True, help="Higher ones are tried first.")
@click.option("--weight", default=0, type=click.IntRange(0), show_default=True, help="Its share among equals.")
@click.option("--key", help="The provider's credential. Others on this machine may see it in the process list.")
@click.option(
    "--key-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False, allow_dash=True),
    help="A file with it; - is stdin.",
)
@json_option
def create(
    name: str,
    kind: str,
    base_url: str,
    models: tuple[str, ...],
    groups: tuple[str, ...],
    priority: int,
    weight: int,
    key: str | None,
    key_file: Path | None,
    *,
    as_json: bool,
) -> None:
    """Make a channel to a provider."""
    terms = _terms(
        type=_type(kind),
        name=name,
        base_url=base_url,
        models=",".join(models),
        group=",".join(groups),
        priority=priority,
        weight=weight,
    )
    credential = _credential(key, key_file)
    if not credential and terms.type != Type.SANDBOX:
        raise Misused("name the provider's credential with --key or --key-file")
    with opened() as books:
        command = channel.creation(terms=terms, secret=books.vault.put(credential))
        result = carried_out(books, lambda: command)
        record = _record(channel_with_id(books, result.id)[0])
    output.show(record, as_json=as_json)


@channels.command(epilog=example("veloera channel show 1"))
@click.argument("channel_id", metavar="CHANNEL", type=int)
@json_option
def show(channel_id: int, *, as_json: bool) -> None:
    """Show one channel, without its credential."""
    with opened() as books:
        found, _ = channel_with_id(books, channel_id)
        caught_up(books)
        row = books.read.channel(channel_id)
    record = _record(found) | {"status_reason": found.status_reason, "used_mills": row.used_mills if row else 0}
    output.show(record, as_json=as_json)


@channels.command(epilog=example("veloera channel disable 1"))
@click.argument("channel_id", metavar="CHANNEL", type=int)
@json_option
def disable(channel_id: int, *, as_json: bool) -> None:
    """Switch a channel off: no call is sent to it any more."""
    _switch(channel_id, Status.SWITCHED_OFF, as_json=as_json)


@channels.command(epilog=example("veloera channel enable 1"))
@click.argument("channel_id", metavar="CHANNEL", type=int)
@json_option
def enable(channel_id: int, *, as_json: bool) -> None:
    """Switch a channel on again."""
    _switch(channel_id, Status.ENABLED, as_json=as_json)


@channels.command(epilog=example("veloera channel delete 1"))
@click.argument("channel_id", metavar="CHANNEL", type=int)
@json_option
def delete(channel_id: int, *, as_json: bool) -> None:
    """Delete a channel, and its credential. What it served stays in the ledger."""
    with opened() as books:
        carried_out(books, lambda: channel.deletion(channel_with_id(books, channel_id)[0]))
    answer({"id": channel_id, "deleted": True}, f"Channel {channel_id} is deleted.", as_json=as_json)


def _switch(channel_id: int, status: Status, *, as_json: bool) -> None:
    with opened() as books:
        found, _ = channel_with_id(books, channel_id)
        if found.status != status:
            carried_out(
                books, lambda: channel.status_change(*channel_with_id(books, channel_id), status, reason="command line")
            )
        record = _record(channel_with_id(books, channel_id)[0])
    answer(record, f"Channel {channel_id} is {STATUSES[status]}.", as_json=as_json)


def _record(found: Channel) -> dict[str, object]:
    terms = found.terms
    return {
        "id": found.id,
        "name": terms.name,
        "type": next((name for name, number in TYPES.items() if number == terms.type), str(terms.type)),
        "status": {int(known): name for known, name in STATUSES.items()}.get(found.status, str(found.status)),
        "base_url": terms.base_url,
        "models": list(terms.models),
        "groups": list(terms.groups),
        "priority": terms.priority,
        "weight": terms.weight,
        "model_mapping": dict(terms.model_mapping),
        "created_at_ms": found.created_at,
    }


def _type(kind: str) -> int:
    if kind.lower() in TYPES:
        return TYPES[kind.lower()]
    if kind.isdecimal() and len(kind) < 10:
        return int(kind)
    raise Misused(f"--type: expected {', '.join(TYPES)}, or the family's number, got {kind!r}")


def _terms(**fields: str | int) -> ChannelTerms:
    """Checked by the rules of the JSON API."""
    from api.admin.channel_shape import ChannelFields
    from api.admin.channel_terms import terms_from
    from domain.events import ChannelTerms

    return terms_from(ChannelFields.model_validate(fields), ChannelTerms())


def _credential(key: str | None, key_file: Path | None) -> str:
    if key is not None and key_file is not None:
        raise Misused("name either --key or --key-file")
    if key_file is None:
        return (key or "").strip()
    return (sys.stdin.read() if str(key_file) == "-" else key_file.read_text()).strip()
