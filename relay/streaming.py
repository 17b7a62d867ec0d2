"""A stream: passed on as it comes, metered as it passes, its end kept back until the charge is durable.

Everything from the event with `finish_reason` on waits for upstream's end (at most the tail wait), then for the settlement. A
stream that outgrows its hold extends it; one that cannot is ended politely.
"""

import asyncio
from typing import Protocol

from domain.books import Result
from domain.pricing import Price
from ledger.errors import LedgerError
from relay import sse
from relay.admission import Quote
from relay.asked import Asked
from relay.attempts import Attempt, read_failure
from relay.call import Call
from relay.credit import Hold
from relay.desk import Desk
from relay.errors import Exhausted, Interrupted, RelayError, UpstreamCut
from relay.format import Format
from relay.json_values import as_object
from relay.limits import Admission
from relay.meter import Measured, Meter, Verdict
from relay.settling import NOTHING, Ending, FailedAtFirst, give_back, settle

ASK_AT_PERCENT = 75
SLACK_TOKENS = 16


class Sink(Protocol):
    """Where a stream goes, for what need not wait."""

    @property
    def is_ready(self) -> bool:
        """The client is there and takes what is sent to it, and the answer has begun."""
        ...

    def take(self, piece: bytes) -> None:
        """Send it now; while `is_ready` only."""
        ...


class Cover:
    """How far a hold reaches, in output tokens, and the asking for more."""

    __slots__ = ("_asking", "_hold", "_last", "_limit", "_price", "_step", "_wanted", "tokens")

    def __init__(self, hold: Hold, price: Price, quoted: Quote, step: int) -> None:
        self._hold = hold
        self._price = price
        self.tokens = quoted.output_bound
        self._limit = quoted.output_limit
        self._step = step
        self._last = False
        self._wanted = 0
        self._asking: asyncio.Task[Result] | None = None

    @property
    def ample_tokens(self) -> int:
        """So many output tokens are so far below what is held that nothing need be asked for."""
        return (self.tokens * ASK_AT_PERCENT - 1) // 100

    async def reaches(self, meter: Meter) -> bool:
        """Whether the stream may go on. Asks for more in time, and waits only when it has to."""
        if meter.output <= self.ample_tokens:
            return True
        output = meter.look_closely()
        while output >= self._reach():
            if self._is_free():
                return True
            if self._asking is None:
                if self._last:
                    return False
                self._ask()
            await self.settled()
        if self.tokens < self._limit and output * 100 >= self.tokens * ASK_AT_PERCENT:
            self._ask()
        return True

    def _reach(self) -> int:
        """Our count is an estimate: what the client allowed itself may pass it by a quarter before more is asked for."""
        return self.tokens if self.tokens < self._limit else self.tokens * 5 // 4 + SLACK_TOKENS

    async def settled(self) -> None:
        """Wait until nothing is being asked for. A ledger that cannot extend now ends the stream politely."""
        while self._asking is not None:
            asking, self._asking = self._asking, None
            try:
                result = await asyncio.shield(asking)
            except LedgerError:
                self._last = True
                return
            self._take(result)

    def _ask(self) -> None:
        if self._asking is None and not self._last and not self._is_free():
            wanted = self._limit - self.tokens if self.tokens < self._limit else self._limit // 4 + SLACK_TOKENS
            more = min(self._step, wanted)
            self._request(more, self._price.ceiling_mills(0, more))

    def _request(self, tokens: int, amount: int) -> None:
        self._wanted = tokens
        self._asking = asyncio.ensure_future(self._hold.extend(amount))

    def _take(self, result: Result) -> None:
        if result.ok:
            self.tokens += self._wanted
            return
        # Not enough for a whole step: take what there is, once, so that the user gets all that was paid for.
        there = result.available * self._wanted // max(1, result.needed) if result.status == "insufficient" else 0
        self._last = True
        if there > 0:
            self._request(there, min(result.available, self._price.ceiling_mills(0, there)))

    def _is_free(self) -> bool:
        return self._price.ceiling_mills(0, 1000) == self._price.ceiling_mills(0, 0)


