"""Rounds in which a serving gateway is killed, or the server under it: what a client has read to its end is charged, once and exactly.

Clients call a scripted upstream, streamed and not; each answer that arrived whole is an acknowledgement of its price. Every round
kills somebody at a random moment (all processes of the gateway, its parent, one worker of two, or PostgreSQL), waits until calls
are served again and the spool is empty, and lets another process check the ledger.
"""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from time import sleep

import httpx

from tests.crash.forks import Forks
from tests.crash.rounds import Round, check
from tests.crash.where import Ground, Where
from tests.harness.gateway import Gateway, chat_body
from tests.harness.mortal import DEATHS, MortalServer, is_there
from tests.harness.upstream import Upstream
from tests.harness.waiting import eventually
from tests.harness.wire import chat, chat_stream, tokens

CLIENTS = 8
MAX_LOAD_S = 0.5
AGAIN_AFTER_S = 0.05
SERVES_AGAIN_WITHIN_S = 30.0
PROMPT, COMPLETION = 20, 10
PRICE_MILLS = (PROMPT + 2 * COMPLETION) * 1_000
"""At a model ratio of 1 and a completion ratio of 2."""
PIECES = ("one ", "two ", "three ", "four")
ENV = {"HOLD_GRACE_S": "1"}
SECRET = "the same on every machine, 32 bytes or more"
EXPECTED = {200, 503}
"""Answered, or refused while the ledger cannot be written."""


class Load:
    """Clients that call until they are told to stop, whoever dies, and what they have read to the end."""

    def __init__(self, gateway: Gateway, models: dict[str, str], seed: str) -> None:
        self._gateway = gateway
        self._models = models
        self._pool = ThreadPoolExecutor(CLIENTS)
        self._stop = threading.Event()
        self.lines: list[str] = []
        self._clients = [self._pool.submit(self._call, random.Random(f"{seed}:{n}")) for n in range(CLIENTS)]

    def stopped(self) -> list[str]:
        """Every acknowledgement, once the last call has ended."""
        self._stop.set()
        for client in self._clients:
            client.result(30)
        self._pool.shutdown()
        return self.lines

    def _call(self, draw: random.Random) -> None:
        bearer = {"Authorization": f"Bearer {self._gateway.root_key}"}
        kinds: list[Callable[[httpx.Client], str | None]] = [self._whole, self._streamed]
        while not self._stop.is_set():
            with (
                suppress(httpx.TransportError),
                httpx.Client(base_url=self._gateway.url, headers=bearer, timeout=20) as http,
            ):
                self._call_over(http, kinds, draw)
            self._stop.wait(AGAIN_AFTER_S)

    def _call_over(
        self, http: httpx.Client, kinds: list[Callable[[httpx.Client], str | None]], draw: random.Random
    ) -> None:
        """Until told to stop, or until the connection breaks."""
        while not self._stop.is_set():
            request_id = draw.choice(kinds)(http)
            if request_id is None:
                self._stop.wait(AGAIN_AFTER_S)
            else:
                self.lines.append(f"settled {request_id.replace('-', '')} {PRICE_MILLS} {PRICE_MILLS}\n")

    def _whole(self, http: httpx.Client) -> str | None:
        answer = http.post("/v1/chat/completions", json=chat_body(self._models["whole"]))
        assert answer.status_code in EXPECTED, answer.text
        return answer.headers["x-request-id"] if answer.status_code == 200 else None

    def _streamed(self, http: httpx.Client) -> str | None:
        body = chat_body(self._models["streamed"], stream=True)
        with http.stream("POST", "/v1/chat/completions", json=body) as answer:
            assert answer.status_code in EXPECTED, answer.read().decode()
            ended = [line for line in answer.iter_lines() if line == "data: [DONE]"]
            return answer.headers["x-request-id"] if ended else None


