"""One attempt: what goes to a provider, and what its refusal says."""

from collections.abc import Coroutine, Mapping

import msgspec

from domain.channel import Type
from relay import openai_wire as wire
from relay.asked import Asked, parsed
from relay.call import Call
from relay.desk import Desk
from relay.errors import Exhausted, Interrupted, UpstreamCut, UpstreamUnreachable
from relay.format import Format
from relay.json_values import as_object
from relay.providers import compatible, sandbox
from relay.router import Route
from relay.upstream import Answer, Outgoing, Sending

MAX_ERROR_BYTES = 64 * 1024
MESSAGE_FIELDS = ("message", "msg", "err", "error_msg")
HIDING = "global.hide_upstream_error_enabled"


class Attempt(msgspec.Struct, frozen=True):
    """A provider that has begun to answer well, or the failure that this route ended in."""

    route: Route
    answer: Answer | None
    sending: Sending
    streams: bool
    """Whether the provider was asked to stream."""
    failure: Exhausted | None = None


async def attempt(call: Call, desk: Desk, asked: Asked, format_: Format, route: Route) -> Attempt:
    """Send a call to one route and read the head of its answer. Raises Interrupted, when the call ends meanwhile."""
    terms = route.served.channel.terms
    sending = Sending()
    settings = _json(terms.setting)
    streams = asked.stream and settings.get("stream_support") != "NON_STREAM_ONLY"
    body = format_.upstream_body(
        asked,
        model=route.served.upstream_model,
        stream=streams,
        ask_for_usage=desk.bounds.force_stream_option,
        override=_json(terms.param_override),
    )
    call.sending = sending
    call.patience("connect", desk.bounds.connect_timeout_s)
    try:
        answer = await call.wait(_sent(desk, format_, route, body, streams, settings, sending))
    except (UpstreamUnreachable, UpstreamCut) as error:
        desk.figures.attempted(route.channel_id, "unreachable")
        failure = Exhausted("the request to the provider failed", status=502, code="do_request_failed")
        failure.__cause__ = error
        return Attempt(route, None, sending, streams, failure)
    if answer.status == 200:
        return Attempt(route, answer, sending, streams)
    try:
        failure = await _failure(call, desk, route, answer)
    finally:
        answer.close()
    desk.figures.attempted(route.channel_id, f"status_{answer.status}")
    return Attempt(route, None, sending, streams, failure)


def _sent(
    desk: Desk,
    format_: Format,
    route: Route,
    body: bytes,
    streams: bool,
    settings: Mapping[str, object],
    sending: Sending,
) -> Coroutine[object, object, Answer]:
    """The wait for an answer's head. Raises UpstreamUnreachable for what cannot be sent at all."""
    terms = route.served.channel.terms
    if terms.type == Type.SANDBOX:
        sending.whole = True
        return sandbox.answer(
            as_object(parsed(body)),
            endpoint=format_.name,
            stream=streams,
            model=route.served.upstream_model,
            tokens_per_s=desk.bounds.sandbox_tokens_per_s,
            counter=desk.counter,
        )
    provider = compatible.PROVIDERS.get(terms.type)
    if provider is None:
        raise UpstreamUnreachable(f"channels of type {terms.type} are not served by this release")
    proxy = settings.get("proxy")
    outgoing = Outgoing(
        compatible.address(provider, terms.base_url, format_.path),
        compatible.signed(route.credential, terms.openai_organization),
        body,
        proxy if isinstance(proxy, str) else "",
    )
    return desk.upstream.open(outgoing, sending)


async def _failure(call: Call, desk: Desk, route: Route, answer: Answer) -> Exhausted:
    """What a status that is not 200 says, after the channel's own mapping of statuses."""
    try:
        body = await call.wait(answer.read(MAX_ERROR_BYTES))
    except (UpstreamCut, Interrupted):
        body = b""
    status = answer.status
    mapped = route.served.channel.terms.status_code_mapping.get(str(status), "")
    if mapped.isdigit() and 400 <= int(mapped) <= 599:
        status = int(mapped)
    elif not 400 <= status <= 599:
        status = 502
    hide = desk.directory.settings.bool(HIDING)
    return read_failure(
        body, answer.status, status=status, retry_after=answer.headers.get("retry-after", ""), hide=hide
    )


def read_failure(
    body: bytes, upstream_status: int, *, status: int, retry_after: str = "", hide: bool = False
) -> Exhausted:
    """A provider's error in its own words, where it has any."""
    found = wire.json_object(body)
    if status == 429:
        message = "the channels of your group are saturated; try again later"
    elif hide:
        message = f"Upstream error with status code {upstream_status}"
    else:
        message = _message(found) or f"bad response status code {upstream_status}"
    stated = {} if hide else as_object(found.get("error"))
    return Exhausted(
        message,
        status=status,
        type_=_text(stated.get("type")) or "upstream_error",
        code=_text(stated.get("code")) or "bad_response_status_code",
        param=_text(stated.get("param")) or str(upstream_status),
        retry_after=retry_after,
    )


def _message(found: Mapping[str, object]) -> str:
    error = found.get("error")
    if message := _text(as_object(error).get("message")):
        return message
    if isinstance(error, str) and error:
        return error
    return next((_text(found.get(name)) for name in MESSAGE_FIELDS if _text(found.get(name))), "")


def _text(value: object) -> str:
    return value[:2000] if isinstance(value, str) else str(value) if isinstance(value, int) else ""


def _json(text: str) -> dict[str, object]:
    """A channel's JSON text; it was checked when it was saved."""
    return wire.json_object(text.encode()) if text else {}