class Stream:
    """One stream under way. `begin` reads the first of it, `more` gives the rest piece by piece, and settles before the last."""

    def __init__(
        self,
        call: Call,
        desk: Desk,
        asked: Asked,
        format_: Format,
        hold: Hold,
        quoted: Quote,
        made: Attempt,
        tried: list[int],
        admission: Admission,
    ) -> None:
        assert made.answer is not None, "there is an answer to stream"
        self._call = call
        self._desk = desk
        self._asked = asked
        self._format = format_
        self._hold = hold
        self._made = made
        self._tried = tried
        self._admission = admission
        self._answer = made.answer
        self._splitter = sse.Splitter(desk.bounds.event_bytes)
        self._meter = Meter(format_, asked)
        self._tail: list[bytes] = []
        self._begun = False
        self._said_something = False
        self._ended_by = ""
        self._settled = False
        self._sink: Sink | None = None
        self._cover = Cover(hold, made.route.price, quoted, desk.bounds.hold_output_tokens * asked.choices)
        self._first_byte_ms = -1
        call.patience("first_byte", desk.bounds.first_byte_timeout_s)

    async def begin(self) -> bytes:
        """The first bytes for the client. Raises FailedAtFirst and Interrupted while nothing has come."""
        return await self._next()

    async def more(self, sink: Sink | None = None) -> bytes | None:
        """The next bytes for the client, the last of them once the charge is durable; None after them.

        What has only text in it may go to `sink` as it comes: most events of most streams wake nobody. Raises Unavailable when the
        charge cannot be made durable.
        """
        self._sink = sink
        while not self._ended_by:
            chunk = await self._next()
            if chunk:
                return chunk
        if self._settled:
            return None
        self._settled = True
        try:
            return await self._settle()
        except RelayError:
            self._admission.failed()
            raise

    async def end(self) -> None:
        """Done with it, however far it came: its hold ends with it. Whoever takes a stream calls this."""
        self._answer.close()
        self._desk.open_calls.discard(self._call)
        if not self._hold.ended:
            await give_back(self._hold, self._desk, self._call, "abandoned", 0, [])

    async def _settle(self) -> bytes:
        """Charge, then the end for the client."""
        await self._cover.settled()
        measured = await self._measure()
        ended_by = "empty" if measured is NOTHING else self._ended_by
        ending = Ending(ended_by, True, self._first_byte_ms)
        await settle(self._call, self._desk, self._hold, self._made, self._tried, measured, ending)
        return b"" if self._call.client_is_gone else self._ending(ended_by, measured)

    async def _next(self) -> bytes:
        """Bytes to pass on. Sets `_ended_by` when there will be no more."""
        try:
            chunk = await self._call.wait(self._answer.read_some(None if self._sink is None else self._pass_at_once))
            if not chunk:
                return self._at_the_end()
            passed = self._read(chunk)
        except Interrupted as error:
            self._interrupted(error)
            return b""
        except (UpstreamCut, sse.EventTooLarge) as error:
            self._cut(error)
            return b""
        if not await self._cover.reaches(self._meter):
            self._answer.close()
            self._tail = []
            self._ended_by = "quota_end"
        return passed

    def _pass_at_once(self, chunk: bytes) -> bool:
        """A tap: pass on a chunk whose reading needs no wait, neither for the client nor for a larger hold."""
        sink, meter = self._sink, self._meter
        if (
            sink is None
            or not sink.is_ready
            or not self._begun
            or not self._splitter.is_empty
            or not meter.passes_whole(chunk, self._cover.ample_tokens)
        ):
            return False
        self._call.heard()
        sink.take(chunk)
        return True

    def _read(self, chunk: bytes) -> bytes:
        if self._begun:
            self._call.heard()
            if self._splitter.is_empty and self._meter.passes_whole(chunk):
                return chunk
        else:
            self._begin()
        passed: list[bytes] = []
        for event in self._splitter.feed(chunk):
            self._take(event, passed)
        return b"".join(passed)

    def _begin(self) -> None:
        self._begun = True
        self._first_byte_ms = self._call.elapsed_ms
        self._desk.figures.first_byte.add(self._first_byte_ms / 1000)
        self._call.patience("idle", self._desk.bounds.idle_timeout_s)

    def _take(self, event: bytes, passed: list[bytes]) -> None:
        meter = self._meter
        was_ending = meter.finished or meter.done
        verdict = meter.read(event)
        if meter.error and not self._said_something:
            raise FailedAtFirst(read_failure(sse.data_of(event), 200, status=502))
        self._said_something = True
        if verdict is Verdict.DROP:
            return
        if verdict is Verdict.PASS and not was_ending:
            passed.append(event)
            return
        self._tail.append(event)
        if not was_ending:
            self._call.patience("tail", self._desk.bounds.tail_wait_s)

    def _at_the_end(self) -> bytes:
        if not self._begun:
            raise FailedAtFirst(
                Exhausted("the provider ended its stream before it began", status=502, code="empty_stream")
            )
        passed: list[bytes] = []
        rest = self._splitter.rest()
        if rest.strip():
            self._take(rest.rstrip(b"\r\n") + b"\n\n", passed)
        self._ended_by = "complete"
        return b"".join(passed)

    def _interrupted(self, error: Interrupted) -> None:
        self._answer.close()
        if error.why == "tail":
            self._ended_by = "complete"
        elif not self._begun:
            raise error
        else:
            self._ended_by = error.why if error.why in ("client_left", "shutdown") else "upstream_timeout"

    def _cut(self, error: Exception) -> None:
        self._answer.close()
        if not self._begun:
            raise FailedAtFirst(Exhausted("the provider's stream broke off", status=502, code="stream_cut")) from error
        # After the finish event nothing is missing but the end of the connection.
        self._ended_by = "complete" if self._meter.finished else "upstream_cut"

    async def _measure(self) -> Measured:
        meter = self._meter
        whole = self._ended_by == "complete"
        if whole and self._format.free_when_empty and not meter.has_content() and not _hidden_reasoning(meter):
            return NOTHING
        return await meter.measure(self._desk.counter, self._made.route.served.upstream_model, whole=whole)

    def _ending(self, ended_by: str, measured: Measured) -> bytes:
        """What the client gets once the charge is durable."""
        call, asked, meter = self._call, self._asked, self._meter
        if ended_by in ("complete", "empty"):
            events = list(self._tail)
            if asked.wants_usage and meter.usage is None:
                made = self._format.usage_event(asked, call.id, measured.usage, like=meter.last())
                events.insert(len(events) - meter.done, made)
            if not meter.done:
                events.append(sse.DONE)
            return b"".join(events)
        if ended_by in ("quota_end", "shutdown"):
            events = [self._format.closing(asked, call.id, like=meter.last())]
            if asked.wants_usage:
                events.append(self._format.usage_event(asked, call.id, measured.usage, like=meter.last()))
            return b"".join([*events, sse.DONE])
        return sse.event(BROKEN % (b"timed out" if ended_by == "upstream_timeout" else b"broke off", ended_by.encode()))


BROKEN = b'{"error":{"message":"the provider\'s stream %s; what came before it was charged","type":"upstream_error","param":"","code":"%s"}}'


def _hidden_reasoning(meter: Meter) -> bool:
    details = as_object((meter.usage or {}).get("completion_tokens_details"))
    return bool(details.get("reasoning_tokens"))
