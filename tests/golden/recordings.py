"""Reads the recordings of the released products as cases: same settings, same request, same upstream answers.

The recordings are not part of this repository; `folder()` is where they are looked for.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from tests.golden.cases import Case, ChannelTerms, Expected, KeyTerms, Site
from tests.golden.facts import PATHS
from tests.harness.admin import Data, as_int, as_object, as_text
from tests.harness.behaviours import Answer, Behaviour, Stream

CHANNEL_FIELDS = {"slot", "type", "kind", "models", "key", "base_url", "group"}
"""What every channel states; the rest (priority, mappings, settings) is passed on as it is."""
PLAYED_TYPES = {1, 20, 43, 48}
"""The recorded channel types that speak OpenAI's language: OpenAI, OpenRouter, DeepSeek, xAI."""


def folder() -> Path:
    """Where the recordings are: `VELOERA_SHARED`, or `../shared` beside the repository, and in it `golden`."""
    shared = os.environ.get("VELOERA_SHARED")
    return (Path(shared) if shared else Path(__file__).parents[3] / "shared") / "golden"


def read_recordings() -> Iterator[Data]:
    """Every recorded case of the billing file, as stored."""
    with (folder() / "billing.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            yield as_object(json.loads(line))


def endpoint(recording: Data) -> tuple[str, tuple[int, ...]]:
    """The path and the channel types that a recorded case needs."""
    request, settings = as_object(recording["request"]), as_object(recording["settings"])
    channels = cast(list[Data], settings["channels"])
    return as_text(request["path"]), tuple(sorted({as_int(channel["type"]) for channel in channels}))


def is_played(recording: Data) -> bool:
    """Whether the case is one of chat, completions or embeddings on a channel type that the gateway serves."""
    path, kinds = endpoint(recording)
    return path in PATHS.values() and PLAYED_TYPES.issuperset(kinds)


def as_case(recording: Data) -> Case:
    """The recording as a case whose expectation is what the product charged, and the class of its status."""
    settings, request = as_object(recording["settings"]), as_object(recording["request"])
    money, response = as_object(recording["money"]), as_object(recording["response"])
    user, key = as_object(settings["user"]), as_object(settings["key"])
    charge = as_int(money["charged"])
    leaves = request.get("hangs_up_after_events")
    return Case(
        id=as_text(recording["id"]),
        site=Site(as_object(settings["options"]), tuple(map(_channel, cast(list[Data], settings["channels"])))),
        path=as_text(request["path"]),
        body=as_object(request["body"]),
        answers=_answers(cast(list[Data], recording["upstream"])),
        expected=Expected((charge, charge), None if leaves is not None else as_int(response["status"])),
        quota=as_int(user["quota"]),
        group=as_text(user["group"]),
        key=KeyTerms(key["unlimited_quota"] is True, as_int(key["remain_quota"]), as_text(key["group"])),
        leaves_after=None if leaves is None else as_int(leaves),
        at_once=as_int(request.get("at_once", 1)),
    )


def _channel(channel: Data) -> ChannelTerms:
    return ChannelTerms(
        slot=as_text(channel["slot"]),
        models=as_text(channel["models"]),
        group=as_text(channel["group"]),
        kind=as_int(channel["type"]),
        unreachable="unreachable" in as_text(channel["base_url"]),
        more=tuple((name, value) for name, value in channel.items() if name not in CHANNEL_FIELDS),
    )


def _answers(attempts: list[Data]) -> dict[str, tuple[Behaviour, ...]]:
    found: dict[str, tuple[Behaviour, ...]] = {}
    for attempt in attempts:
        slot = as_text(attempt["channel"])
        found[slot] = (*found.get(slot, ()), _behaviour(as_object(attempt["answered"])))
    return found


def _behaviour(answered: Data) -> Behaviour:
    status, content_type = as_int(answered["status"]), as_text(answered["content_type"])
    if "sse" in answered:
        events = tuple(f"{block}\n\n".encode() for block in cast(list[str], answered["sse"]))
        return Stream(events, status, content_type, ends="fin" if "cut" in answered else "done")
    body = answered["body"]
    raw = body if isinstance(body, str) else json.dumps(body)
    after_s = cast(float, answered.get("first_byte_after_s", 0.0))
    return Answer(raw.encode(), status, content_type, after_s=after_s)
