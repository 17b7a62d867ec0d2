"""A call as a gateway carries it: hold, upstream, settle. The hold and its end are the relay's own code; the upstream is a plan.

What the client was promised is checked where it is promised: upstream is asked only under a durable hold, and an answer is whole only
with a durable end.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from domain import commands
from domain.pricing import Price
from domain.usage import Usage
from ledger.errors import LedgerError, LedgerUnavailable
from relay.credit import Hold, open_hold
from relay.errors import Forbidden, Insufficient, Unavailable
from tests.simulator.faults import Breach
from tests.simulator.loop import pause
from tests.simulator.redis import RedisGone

if TYPE_CHECKING:
    from tests.simulator.node import Process

PRICES = tuple(
    Price(model=model, group="default", book=1, model_ratio=ratio, completion_ratio="2")
    for model, ratio in (("small", "0.001"), ("odd", "0.0015"))
)
LIMIT_CALLS = 40
TASK_TRIES = 4

Said = Literal["complete", "cut_short", "left", "refused", "unavailable"]


@dataclass
class Request:
    """One request of a client, and what upstream will make of it."""

    attempt: str
    """The client's id for this attempt; no attempt is ever paid for twice."""
    key: int
    price: Price
    input: int
    bound: int
    """Tokens of output that are held for."""
    chunks: int
    chunk: int
    gap_ms: int
    streams: bool
    ends: Literal["complete", "failed", "cut", "empty"] = "complete"
    task: str = ""
    """The call begins a task of this name instead of answering."""
    left: bool = False
    """The client is gone."""
    charge: str = ""
    user: int = 0
    capped: bool = False
    produced: int = 0


async def relay(process: Process, request: Request) -> Said:
    """Carry one call. The answer is what the client is told at the end."""
    hold = await _held(process, request)
    if not isinstance(hold, Hold):
        return hold
    world = process.world
    world.promises.upstream_is_asked(request)
    try:
        how = await _answered(process, request, hold)
        if how == "failed":
            await hold.release("upstream_failed", endpoint="chat", status=502)
            return "unavailable"
        if request.task:
            return await _begun(process, request, hold)
        await _settled(request, hold, how)
    except asyncio.CancelledError:
        if not hold.ended:
            await _given_back(hold)
        raise
    except (Unavailable, LedgerError) as error:
        if "was not ended" in str(error):
            raise Breach(f"the end of {request.attempt} was refused: {error}") from error
        return "unavailable"
    if how in {"complete", "empty"}:
        world.promises.answer_is_whole(process, request)
        return "complete"
    return "left" if request.left else "cut_short"


async def _held(process: Process, request: Request) -> Hold | Said:
    key = process.directory.keys.get(request.key)
    person = process.directory.users.get(key.user) if key else None
    if key is None or key.deleted or key.status != 1 or person is None or not person.is_enabled:
        return "refused"
    if process.directory.is_stuck:
        return "unavailable"
    try:
        if process.world.redis.count(f"key:{key.id}") > LIMIT_CALLS:
            return "refused"
    except RedisGone:
        pass  # without Redis a share of the limit is counted here; what is simulated is that no money depends on it
    request.charge, request.user, request.capped = process.world.new_id(), person.id, not key.unlimited
    command = commands.Hold(
        charge=request.charge,
        user=person.id,
        key=key.id,
        capped=request.capped,
        model=request.price.model,
        group=request.price.group,
        prices=(request.price,),
        amount=request.price.ceiling_mills(request.input, request.bound),
        input_bound=request.input,
        output_bound=request.bound,
        endpoint="chat",
        stream=request.streams,
        node=process.node.name,
        epoch=process.epoch,
        ttl_ms=process.world.plan.ttl_ms,
        client_request_id=request.attempt,
    )
    try:
        return await open_hold(process.ledger, command)
    except (Insufficient, Forbidden):
        return "refused"
    except Unavailable:
        return "unavailable"


async def _answered(process: Process, request: Request, hold: Hold) -> str:
    """What came of upstream. A stream that outgrows its hold extends it, or is ended where it cannot."""
    if request.ends == "failed":
        await pause(request.gap_ms)
        return "failed"
    for sent in range(request.chunks):
        await pause(request.gap_ms)
        if request.left:
            return "client_left"
        if request.ends == "cut" and sent == request.chunks // 2:
            return "upstream_cut"
        if request.ends != "empty":
            request.produced += request.chunk
        if request.streams and not await _grown(request, hold):
            return "quota_end"
    return "empty" if request.ends == "empty" else "complete"


async def _grown(request: Request, hold: Hold) -> bool:
    used = request.price.cost_mills(_usage(request))
    if 4 * used < 3 * hold.amount:
        return True
    try:
        result = await hold.extend(max(1, request.price.ceiling_mills(0, request.bound)))
    except LedgerError:
        return False
    return result.ok


async def _settled(request: Request, hold: Hold, how: str) -> None:
    usage = Usage() if how == "empty" else _usage(request)
    await hold.end(
        commands.Settle(
            charge=hold.charge,
            user=hold.user,
            key=hold.key,
            capped=hold.capped,
            extensions=hold.extensions,
            model=hold.model,
            group=hold.group,
            price=request.price,
            usage=usage,
            cost=request.price.cost_mills(usage),
            ended_by=how,
            basis="none" if how == "empty" else "counted",
            endpoint="chat",
            stream=request.streams,
            channel=1,
            upstream_model=request.price.model,
            upstream_request_id="",
            client_request_id=request.attempt,
            first_byte_ms=request.gap_ms,
            duration_ms=request.gap_ms * request.chunks,
            attempts=(1,),
        )
    )


async def _begun(process: Process, request: Request, hold: Hold) -> Said:
    """Begin a task: settle and accept in one step, asked for until it is known."""
    hold.ended = True
    usage = _usage(request)
    command = commands.Accept(
        charge=hold.charge,
        user=hold.user,
        key=hold.key,
        capped=hold.capped,
        extensions=hold.extensions,
        model=hold.model,
        group=hold.group,
        price=request.price,
        usage=usage,
        cost=request.price.cost_mills(usage),
        ended_by="complete",
        client_request_id=request.attempt,
        channel=1,
        task=request.task,
        kind="video",
        upstream_task_id=f"up-{request.task}",
        task_ttl_ms=process.world.plan.ttl_ms,
    )
    world = process.world
    for attempt in range(TASK_TRIES):
        try:
            result = await process.writer.submit(command)
        except LedgerUnavailable:
            await pause(100 * 2**attempt)
        else:
            if not result.ok:
                raise Breach(f"a task was not begun: {result.status} {result.why}")
            world.promises.answer_is_whole(process, request)
            return "complete"
    return "unavailable"


async def _given_back(hold: Hold) -> None:
    try:
        await hold.release("cancelled")
    except (Unavailable, LedgerError):
        return  # the deadline ends it


def _usage(request: Request) -> Usage:
    return Usage(input=request.input, output=request.produced)
