"""The story of one call: authenticate, admit, quote, hold, route, relay, meter, settle.

However a call ends (answered, failed, client gone), its hold ends exactly once; no request goes upstream before its hold is durable,
and no answer ends before its charge is.
"""

from collections.abc import Mapping
from functools import lru_cache

import msgspec

from domain import commands
from relay.admission import Caller, Quote, authenticate, place_for, quote
from relay.asked import Asked
from relay.attempts import Attempt, attempt
from relay.call import Call
from relay.credit import Hold, open_hold
from relay.desk import Desk
from relay.errors import Exhausted, Interrupted, RelayError, Unavailable
from relay.format import Format
from relay.limits import Admission
from relay.router import Route, worth_another_route
from relay.settling import FailedAtFirst, give_back, settle_unanswered
from relay.streaming import Stream
from relay.upstream import Answer
from relay.whole import answer_whole

PASSED_HEADERS = frozenset({"openai-processing-ms", "openai-version", "retry-after"})
PASSED_PREFIX = "x-ratelimit-"
JSON = "application/json"
SSE = "text/event-stream; charset=utf-8"
STATUS_WHEN_INTERRUPTED = {"client_left": 499, "shutdown": 503}


class Head(msgspec.Struct, frozen=True):
    """The head of an answer."""

    status: int
    content_type: str
    headers: list[tuple[str, str]]


class Reply(msgspec.Struct, frozen=True):
    """An answer: whole and charged for, or a stream that has begun. Who takes a stream ends it (`Stream.end`)."""

    head: Head
    body: bytes
    """All of it; of a stream the first of it."""
    stream: Stream | None = None


async def relay(call: Call, desk: Desk, format_: Format) -> Reply:
    """Carry one call to a provider and back.

    Raises:
        Refused: the caller may not make this call, or cannot pay for it; nothing was held.
        Unavailable: the ledger cannot hold or settle now.
        Exhausted: no route answered; the hold was released.
        Interrupted: the client left before there was an answer; what was owed is settled.
    """
    caller = authenticate(call, desk)
    asked = format_.read(call.body)
    admission = await desk.limits.admit(call, asked, caller, format_, desk.directory.settings)
    try:
        quoted = quote(asked, caller, place_for(asked, caller, desk), desk)
        hold = await open_hold(desk.ledger, _hold(call, desk, asked, caller, quoted, format_))
        # What is held for is relayed; however that ends, so does the hold. Of a stream, `Stream.end` sees to that.
        call.lasts_at_most(desk.bounds.total_timeout_s)
        desk.open_calls.add(call)
        streams = False
        try:
            reply = await _reply(call, desk, asked, format_, hold, quoted, caller, admission)
            streams = reply.stream is not None
            return reply
        finally:
            if not streams:
                desk.open_calls.discard(call)
                if not hold.ended:
                    await give_back(hold, desk, call, "abandoned", 0, [])
    except RelayError:
        admission.failed()
        raise


async def _reply(
    call: Call,
    desk: Desk,
    asked: Asked,
    format_: Format,
    hold: Hold,
    quoted: Quote,
    caller: Caller,
    admission: Admission,
) -> Reply:
    """Try the routes in their order until one answers. Ends the hold before it raises."""
    retries = 0 if caller.pinned else desk.directory.settings.int("RetryTimes")
    tried: list[int] = []
    failure: Exhausted | None = None
    route: Route | None = None
    try:
        for route in desk.router.routes(quoted.place, quoted.prices.by_name, retries=retries):
            tried.append(route.channel_id)
            made = await attempt(call, desk, asked, format_, route)
            if made.answer is None:
                failure = made.failure
            else:
                try:
                    return await _begin(call, desk, asked, format_, hold, quoted, made, made.answer, tried, admission)
                except FailedAtFirst as error:
                    failure = error.failure
                    made.answer.close()
            assert failure is not None, "an attempt has an answer or a failure"
            if not worth_another_route(failure.status):
                break
    except Interrupted as error:
        await _end_unanswered(call, desk, asked, format_, hold, route, tried, error)
        raise _said_of(error) from None
    failure = failure or Exhausted("no channel is left for this call", status=503, code="no_channel")
    await give_back(hold, desk, call, "upstream_failed", failure.status, tried)
    raise failure


async def _begin(
    call: Call,
    desk: Desk,
    asked: Asked,
    format_: Format,
    hold: Hold,
    quoted: Quote,
    made: Attempt,
    answer: Answer,
    tried: list[int],
    admission: Admission,
) -> Reply:
    """The first of an answer, or all of it. Raises FailedAtFirst, Interrupted, Unavailable."""
    passed = _passed(answer.headers)
    if answer.headers.get("content-type", "").startswith("text/event-stream"):
        stream = Stream(call, desk, asked, format_, hold, quoted, made, tried, admission)
        return Reply(Head(200, SSE, passed), await stream.begin(), stream)
    try:
        body = await answer_whole(call, desk, asked, format_, hold, made, answer, tried)
    finally:
        answer.close()
    if asked.stream:
        return Reply(Head(200, SSE, passed), format_.stream_of(body, with_usage=asked.wants_usage))
    return Reply(Head(200, JSON, passed), body)


def _said_of(error: Interrupted) -> RelayError:
    if error.why == "client_left":
        return error
    if error.why == "shutdown":
        return Unavailable("the gateway is shutting down; send the request again", code="shutting_down")
    phase = error.why.replace("_", " ")
    return Exhausted(f"the provider did not answer in time ({phase})", status=504, code="upstream_timeout")


def _hold(call: Call, desk: Desk, asked: Asked, caller: Caller, quoted: Quote, format_: Format) -> commands.Hold:
    bounds = desk.bounds
    return commands.Hold(
        charge=call.id,
        user=caller.user.id,
        key=caller.key.id,
        capped=not caller.key.unlimited,
        model=asked.model,
        group=caller.group,
        prices=quoted.prices.listed,
        amount=quoted.ceiling_mills,
        input_bound=quoted.input_bound,
        output_bound=quoted.output_bound,
        endpoint=format_.name,
        stream=asked.stream,
        node=desk.node,
        epoch=desk.epoch,
        ttl_ms=int((bounds.total_timeout_s + bounds.hold_grace_s) * 1000),
        client_request_id=call.client_request_id,
    )


async def _end_unanswered(
    call: Call,
    desk: Desk,
    asked: Asked,
    format_: Format,
    hold: Hold,
    route: Route | None,
    tried: list[int],
    error: Interrupted,
) -> None:
    """The wait for an answer ended early. Who left after the request had been sent whole pays for its input; nobody else pays."""
    if hold.ended:
        return
    if error.why == "client_left" and call.sending.whole and route is not None:
        await settle_unanswered(call, desk, asked, format_, hold, route, tried)
        return
    why = "client_left" if error.why == "client_left" else "shutdown" if error.why == "shutdown" else "upstream_failed"
    await give_back(hold, desk, call, why, STATUS_WHEN_INTERRUPTED.get(error.why, 504), tried)


def _passed(headers: Mapping[str, str]) -> list[tuple[str, str]]:
    """The provider's headers that a client can use; its account and its cookies are none of them."""
    found: list[tuple[str, str]] = []
    for name, value in headers.items():
        lower = _name_passed(name)
        if lower:
            found.append((lower, value))
    return found


@lru_cache(maxsize=1024)
def _name_passed(name: str) -> str:
    """A header's name in lower case, if it is passed on; else "". The same few names come again and again."""
    lower = name.lower()
    return lower if lower in PASSED_HEADERS or lower.startswith(PASSED_PREFIX) else ""
