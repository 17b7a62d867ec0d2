"""Reads `facts.json`, our own table of what a call costs: numbers and shapes, played with texts of our own.

A fact says `text` where the upstream answered in words. Where a count of the words decides the charge, ours were chosen to
count the same: the prompt is 6 tokens, the answer 4, the short answer 2, in both encodings; the Chinese ones are counted
in `cl100k_base`.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import cast

from tests.golden.cases import RICH_QUOTA, Case, ChannelTerms, Expected, KeyTerms, Site
from tests.harness import wire
from tests.harness.admin import Data, as_int, as_object, as_text
from tests.harness.behaviours import Answer, Behaviour, Stream

TABLE = Path(__file__).with_name("facts.json")
PATHS = {"chat": "/v1/chat/completions", "text": "/v1/completions", "embeddings": "/v1/embeddings"}
PROMPT = "Count every coin you find."
PIECES = ("Three", " copper", " coins.")
SAID: dict[str, str | None] = {
    "text": "".join(PIECES),
    "short": "Coins.",
    "chinese": "一共三枚铜币，对。",
    "empty": "",
    "blank": "  \n\t",
    "null": None,
    "tool": None,
    "reasoning": "",
}
PROMPTS = {
    "plain": [{"role": "user", "content": PROMPT}],
    "chinese": [{"role": "system", "content": "You count."}, {"role": "user", "content": "三枚铜币"}],
}
TOOL: dict[str, object] = {
    "type": "function",
    "function": {"name": "count_coins", "parameters": {"type": "object", "properties": {}}},
}
CALLED: dict[str, object] = {"tool_calls": [wire.tool_call("count_coins", "{}")]}
FLAGS: dict[str, dict[str, object]] = {
    "include_usage": {"stream_options": {"include_usage": True}},
    "tools": {"tools": [TOOL]},
    "audio": {"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}},
}


def read_facts(table: Path = TABLE) -> list[Case]:
    """Every fact as a case."""
    return [as_case(fact) for fact in cast(list[Data], json.loads(table.read_text(encoding="utf-8")))]


def as_case(fact: Data) -> Case:
    """One fact as a case; what it does not say is as on a fresh site with a rich caller."""
    key, ask = as_object(fact.get("key", {})), as_object(fact["ask"])
    low, high = cast(list[int], fact["charge"])
    status = fact["status"]
    plays = cast(dict[str, list[Data]], fact.get("plays", {}))
    return Case(
        id=as_text(fact["id"]),
        site=Site(
            as_object(fact["options"]), tuple(_channel(channel) for channel in cast(list[Data], fact["channels"]))
        ),
        path=PATHS[as_text(ask["of"])],
        body=_body(ask),
        answers={slot: tuple(map(_behaviour, played)) for slot, played in plays.items()},
        expected=Expected((low, high), None if status is None else as_int(status), fact.get("exactly") is not True),
        quota=as_int(fact.get("quota", RICH_QUOTA)),
        group=as_text(fact.get("group", "default")),
        key=KeyTerms(
            key.get("unlimited") is True, as_int(key.get("remain_quota", RICH_QUOTA)), as_text(key.get("group", ""))
        ),
        leaves_after=as_int(fact["leaves_after"]) if "leaves_after" in fact else None,
        at_once=as_int(fact.get("at_once", 1)),
    )


def _channel(channel: Data) -> ChannelTerms:
    plain = {name: channel[name] for name in ("slot", "models", "group", "kind", "unreachable") if name in channel}
    terms = ChannelTerms(**plain)  # type: ignore[arg-type]
    return replace(terms, more=tuple((name, value) for name, value in channel.items() if name not in plain))


def _body(ask: Data) -> dict[str, object]:
    flags = {name: FLAGS[name] for name in FLAGS if ask.get(name)}
    body: dict[str, object] = {name: value for name, value in ask.items() if name not in {"of", "prompt", *FLAGS}}
    match ask["of"]:
        case "chat":
            body["messages"] = PROMPTS[as_text(ask.get("prompt", "plain"))]
        case "text":
            body["prompt"] = PROMPT
        case _:
            body["input"] = [PROMPT, "And again."]
    for more in flags.values():
        body |= more
    return body


def _behaviour(play: Data) -> Behaviour:
    usage, model = play.get("usage"), as_text(play.get("model", "m"))
    match play["of"]:
        case "chat":
            answer = _chat(cast(list[str], play["choices"]), usage, model, as_text(play.get("finish", "stop")))
            return answer.delayed(cast(float, play.get("after_s", 0.0)))
        case "text":
            return wire.completion(usage=usage, model=model)
        case "embeddings":
            return wire.embeddings(2, usage, model=model)
        case "stream":
            return _stream(play, usage, model)
        case "html":
            return Answer(b"<html>sign in</html>", as_int(play["status"]), "text/html")
        case _:
            return wire.failure(as_int(play["status"]))


def _chat(choices: list[str], usage: object, model: str, finish: str) -> Answer:
    said = choices[0]
    more: dict[str, object] = {}
    if said == "tool":
        more = CALLED
    elif said == "reasoning":
        more = {"reasoning_content": "Which coins?"}
    return wire.chat(SAID[said], usage, model=model, finish=finish, choices=len(choices), **more)


def _stream(play: Data, usage: object, model: str) -> Stream:
    said = cast(list[str], play["deltas"])
    finish = play.get("finish")
    stream = wire.delta_stream(
        [_delta(kind, number, len(said)) for number, kind in enumerate(said) if kind != "error"],
        usage,
        model=model,
        usage_on=as_text(play.get("usage_on", "own")),
        finish=None if finish is None else as_text(finish),
        done=play.get("done") is True,
    )
    if "error" in said:
        stream = replace(
            stream, events=(*stream.events, wire.event('{"error":{"message":"full","type":"server_error"}}'))
        )
    return replace(stream, ends="fin") if play.get("cut") is True else stream


def _delta(kind: str, number: int, of: int) -> dict[str, object]:
    match kind:
        case "tool":
            return CALLED
        case "blank":
            return {"content": " "}
        case "reasoning":
            return {"reasoning_content": " think"}
        case _:
            return {"content": PIECES[number] if of <= len(PIECES) else f" coin{number}"}
