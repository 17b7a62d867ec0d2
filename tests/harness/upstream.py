"""A scripted OpenAI-compatible upstream on a real loopback socket.

One server plays several channels: the first path segment names the slot (`/a/v1/chat/completions`). It runs in a thread
of its own, so tests of either kind, sync or async, can script it and ask what it received. Whatever it sends was in a
script; a call without one is answered with status 500 and the code `not_scripted`.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from types import TracebackType
from typing import Self

from tests.harness.behaviours import Answer, Behaviour
from tests.harness.connection import Link, Received, Watched, play, read_request

NOT_SCRIPTED = Answer(
    b'{"error":{"message":"no script for this call","type":"server_error","code":"not_scripted"}}', 500
)


class Upstream:
    """The server. `with Upstream() as upstream:` starts and stops it; `url("a")` is the base URL of slot a."""

    def __init__(self) -> None:
        self._queued: dict[tuple[str, str | None], deque[Behaviour]] = {}
        self._always: dict[tuple[str, str | None], Behaviour] = {}
        self._received: list[Received] = []
        self._changed = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="upstream", daemon=True)
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(5)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._shut(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def url(self, slot: str = "a") -> str:
        """The base URL of a channel that lives in this slot."""
        return f"http://127.0.0.1:{self._port}/{slot}"

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self._port

    def queue(self, *behaviours: Behaviour, slot: str = "a", model: str | None = None) -> None:
        """Play these for the next calls, one each, before anything that `always` said."""
        with self._changed:
            self._queued.setdefault((slot, model), deque()).extend(behaviours)

    def always(self, behaviour: Behaviour, slot: str = "a", model: str | None = None) -> None:
        """Play this for every call that has nothing queued."""
        with self._changed:
            self._always[(slot, model)] = behaviour

    def forget(self) -> None:
        """Drop all scripts and all that was received."""
        with self._changed:
            self._queued.clear()
            self._always.clear()
            self._received.clear()

    def calls(self, slot: str | None = None, model: str | None = None) -> list[Received]:
        """The requests so far, in order of arrival, of one slot or model where named."""
        with self._changed:
            return self._matching(slot, model)

    def wait_for_calls(
        self, count: int, within_s: float = 5.0, *, slot: str | None = None, model: str | None = None
    ) -> list[Received]:
        """The requests once there are so many.

        Raises:
            TimeoutError: there were fewer at the end of the time.
        """
        deadline = time.monotonic() + within_s
        with self._changed:
            while len(found := self._matching(slot, model)) < count:
                if not self._changed.wait(deadline - time.monotonic()):
                    raise TimeoutError(f"expected {count} calls upstream within {within_s} s, got {len(found)}")
            return found

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection: requests one after the other until either side closes it."""
        task = asyncio.current_task()
        assert task is not None, "the protocol runs this in a task"
        self._open[task] = writer
        try:
            link = Link(writer)
            while (received := await read_request(reader)) is not None:
                behaviour = self._take(received)
                if not await play(behaviour, received, link):
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            return  # the client broke off inside a request: there is nobody to answer
        finally:
            del self._open[task]
            writer.close()

    def _matching(self, slot: str | None, model: str | None) -> list[Received]:
        return [r for r in self._received if slot in (None, r.slot) and model in (None, r.model)]

    def _take(self, received: Received) -> Behaviour:
        keys = ((received.slot, received.model), (received.slot, None))
        with self._changed:
            self._received.append(received)
            self._changed.notify_all()
            for key in keys:
                if queued := self._queued.get(key):
                    return queued.popleft()
            return next((self._always[key] for key in keys if key in self._always), NOT_SCRIPTED)

    async def _listen(self) -> None:
        self._server = await self._loop.create_server(lambda: Watched(self.serve), "127.0.0.1", 0, backlog=1024)
        self._port = self._server.sockets[0].getsockname()[1]

    async def _shut(self) -> None:
        self._server.close()
        for writer in self._open.values():
            writer.transport.abort()
        await asyncio.gather(*self._open)
