"""Rounds of `kill -9` on a serving gateway: what a client has read to its end is charged, once and exactly, after the restart.

Clients call a scripted upstream, streamed and not; each answer that arrived whole is an acknowledgement of its price. Every
round kills the gateway, with its projector or alone, at a random moment, starts it again, and lets another process check the
ledger.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import sleep

import httpx

from tests.crash.ledger_rounds import Round, check
from tests.harness.gateway import Gateway, chat_body
from tests.harness.upstream import Upstream
from tests.harness.waiting import eventually
from tests.harness.wire import chat, chat_stream, tokens

CLIENTS = 8
MAX_LOAD_S = 0.8
PROMPT, COMPLETION = 20, 10
PRICE_MILLS = (PROMPT + 2 * COMPLETION) * 1_000
"""At a model ratio of 1 and a completion ratio of 2."""
PIECES = ("one ", "two ", "three ", "four")
ENV = {"HOLD_GRACE_S": "1"}


class Load:
    """Clients that call until the gateway is gone, and what they have read to the end."""

    def __init__(self, gateway: Gateway, models: dict[str, str], seed: str) -> None:
        self._gateway = gateway
        self._models = models
        self._pool = ThreadPoolExecutor(CLIENTS)
        self.lines: list[str] = []
        self._clients = [self._pool.submit(self._call, random.Random(f"{seed}:{n}")) for n in range(CLIENTS)]

    def stopped(self) -> list[str]:
        """Every acknowledgement, once the gateway was killed."""
        for client in self._clients:
            client.result(30)
        self._pool.shutdown()
        return self.lines

    def _call(self, draw: random.Random) -> None:
        bearer = {"Authorization": f"Bearer {self._gateway.root_key}"}
        kinds: list[Callable[[httpx.Client], str | None]] = [self._whole, self._streamed]
        try:
            with httpx.Client(base_url=self._gateway.url, headers=bearer, timeout=20) as http:
                while True:
                    request_id = draw.choice(kinds)(http)
                    if request_id is not None:
                        self.lines.append(f"settled {request_id.replace('-', '')} {PRICE_MILLS} {PRICE_MILLS}\n")
        except httpx.TransportError:
            return  # killed

    def _whole(self, http: httpx.Client) -> str | None:
        answer = http.post("/v1/chat/completions", json=chat_body(self._models["whole"]))
        assert answer.status_code == 200, answer.text
        return answer.headers["x-request-id"]

    def _streamed(self, http: httpx.Client) -> str | None:
        body = chat_body(self._models["streamed"], stream=True)
        with http.stream("POST", "/v1/chat/completions", json=body) as answer:
            ended = [line for line in answer.iter_lines() if line == "data: [DONE]"]
            return answer.headers["x-request-id"] if ended else None


def rounds(folder: Path, count: int, draw: random.Random) -> Iterator[Round]:
    """Kill one gateway `count` times; the last round checks everything once more."""
    lines: list[str] = []
    with Upstream() as upstream, Gateway(folder / "data", ENV) as gateway:
        models = offered(gateway, upstream)
        for number in range(count):
            load = Load(gateway, models, f"{draw.random()}")
            is_early = draw.random() < 0.2
            wait(draw.uniform(0, MAX_LOAD_S), load, for_answers=not is_early)
            draw.choice([gateway.process.kill, gateway.process.kill_alone])()
            acknowledged = load.stopped()
            lines += acknowledged
            gateway.process.start()
            yield Round("gateway", number, len(acknowledged), check(gateway.process.data_dir, acknowledged))
        gateway.login()
        yield Round("gateway, all since it was made, after", count - 1, 0, check(gateway.process.data_dir, lines))


def offered(gateway: Gateway, upstream: Upstream) -> dict[str, str]:
    """A model that answers whole and one that streams, both with the same usage and price."""
    models = {kind: gateway.offer(upstream.url(), ratio=1, completion=2) for kind in ("whole", "streamed")}
    usage = tokens(PROMPT, COMPLETION)
    upstream.always(chat("Three coins.", usage, model=models["whole"]), model=models["whole"])
    stream = chat_stream(PIECES, usage, model=models["streamed"]).paced(0.002)
    upstream.always(stream, model=models["streamed"])
    return models


def wait(seconds: float, load: Load, *, for_answers: bool) -> None:
    """So long under load; `for_answers`: counted from the first answer on."""
    if for_answers:
        eventually(lambda: len(load.lines), lambda count: count > 0, within_s=20)
    sleep(seconds)
