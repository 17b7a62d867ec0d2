"""An answer that is not streamed: read whole, settled, and only then sent."""

from domain.usage import Usage
from relay.asked import Asked
from relay.attempts import Attempt, read_failure
from relay.call import Call
from relay.credit import Hold
from relay.desk import Desk
from relay.errors import Exhausted, UpstreamCut
from relay.format import Answered, Format
from relay.meter import Measured, believable, counted
from relay.settling import NOTHING, Ending, FailedAtFirst, settle
from relay.upstream import Answer, AnswerTooLarge


async def answer_whole(
    call: Call,
    desk: Desk,
    asked: Asked,
    format_: Format,
    hold: Hold,
    made: Attempt,
    answer: Answer,
    tried: list[int],
) -> bytes:
    """The answer's bytes, charged. Raises FailedAtFirst, Interrupted, Unavailable."""
    call.patience("first_byte", desk.bounds.first_byte_timeout_s)
    try:
        body = await call.wait(answer.read(desk.bounds.answer_bytes))
    except AnswerTooLarge as error:
        raise FailedAtFirst(Exhausted(str(error), status=502, code="bad_response_body")) from error
    except UpstreamCut as error:
        raise FailedAtFirst(
            Exhausted("the provider's answer broke off", status=502, code="read_response_body_failed")
        ) from error
    read = format_.read_answer(body)
    if read is None:
        raise FailedAtFirst(
            Exhausted("the provider's answer is not what its endpoint gives", status=502, code="bad_response_body")
        )
    if read.is_error:
        raise FailedAtFirst(read_failure(body, 200, status=502))
    first_byte_ms = call.elapsed_ms
    measured, by = _stated(format_, read)
    if measured is None:
        text = format_.text_of(body)
        measured = await counted(desk.counter, format_, asked, made.route.served.upstream_model, text)
    await settle(
        call, desk, hold, made, tried, measured, Ending(by, asked.stream, first_byte_ms if asked.stream else -1)
    )
    return body


def _stated(format_: Format, read: Answered) -> tuple[Measured | None, str]:
    """(usage that the provider states, how the call ended). An empty answer that it ended itself is free, where that can be."""
    usage: Usage | None = believable(read.usage) if read.usage is not None else None
    if read.is_empty and format_.free_when_empty and (usage is None or usage.reasoning == 0):
        return NOTHING, "empty"
    if usage is not None and not usage.is_empty:
        return Measured(usage, "upstream"), "complete"
    return None, "complete"
