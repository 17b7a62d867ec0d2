"""The way to Redis, which may be slow, gone, empty or lying: whoever asks gets an answer within the timeout, or `Away` at once.

After a failure nobody asks until one background task has had an answer to its PING; so a Redis that hangs costs one timeout,
and then nothing. What is kept there is no authority for anything: each caller says what it does without.
"""

from __future__ import annotations

import asyncio
import logging
from asyncio import AbstractEventLoop
from collections import deque
from collections.abc import AsyncGenerator, Coroutine, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager, suppress
from time import monotonic
from typing import TYPE_CHECKING, Final, Protocol, TypeVar, cast

from relay.shared_scripts import Script

if TYPE_CHECKING:
    from redis.asyncio import Redis
    from redis.asyncio.client import PubSub

log = logging.getLogger("veloera.shared")

TIMEOUT_S: Final = 0.1
RETRY_S: Final = 1.0
CONNECT_TIMEOUT_S: Final = 1.0
"""For the background task only; callers wait for a connection no longer than for an answer."""
MAX_WAITING: Final = 32
"""Calls that wait for Redis at once; one more does without."""
FEW_TIMES: Final = 20
FEW_ODD: Final = 8
ODD_WITHIN_S: Final = 10.0
"""So many answers that cannot be, within so long, and Redis is left alone for a while."""

T = TypeVar("T")
Part = str | int | bytes


class Away(Exception):
    """Redis cannot be asked now, or its answer cannot be: do without it."""


class Link:
    """One process's client. `start` it on the loop that calls it; threads use `wait_for` and `send`. An empty URL is no Redis."""

    def __init__(
        self, url: str = "", *, space: str = "", timeout_s: float = TIMEOUT_S, retry_s: float = RETRY_S
    ) -> None:
        self._url = url
        self._space = space
        self.timeout_s = timeout_s
        self.retry_s = retry_s
        self.losses = 0
        """How often it was lost since the start."""
        self.doubts = 0
        """How often it may have forgotten what it was told."""
        self._client: Redis | None = None
        self._loop: AbstractEventLoop | None = None
        self._mending: asyncio.Task[None] | None = None
        self._up = asyncio.Event()
        self._lost = asyncio.Event()
        self._asked: set[asyncio.Task[object]] = set()
        self._odd: deque[float] = deque(maxlen=FEW_ODD)

    @property
    def is_configured(self) -> bool:
        return bool(self._url)

    @property
    def is_up(self) -> bool:
        """Whether it answered last time. May be read by any thread."""
        return self._up.is_set()

    def key(self, kind: str, name: str) -> str:
        """A key of ours: several ledgers may share one Redis."""
        return f"veloera:{self._space}:{kind}:{name}"

    async def start(self) -> None:
        """Begin to connect, and do not wait for it. Raises ValueError for a URL that is none."""
        if self._url:
            self._loop = asyncio.get_running_loop()
            self._client = _client(self._url, self.timeout_s)
            self._mending = asyncio.create_task(self._mend(self._client), name="redis-mend")

    async def stop(self) -> None:
        self._loop = None
        self._up.clear()
        if self._mending is not None:
            await cancelled(self._mending)
        for task in tuple(self._asked):
            await cancelled(task)
        if self._client is not None:
            client, self._client = self._client, None
            with suppress(Exception):  # it is given up either way
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    await client.aclose()

    async def ready(self, timeout_s: float) -> bool:
        """Wait until it answers; False when the time is over."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._up.wait()
        return self.is_up

    async def ask(self, *command: Part) -> object:
        """One command's answer, bytes for texts. Raises Away."""
        client = self._client
        if client is None or not self.is_up or len(self._asked) >= MAX_WAITING:
            raise Away
        # In a task of its own: the library may take its time to give up, or miss that it was told to.
        task = asyncio.create_task(_answer(client, command))
        self._asked.add(task)
        task.add_done_callback(self._answered)
        done, _ = await asyncio.wait({task}, timeout=self.timeout_s)
        if not done:
            task.cancel()
            self._lose(f"no answer within {self.timeout_s} s")
            raise Away
        return self._said(task)

    async def run(self, script: Script, keys: Sequence[str], arguments: Sequence[Part]) -> object:
        """What a script answers, in one round trip once Redis knows it. Raises Away."""
        try:
            return await self.ask("EVALSHA", script.sha, len(keys), *keys, *arguments)
        except Away as error:
            if not isinstance(error.__cause__, _UnknownScript):
                raise
        return await self.ask("EVAL", script.text, len(keys), *keys, *arguments)

    def odd(self, what: str) -> None:
        """An answer could not be. One is passed over; many, and Redis is left alone until it has had time to come to its senses."""
        now = monotonic()
        self._odd.append(now)
        if len(self._odd) == FEW_ODD and now - self._odd[0] < ODD_WITHIN_S:
            self._odd.clear()
            self._lose(f"its answers cannot be: {what}")

    def wait_for(self, asked: Coroutine[object, object, T]) -> T:
        """From a thread: the result of something that asks Redis. Raises Away, after two timeouts at the latest."""
        future = self._begun(asked)
        if future is None:
            raise Away
        try:
            return future.result(2 * self.timeout_s)
        except (TimeoutError, asyncio.CancelledError) as error:
            future.cancel()
            raise Away from error

    def send(self, asked: Coroutine[object, object, object]) -> None:
        """From a thread: something that asks Redis, without waiting. Nobody learns whether it came through."""
        self._begun(asked)

    @asynccontextmanager
    async def listening(self, channel: str) -> AsyncGenerator[Listener]:
        """What others publish there, on a connection of its own. Raises Away, also while it is listened to."""
        if self._client is None:
            raise Away
        pubsub = self._client.pubsub(ignore_subscribe_messages=True)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await pubsub.subscribe(channel)
            yield _Listener(pubsub)
        except (asyncio.CancelledError, Away):
            raise
        except Exception as error:
            raise Away from error
        finally:
            with suppress(Exception):  # the connection is given up either way
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    await pubsub.aclose()  # type: ignore[no-untyped-call]

    def _begun(self, asked: Coroutine[object, object, T]) -> Future[T] | None:
        """From a thread: run it on the loop; None, and it is not run, when nothing is there to ask."""
        loop = self._loop
        if loop is not None and self.is_up:
            with suppress(RuntimeError):  # the loop was closed in between
                return asyncio.run_coroutine_threadsafe(asked, loop)
        asked.close()
        return None

    def _said(self, task: asyncio.Task[object]) -> object:
        try:
            return task.result()
        except _Refused as error:
            if not isinstance(error, _UnknownScript):
                self.odd(str(error))
            raise Away from error
        except (_Unreachable, asyncio.CancelledError) as error:
            self._lose(str(error))
            raise Away from error

    def _answered(self, task: asyncio.Task[object]) -> None:
        self._asked.discard(task)
        if not task.cancelled():
            task.exception()  # looked at here when its caller has gone

    def _lose(self, why: str) -> None:
        if self._up.is_set():
            self._up.clear()
            self.losses += 1
            self.doubts += 1
            self._lost.set()
            log.warning("redis_lost limits=shares wake_ups=polling reason=%s", why)

    async def _mend(self, client: Redis) -> None:
        """Ask until it answers; then wait until it is lost."""
        was_said = False
        while True:
            why = await _pinged(client, self.timeout_s)
            if not why:
                self._lost.clear()
                self._up.set()
                was_said = False
                log.info("redis_answers losses=%d", self.losses)
                await self._lost.wait()
            elif not was_said and not self.losses:
                was_said = True
                log.warning("redis_does_not_answer limits=shares wake_ups=polling reason=%s", why)
            await asyncio.sleep(self.retry_s)


