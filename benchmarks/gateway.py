"""The gateway under test: `veloera init`, `veloera serve` in a fresh data folder, and a priced channel to the loopback upstream.

Billing is on, as everywhere: every call costs an exact number of mills, so what was charged can be compared with what
was called.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import httpx
import msgspec

from benchmarks.loopback import Target
from benchmarks.processes import on_core, stop, tree

MODELS = ("bench", "bench-10ms", "bench-large", "bench-250ms-16x", "bench-1000ms-16x")
RATIO = 0.01
CALL_MILLS = 3_700
"""(250 input + 120 output tokens of the loopback's answer) x ratio 0.01 x completion ratio 1, in mills."""
STREAM_MILLS = 3_500
START_S = 60
ANSWER_S = 15
VERIFY_S = 1800
ENGINES = {
    "fast": {"HTTP1_ENGINE": "fast", "UPSTREAM_POOL": "lean"},
    "stock": {"HTTP1_ENGINE": "hypercorn", "UPSTREAM_POOL": "aiohttp"},
}
"""Who carries HTTP in and out: our own code, as is the default, or the libraries that it replaces."""
OURS = ("PORT", "HOST", "DATA_DIR", "SQL_DSN", "REDIS_CONN_STRING", "UPSTREAM_CONNECTIONS", *ENGINES["stock"])


Said = TypeVar("Said")


class GatewayFailed(Exception):
    """The gateway did not start, or refused what the benchmark has to set; the message has its own words."""


class Root(msgspec.Struct, frozen=True):
    """The account that `veloera init` made."""

    username: str
    password: str


class First(msgspec.Struct, frozen=True):
    """What `veloera init --json` prints."""

    root: Root
    api_key: str


class Envelope(msgspec.Struct, frozen=True):
    """The JSON API's answer."""

    success: bool = True
    message: str = ""
    data: msgspec.Raw = msgspec.Raw(b"null")


class Option(msgspec.Struct, frozen=True):
    """One setting, its value as text."""

    key: str
    value: str


class Account(msgspec.Struct, frozen=True):
    """The part of a user that is read here."""

    id: int
    quota: int = 0
    quota_mills: str = ""


class Verified(msgspec.Struct, frozen=True):
    """The part of `veloera ledger verify --json` that is read here."""

    sound: bool
    facts: int
    open_holds: int
    first_difference: str | None = None


@dataclass(frozen=True)
class Product:
    """What is under test: the `veloera` command, and which of ENGINES it runs with."""

    veloera: Path
    engine: str


@dataclass(frozen=True)
class Gateway:
    """A running gateway, its root's session in `admin`."""

    target: Target
    admin: httpx.Client
    processes: int
    """All of them on its core: the worker, and the projector beside it."""
    ready_s: float
    """From the start to the first /readyz that answered 200."""

    def balance_mills(self) -> int:
        """What the root account has left; whole quota where the exact figure is not shown."""
        account = msgspec.json.decode(_ask(self.admin, "GET", "/api/user/self"), type=Account)
        return int(account.quota_mills) if account.quota_mills else account.quota * 1000


@contextmanager
def gateway(
    product: Product,
    folder: Path,
    core: int,
    upstream_port: int,
    *,
    fill: Callable[[Path], None] | None = None,
    settings: Mapping[str, str] | None = None,
) -> Generator[Gateway]:
    """A gateway on `core` with its data in `folder`, answering for MODELS, while the context lasts.

    `fill` is handed the data folder of the new store before the start. `settings` are environment variables beside the engine's;
    it runs with its defaults otherwise.

    Raises:
        GatewayFailed: it did not start, or would not be configured.
    """
    folder.mkdir(parents=True)
    port = _free_port()
    environment = _environment(folder) | ENGINES[product.engine] | dict(settings or {}) | {"PORT": str(port)}
    first = _init(product.veloera, environment)
    if fill is not None:
        fill(folder / "data")
    began = time.monotonic()
    log = folder / "serve.log"
    with log.open("wb") as output, on_core(core):
        process = subprocess.Popen([product.veloera, "serve"], env=environment, stdout=output, stderr=output)
    # No connection of ours stays open: those that are counted are the load's.
    unkept = httpx.Limits(max_keepalive_connections=0)
    try:
        with httpx.Client(
            base_url=f"http://127.0.0.1:{port}", timeout=ANSWER_S, trust_env=False, limits=unkept
        ) as admin:
            _await_start(process, admin, log)
            ready_s = time.monotonic() - began
            _log_in(admin, first.root)
            _configure(admin, upstream_port)
            _await_answer(admin, first.api_key)
            headers = (f"Authorization: Bearer {first.api_key}", "Content-Type: application/json")
            yield Gateway(Target(process.pid, port, headers), admin, _pinned(process.pid, core), ready_s)
    finally:
        stop(process)


def verified(product: Product, folder: Path) -> Verified:
    """What `veloera ledger verify` says of the ledger of a gateway that ran in `folder`. Raises GatewayFailed."""
    return _said(product.veloera, ["ledger", "verify", "--json"], _environment(folder), VERIFY_S, Verified)


def default_veloera() -> Path:
    """The `veloera` command installed beside this Python."""
    return Path(sys.executable).parent / "veloera"


def _init(veloera: Path, environment: dict[str, str]) -> First:
    if not veloera.exists():
        raise GatewayFailed(f"{veloera} is not there: run `make install`, or name one with --veloera")
    return _said(veloera, ["init", "--json"], environment, START_S, First)


def _said(
    veloera: Path, arguments: list[str], environment: dict[str, str], timeout_s: float, expected: type[Said]
) -> Said:
    """The JSON object that a command of the product printed last."""
    command = [str(veloera), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, check=False, timeout=timeout_s)
    try:
        return msgspec.json.decode(done.stdout.strip().rpartition(b"\n")[2], type=expected)
    except msgspec.MsgspecError as error:
        said = (done.stdout + done.stderr).decode(errors="replace").strip()
        raise GatewayFailed(f"`{' '.join(command)}` did not print its JSON object ({error}): {said}") from error


def _environment(folder: Path) -> dict[str, str]:
    """This process's own, without what would change the gateway."""
    inherited = {name: value for name, value in os.environ.items() if name not in OURS}
    return inherited | {"HOST": "127.0.0.1", "DATA_DIR": str(folder / "data")}


def _pinned(pid: int, core: int) -> int:
    """How many processes there are, all of them on their core. Raises GatewayFailed."""
    members = tree(pid)
    if any(os.sched_getaffinity(member) != {core} for member in members):
        raise GatewayFailed(f"expected all processes of the gateway on core {core}, found one elsewhere")
    return len(members)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _await_start(process: subprocess.Popen[bytes], admin: httpx.Client, log: Path) -> None:
    give_up = time.monotonic() + START_S
    while time.monotonic() < give_up and process.poll() is None:
        try:
            if admin.get("/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    tail = log.read_text(errors="replace")[-2000:]
    ended = "is not ready" if process.poll() is None else f"ended with exit code {process.poll()}"
    raise GatewayFailed(f"`veloera serve` {ended}; it was given {START_S} s to answer /readyz with 200: {tail}")


def _ask(admin: httpx.Client, method: str, path: str, body: object = None) -> msgspec.Raw:
    """One call of the JSON API; answers its `data`."""
    content = None if body is None else msgspec.json.encode(body)
    answer = admin.request(method, path, content=content, headers={"Content-Type": "application/json"})
    try:
        envelope = msgspec.json.decode(answer.content, type=Envelope)
    except msgspec.MsgspecError as error:
        raise GatewayFailed(f"{method} {path} answered {answer.status_code}: {answer.text[:300]}") from error
    if answer.status_code >= 400 or not envelope.success:
        raise GatewayFailed(f"{method} {path} answered {answer.status_code}: {envelope.message}")
    return envelope.data


def _log_in(admin: httpx.Client, root: Root) -> None:
    data = _ask(admin, "POST", "/api/user/login", root)
    admin.headers["Veloera-User"] = str(msgspec.json.decode(data, type=Account).id)


def _configure(admin: httpx.Client, upstream_port: int) -> None:
    options = msgspec.json.decode(_ask(admin, "GET", "/api/option/"), type=list[Option])
    texts = {option.key: option.value for option in options}
    for name, ratio in (("ModelRatio", RATIO), ("CompletionRatio", 1)):
        ratios = msgspec.json.decode(texts.get(name) or "{}", type=dict[str, float])
        value = msgspec.json.encode(ratios | dict.fromkeys(MODELS, ratio)).decode()
        _ask(admin, "PUT", "/api/option/", {"key": name, "value": value})
    channel = {"type": 1, "name": "loopback", "key": "sk-loopback", "models": ",".join(MODELS), "group": "default"}
    _ask(admin, "POST", "/api/channel/", channel | {"base_url": f"http://127.0.0.1:{upstream_port}"})


def _await_answer(admin: httpx.Client, api_key: str) -> None:
    """Call until the channel and its prices have reached the workers."""
    body = {"model": MODELS[0], "max_tokens": 1, "messages": [{"role": "user", "content": "ready?"}]}
    give_up = time.monotonic() + ANSWER_S
    bearer = {"Authorization": f"Bearer {api_key}"}
    while True:
        answer = admin.post("/v1/chat/completions", json=body, headers=bearer)
        if answer.status_code == 200:
            return
        if time.monotonic() > give_up:
            raise GatewayFailed(f"no answer through the loopback channel: {answer.status_code} {answer.text[:500]}")
        time.sleep(0.1)
