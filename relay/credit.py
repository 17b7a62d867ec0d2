"""A hold and its end: durable before anything is sent, ended exactly once, whatever happens to the call in between.

Commands in flight are never abandoned: if the task is cancelled while one commits, its outcome is awaited before anything else.
"""

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from typing import Protocol, runtime_checkable

import msgspec

from domain import commands
from domain.books import Result
from domain.commands import Command
from ledger.errors import LedgerClosed, LedgerError, LedgerUnavailable
from ledger.writer import Outcome
from relay.errors import Forbidden, Insufficient, Unavailable

log = logging.getLogger("veloera.relay")

SETTLE_TRIES = 4
SETTLE_PAUSE_S = 0.25


class Ledger(Protocol):
    """What the relay needs of the writer."""

    def submit(self, command: Command) -> "asyncio.Future[Result]": ...


End = commands.Settle | commands.Release


@runtime_checkable
class Keeping(Protocol):
    """A ledger that can keep the end of a call while its database is away."""

    def keep(self, command: End) -> "asyncio.Future[Result]":
        """The result stands once it is there: the end is durable, and will be committed. Raises LedgerError, as does the future."""
        ...


class Hold:
    """An open hold. `ended` is true from the first attempt to end it, so that nothing ends it twice."""

    __slots__ = (
        "_doubtful",
        "_growing",
        "_ledger",
        "amount",
        "capped",
        "charge",
        "ended",
        "extensions",
        "group",
        "key",
        "model",
        "user",
    )

    def __init__(self, ledger: Ledger, command: commands.Hold) -> None:
        """Of a command that the ledger has carried out."""
        self._ledger = ledger
        self.charge = command.charge
        self.user = command.user
        self.key = command.key
        self.capped = command.capped
        self.model = command.model
        self.group = command.group
        self.amount = command.amount
        self.extensions = 0
        self.ended = False
        self._growing: asyncio.Future[Result] | None = None
        self._doubtful = False
        """Whether the ledger has not said what became of the last extension."""

    async def extend(self, amount: int) -> Result:
        """Hold more. The result says what is there when it is not enough. Raises LedgerError."""
        self._growing = asyncio.ensure_future(self._extend(amount))
        return await asyncio.shield(self._growing)

    async def _extend(self, amount: int) -> Result:
        n = self.extensions + 1
        command = commands.Extend(
            charge=self.charge, user=self.user, key=self.key, capped=self.capped, n=n, amount=amount
        )
        self._doubtful = True
        result = await outcome(self._ledger, command)
        self._doubtful = False
        if result.ok:
            self.extensions = n
            self.amount += amount
        return result

    def release(
        self, why: str, *, endpoint: str = "", status: int = 0, attempts: Sequence[int] = (), duration_ms: int = 0
    ) -> Coroutine[object, object, Result]:
        """End the hold with nothing charged. Raises Unavailable when it could not be made durable."""
        return self.end(
            commands.Release(
                charge=self.charge,
                user=self.user,
                key=self.key,
                capped=self.capped,
                extensions=self.extensions,
                model=self.model,
                why=why,
                endpoint=endpoint,
                status=status,
                attempts=tuple(attempts),
                duration_ms=duration_ms,
            )
        )

    def end(self, command: End) -> Coroutine[object, object, Result]:
        """End the hold by a command on its charge. Raises Unavailable when that could not be made durable."""
        self.ended = True
        growing = self._growing
        return self._end(command) if growing is None else self._end_grown(command, growing)

    async def _end_grown(self, command: End, growing: "asyncio.Future[Result]") -> Result:
        """An end names its extensions: the one that is under way is waited for, also where nobody else does any more."""
        await asyncio.wait([growing])
        return await self._end(msgspec.structs.replace(command, extensions=self.extensions))

    async def _end(self, command: End) -> Result:
        """The same command may be sent again after a failure: a stream ends once, however often it is told to."""
        for attempt in range(SETTLE_TRIES):
            try:
                result = await outcome(self._ledger, command)
            except (LedgerClosed, LedgerUnavailable) as error:
                kept = await _kept(self._ledger, command)
                if kept is not None:
                    return kept
                if isinstance(error, LedgerClosed):
                    break
                if attempt + 1 < SETTLE_TRIES:
                    await asyncio.sleep(SETTLE_PAUSE_S * 2**attempt)
            else:
                if result.ok or _is_over(command, result):
                    return result
                if result.status != "stale" or not self._doubtful:
                    raise Unavailable(f"the hold was not ended: {result.status} {result.why}")
                # The last extension was made, and the answer to it was lost.
                self._doubtful = False
                command = msgspec.structs.replace(command, extensions=self.extensions + 1)
        raise Unavailable("the charge could not be made durable; the hold is closed by its deadline")


def _is_over(command: End, result: Result) -> bool:
    """A hold that was to be given back, and has ended already: by its deadline, for one."""
    return isinstance(command, commands.Release) and result.status.startswith("already_")


async def open_hold(ledger: Ledger, command: commands.Hold) -> Hold:
    """Hold before anything is sent. Raises Insufficient, Forbidden (a frozen user), Unavailable; then nothing is held."""
    try:
        result = await outcome(ledger, command)
    except LedgerError as error:
        raise Unavailable(str(error)) from error
    if result.status == "insufficient":
        of = "your key's limit" if result.account.startswith("key:") else "user quota"
        raise Insufficient(needed_mills=result.needed, available_mills=result.available, of=of)
    if result.status == "frozen":
        raise Forbidden(
            "your account is frozen: nothing new is charged to it; ask whoever runs this gateway", code="user_frozen"
        )
    if not result.ok:
        raise Unavailable(f"the hold was not made: {result.status} {result.why}")
    return Hold(ledger, command)


async def outcome(ledger: Ledger, command: Command) -> Result:
    """What became of a command, also when the task is cancelled meanwhile: then the cancellation goes on afterwards."""
    future = ledger.submit(command)
    try:
        return await (future if type(future) is Outcome else asyncio.shield(future))
    except asyncio.CancelledError:
        if future.cancelled():
            raise
        if not future.done():
            await asyncio.wait([future])
        if isinstance(command, commands.Hold):
            await _give_back(ledger, command, future)
        elif isinstance(command, End) and isinstance(future.exception(), LedgerClosed | LedgerUnavailable):
            await _kept(ledger, command)
        raise


async def _kept(ledger: Ledger, command: End) -> Result | None:
    """Have an end kept that the ledger did not take; None where nothing can keep it."""
    if not isinstance(ledger, Keeping):
        return None
    try:
        return await asyncio.shield(ledger.keep(command))
    except LedgerError as error:
        log.error("end_not_kept charge=%s error=%s", command.charge, error)
        return None


async def _give_back(ledger: Ledger, command: commands.Hold, future: "asyncio.Future[Result]") -> None:
    """A hold whose call was cancelled while it was made: release it, so that it does not wait for its deadline."""
    if future.exception() is None and future.result().status == "created":
        try:
            await Hold(ledger, command).release("cancelled")
        except Unavailable as error:
            log.error("release_failed charge=%s why=cancelled error=%s", command.charge, error)
