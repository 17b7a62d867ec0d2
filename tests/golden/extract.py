"""Makes `facts.json` from the recordings: settings, request shape, usage and charge of each case; none of their texts.

Run it as `python -m tests.golden.extract` where the recordings are. A case that `docs/differences.md` names gets our charge
and status, every other one the recorded ones.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import cast

from tests.golden.cases import RICH_QUOTA
from tests.golden.differences import Difference, read_differences
from tests.golden.facts import PATHS, TABLE
from tests.golden.recordings import CHANNEL_FIELDS, endpoint, is_played, read_recordings
from tests.harness.admin import Data, as_int, as_object, as_text

KINDS = {path: kind for kind, path in PATHS.items()}
OPENAI_TYPE = 1
ASKED = ("model", "stream", "max_tokens", "n")
TOKENS_OF_SHORT = 6
"""The letters of the recorded answers that are shorter than a sentence; ours for them is the short one."""


def extract() -> Iterator[Data]:
    """The facts of every recorded case on our endpoints and channel types."""
    differences = read_differences()
    for recording in read_recordings():
        if is_played(recording):
            path, _ = endpoint(recording)
            yield _fact(recording, path, differences.get(as_text(recording["id"])))


def _fact(recording: Data, path: str, difference: Difference | None) -> Data:
    settings, request = as_object(recording["settings"]), as_object(recording["request"])
    fact: Data = {"id": recording["id"], "options": settings["options"]}
    fact["channels"] = [_channel(channel) for channel in cast(list[Data], settings["channels"])]
    fact |= _caller(as_object(settings["user"]), as_object(settings["key"]))
    fact["ask"] = _ask(as_object(request["body"]), path)
    plays: dict[str, list[Data]] = {}
    for attempt in cast(list[Data], recording["upstream"]):
        plays.setdefault(as_text(attempt["channel"]), []).append(_play(as_object(attempt["answered"])))
    fact["plays"] = {
        slot: played[:1] if all(play == played[0] for play in played) else played for slot, played in plays.items()
    }
    if "hangs_up_after_events" in request:
        fact["leaves_after"] = request["hangs_up_after_events"]
    if "at_once" in request:
        fact["at_once"] = request["at_once"]
    return fact | _outcome(recording, difference)


def _outcome(recording: Data, difference: Difference | None) -> Data:
    if difference is not None:
        return {"charge": list(difference.ours.charge), "status": difference.ours.status, "exactly": True}
    charge = as_int(as_object(recording["money"])["charged"])
    left = "hangs_up_after_events" in as_object(recording["request"])
    return {"charge": [charge, charge], "status": None if left else as_object(recording["response"])["status"]}


def _channel(channel: Data) -> Data:
    kept: Data = {"slot": channel["slot"], "models": channel["models"]}
    if channel["type"] != OPENAI_TYPE:
        kept["kind"] = channel["type"]
    if channel["group"] != "default":
        kept["group"] = channel["group"]
    if "unreachable" in as_text(channel["base_url"]):
        kept["unreachable"] = True
    return kept | {name: value for name, value in channel.items() if name not in CHANNEL_FIELDS}


def _caller(user: Data, key: Data) -> Data:
    terms: Data = {}
    if key["unlimited_quota"] is True:
        terms["unlimited"] = True
    if key["remain_quota"] != RICH_QUOTA:
        terms["remain_quota"] = key["remain_quota"]
    if key["group"]:
        terms["group"] = key["group"]
    caller: Data = {"key": terms} if terms else {}
    if user["quota"] != RICH_QUOTA:
        caller["quota"] = user["quota"]
    if user["group"] != "default":
        caller["group"] = user["group"]
    return caller


def _ask(body: Data, path: str) -> Data:
    ask: Data = {"of": KINDS[path], **{name: body[name] for name in ASKED if name in body}}
    if as_object(body.get("stream_options", {})).get("include_usage") is True:
        ask["include_usage"] = True
    if "tools" in body:
        ask["tools"] = True
    if "audio" in body:
        ask["audio"] = True
    if len(cast(list[object], body.get("messages", []))) == 2:
        ask["prompt"] = "chinese"
    return ask


def _play(answered: Data) -> Data:
    status = as_int(answered["status"])
    if "sse" in answered:
        return _stream(answered)
    body = answered["body"]
    if not isinstance(body, dict):
        return {"of": "html", "status": status}
    whole = cast(Data, body)
    if "error" in whole:
        return {"of": "error", "status": status}
    stated: Data = {"usage": whole["usage"]} if whole.get("usage") is not None else {}
    if "data" in whole:
        return {"of": "embeddings", **stated}
    choices = cast(list[Data], whole["choices"])
    if "text" in choices[0]:
        return {"of": "text", **stated}
    finish: Data = {} if choices[0]["finish_reason"] == "stop" else {"finish": choices[0]["finish_reason"]}
    late: Data = {"after_s": answered["first_byte_after_s"]} if "first_byte_after_s" in answered else {}
    said = [_said(as_object(choice["message"])) for choice in choices]
    return {"of": "chat", "choices": said, **finish, **stated, **late}


def _said(message: Data) -> str:
    content = message["content"]
    if message.get("reasoning_content"):
        return "reasoning"
    if message.get("tool_calls"):
        return "tool"
    if content is None:
        return "null"
    text = as_text(content)
    if not text.strip():
        return "blank" if text else "empty"
    if not text.isascii():
        return "chinese"
    return "short" if len(text) <= TOKENS_OF_SHORT else "text"


def _stream(answered: Data) -> Data:
    data = [block.removeprefix("data: ") for block in cast(list[str], answered["sse"])]
    chunks = [as_object(json.loads(line)) for line in data if line != "[DONE]"]
    play: Data = {"of": "stream", "deltas": [said for chunk in chunks if (said := _delta(chunk)) is not None]}
    for chunk in chunks:
        for choice in cast(list[Data], chunk.get("choices", [])):
            if choice.get("finish_reason"):
                play["finish"] = choice["finish_reason"]
        if chunk.get("usage") is not None:
            play["usage"] = chunk["usage"]
            if chunk["choices"]:
                play["usage_on"] = "finish"
    if "[DONE]" in data:
        play["done"] = True
    if "cut" in answered:
        play["cut"] = True
    return play


def _delta(chunk: Data) -> str | None:
    if "error" in chunk:
        return "error"
    for choice in cast(list[Data], chunk.get("choices", [])):
        delta = as_object(choice["delta"])
        if delta.get("tool_calls"):
            return "tool"
        if delta.get("reasoning_content"):
            return "reasoning"
        if content := delta.get("content"):
            return "text" if as_text(content).strip() else "blank"
    return None


if __name__ == "__main__":
    lines = ",\n".join(json.dumps(fact, ensure_ascii=False) for fact in extract())
    TABLE.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