def rounds(
    ground: Ground, forks: Forks, count: int, draw: random.Random, *, name: str = "gateway", workers: int = 1
) -> Iterator[Round]:
    """Kill one gateway of so many workers, or its server, `count` times; the last round checks everything once more."""
    server, folder = ground.server, ground.folder / name
    folder.mkdir()
    kind = f"gateway of {workers} on {'postgres' if server else 'sqlite'}"
    where, env = Where(folder / "data"), {**ENV, "WORKERS": str(workers)}
    if server is not None:
        address = f"postgresql://postgres@127.0.0.1:{server.port}/{server.database()}"
        where, env = where._replace(dsn=address), {**env, "SQL_DSN": address, "CRYPTO_SECRET": SECRET}
    victims = ["all", "parent", *(["worker"] if workers > 1 else []), *(DEATHS if server else [])]
    lines: list[str] = []
    with Upstream() as upstream, Gateway(folder / "data", env) as gateway:
        models = offered(gateway, upstream)
        for number in range(count):
            victim = draw.choice(victims)
            told = one_round(gateway, server, models, victim, draw)
            lines += told
            yield Round(kind, victim, number, len(told), check(forks, where, told))
        gateway.login()
        yield Round(kind, "all since it was made", count - 1, 0, check(forks, where, lines))


def one_round(
    gateway: Gateway, server: MortalServer | None, models: dict[str, str], victim: str, draw: random.Random
) -> list[str]:
    """What was acknowledged from its load, which goes on while somebody dies and comes back."""
    load = Load(gateway, models, f"{draw.random()}")
    is_early = draw.random() < 0.2
    wait(draw.uniform(0, MAX_LOAD_S), load, for_answers=not is_early)
    kill(gateway, server, victim, draw)
    eventually(lambda: serves(gateway), bool, within_s=SERVES_AGAIN_WITHIN_S)
    wait(0, load, for_answers=True)
    told = load.stopped()
    eventually(lambda: serves(gateway), bool, within_s=SERVES_AGAIN_WITHIN_S)
    return told


def kill(gateway: Gateway, server: MortalServer | None, victim: str, draw: random.Random) -> None:
    """Kill somebody, and start again what does not start by itself."""
    if victim in DEATHS:
        assert server is not None, "a file has no server"
        server.die(next(how for how in DEATHS if how == victim), draw)
        return
    if victim == "worker":
        os.kill(draw.choice(workers_of(gateway)), signal.SIGKILL)
        return
    workers = workers_of(gateway)
    if victim == "parent":
        gateway.process.kill_alone()
        # They have the socket until they have noticed.
        eventually(lambda: [pid for pid in workers if is_there(pid)], lambda left: not left, within_s=20)
    else:
        gateway.process.kill()
    gateway.process.start()


def workers_of(gateway: Gateway) -> list[int]:
    """The pids of its workers, as the kernel knows them: those that live."""
    threads = Path(f"/proc/{gateway.process.pid}/task").glob("*/children")
    children = [int(pid) for path in threads for pid in path.read_text().split()]
    return [pid for pid in children if b"worker" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")]


def serves(gateway: Gateway) -> bool:
    """Ready, and nothing waits in the spool of whoever answers."""
    with suppress(httpx.TransportError):
        answer = httpx.get(f"{gateway.url}/readyz", timeout=5)
        return answer.status_code == 200 and answer.json().get("spool", {"waiting": 0})["waiting"] == 0
    return False


def offered(gateway: Gateway, upstream: Upstream) -> dict[str, str]:
    """A model that answers whole and one that streams, both with the same usage and price."""
    models = {kind: gateway.offer(upstream.url(), ratio=1, completion=2) for kind in ("whole", "streamed")}
    usage = tokens(PROMPT, COMPLETION)
    upstream.always(chat("Three coins.", usage, model=models["whole"]), model=models["whole"])
    stream = chat_stream(PIECES, usage, model=models["streamed"]).paced(0.002)
    upstream.always(stream, model=models["streamed"])
    return models


def wait(seconds: float, load: Load, *, for_answers: bool) -> None:
    """So long under load; `for_answers`: counted from the next answer on."""
    before = len(load.lines)
    if for_answers:
        eventually(lambda: len(load.lines), lambda count: count > before, within_s=SERVES_AGAIN_WITHIN_S)
    sleep(seconds)
