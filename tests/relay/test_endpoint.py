"""An endpoint on a real ledger and a scripted provider, its client in memory: what it answers, and what it leaves behind."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import pytest

from api.client import Asker
from api.relay_routes import RelayEndpoint
from relay.call import Call, Credential
from relay.formats.openai_chat import OpenAIChat
from relay.streaming import Stream
from tests.laws.relay_desk import KEY_TEXT, MODEL, House, Script, open_house
from tests.laws.test_stream_laws import whole_stream

CALLS = 20
ANSWER = (
    b'{"choices":[{"message":{"role":"assistant","content":"word"}}],"usage":{"prompt_tokens":4,"completion_tokens":1}}'
)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = open_house(tmp_path / "data", opening_mills=10**12)
    yield made
    made.close()


class Memory:
    """A client that keeps what it is answered, and is always ready."""

    def __init__(self, *, stream: bool) -> None:
        body = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "stream": stream}
        self.asker = Asker(Credential("sk-" + KEY_TEXT), "", "")
        self.request_id = ""
        self.ip = "192.0.2.1"
        self.task: asyncio.Task[None] | None = None
        self.status = 0
        self.got = b""
        self.left: Callable[[], None] | None = None
        self._body = msgspec.json.encode(body)

    @property
    def is_ready(self) -> bool:
        return True

    async def body(self, limit_bytes: int) -> bytes:
        return self._body

    def watch(self, left: Callable[[], None]) -> None:
        self.left = left

    def unwatch(self) -> None:
        self.left = None

    async def answer(self, status: int, lines: Sequence[bytes], body: bytes) -> None:
        self.status = status
        self.got += body

    async def begin(self, status: int, lines: Sequence[bytes]) -> None:
        self.status = status

    async def write(self, piece: bytes) -> None:
        self.got += piece

    def take(self, piece: bytes) -> None:
        self.got += piece

    async def finish(self) -> None:
        pass


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_call_leaves_nothing_that_only_the_collector_of_rings_would_find(house: House, stream: bool) -> None:
    endpoint = RelayEndpoint(OpenAIChat(), house.desk, body_limit_bytes=10_000)
    house.upstream.script = (
        Script(whole_stream(usage=True)) if stream else Script([ANSWER], content_type="application/json")
    )
    clients = [Memory(stream=stream) for _ in range(CALLS)]
    gc.collect()
    gc.disable()
    try:
        for client in clients:
            await endpoint.serve(client)
        house.upstream.answers.clear()
        left = [each for each in gc.get_objects() if isinstance(each, Call | Stream)]
    finally:
        gc.enable()

    assert [client.status for client in clients] == [200] * CALLS
    assert left == []


async def test_who_leaves_a_slow_stream_is_noticed_and_charged_for_what_had_come(house: House) -> None:
    endpoint = RelayEndpoint(OpenAIChat(), house.desk, body_limit_bytes=10_000)
    script = house.upstream.script = Script(whole_stream(usage=False)[:6], ends="hang")
    client, before = Memory(stream=True), house.balance()
    task = asyncio.create_task(endpoint.serve(client))
    await script.reached.wait()
    async with asyncio.timeout(5):
        while client.left is None:  # noqa: ASYNC110  # the watch begins by a timer of the relay's
            await asyncio.sleep(0.01)

    client.left()
    await task

    assert client.got.count(b"word") == 5
    assert before - house.balance() == (7 + 5) * 1000
    assert house.is_sound()
    assert client.left is None