class Listener(Protocol):
    async def next(self, timeout_s: float) -> bytes | None:
        """The next message; None when none came in time. Raises Away."""
        ...


class _Listener:
    def __init__(self, pubsub: PubSub) -> None:
        self._pubsub = pubsub

    async def next(self, timeout_s: float) -> bytes | None:
        message = cast("object", await self._pubsub.get_message(timeout=timeout_s))
        data = cast("dict[str, object]", message).get("data") if isinstance(message, dict) else None
        return data if isinstance(data, bytes) else None


class _Refused(Exception):
    """Redis answered with an error."""


class _UnknownScript(_Refused):
    pass


class _Unreachable(Exception):
    pass


def _client(url: str, timeout_s: float) -> Redis:
    from redis.asyncio import Redis
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    return Redis.from_url(
        url,
        max_connections=2 * MAX_WAITING,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        socket_timeout=max(CONNECT_TIMEOUT_S, timeout_s),
        retry=Retry(NoBackoff(), 0),
        protocol=2,
        decode_responses=False,
    )


async def _answer(client: Redis, command: Sequence[Part]) -> object:
    """Raises _Refused, _Unreachable. It ends by the timeouts of the connection, some time after its caller."""
    from redis.exceptions import BusyLoadingError, NoScriptError, ResponseError

    try:
        return await _executed(client, *command)
    except NoScriptError as error:
        raise _UnknownScript from error
    except BusyLoadingError as error:
        raise _Unreachable("it is loading its data") from error
    except ResponseError as error:
        raise _Refused(str(error)[:200]) from error
    except Exception as error:  # whatever else a broken peer makes the library raise
        raise _Unreachable(f"{type(error).__name__}: {error}"[:200]) from error


async def _pinged(client: Redis, timeout_s: float) -> str:
    """Why it does not answer; empty when it does. Connections from before are dropped: the server may be another."""
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            await client.connection_pool.disconnect(inuse_connections=False)
            await _executed(client, "PING")
        # Connecting may take its time; once connected it must be as quick as callers want it.
        async with asyncio.timeout(timeout_s):
            await _executed(client, "PING")
    except Exception as error:  # noqa: BLE001  # whatever it is, the answer is: not yet
        return f"{type(error).__name__}: {error}"[:200]
    return ""


async def _executed(client: Redis, *command: Part) -> object:
    return cast("object", await client.execute_command(*command))  # type: ignore[no-untyped-call]


async def cancelled(task: asyncio.Task[T]) -> None:
    """Cancel a task until it has ended, which may take saying it twice; bounded, for a library may not listen at all."""
    for _ in range(FEW_TIMES):
        task.cancel()
        done, _ = await asyncio.wait({task}, timeout=0.1)
        if done:
            return
