"""The compiled loopback program: an upstream that always answers the same, and a load generator. Never what is measured."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from benchmarks.processes import on_core, stop

SOURCES = sorted(Path(__file__).parent.glob("loopback*.[ch]"))
MAX_CONNECTIONS = 4096
"""Of one load; the program's own bound."""
SLACK_S = 60
"""How much longer than its own time a load may take (connecting, a machine that is busy)."""


class NoCompiler(Exception):
    """The loopback program could not be built; the message says what is missing."""


class LoadFailed(Exception):
    """The load generator stopped: nobody listens, or its options are wrong."""


class Latency(msgspec.Struct, frozen=True):
    """Nearest-rank percentiles in microseconds."""

    p50: int
    p90: int
    p99: int
    p999: int
    max: int


class Errors(msgspec.Struct, frozen=True):
    """Calls that do not count: other statuses, streams without [DONE], broken connections, never answered."""

    non_200: int
    cut: int
    broken: int
    unfinished: int

    def __int__(self) -> int:
        return self.non_200 + self.cut + self.broken + self.unfinished


class Load(msgspec.Struct, frozen=True):
    """What one load saw. `calls`, `events` and `bytes` count everything answered; the rates only the measured seconds.

    `left` were given up on purpose. `gap_us` and `gap_growth_us` are of streams, each with its largest, where gaps were
    asked for: between two events, and how much longer than between their sendings.
    """

    seconds: float
    calls: int
    rps: float
    events: int
    events_per_s: float
    bytes: int
    errors: Errors
    statuses: dict[str, int]
    left: int
    reconnects: int
    own_cpu_s: float
    total_us: Latency
    first_byte_us: Latency
    gap_us: Latency
    gap_growth_us: Latency
    sample_status: int
    sample: str


@dataclass(frozen=True)
class Target:
    """A server that is called on 127.0.0.1: the process whose tree is measured, its port, header lines of its own."""

    pid: int
    port: int
    headers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Request:
    """What is sent over and over: a body from a file to a path."""

    path: str
    body: Path


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a target is called: for `seconds`, or until `calls` were made; open loop at `rate` calls a second, if given.

    What is under way then has `drain_s` more. Every `other_every`-th call takes the body of `other` instead; of every
    `leave_every`-th, if given, the client leaves before the answer is whole.
    """

    connections: int
    seconds: float
    rate: float = 0
    calls: int = 0
    drain_s: float = 10
    other: Path | None = None
    other_every: int = 0
    leave_every: int = 0
    gaps: bool = False

    def arguments(self) -> list[str]:
        """The load generator's own."""
        options: dict[str, object] = {
            "connections": self.connections,
            "seconds": self.seconds,
            "rate": self.rate,
            "calls": self.calls,
            "drain": self.drain_s,
            "leave": self.leave_every,
        }
        if self.other:
            options |= {"other": self.other, "every": self.other_every}
        return [text for name, value in options.items() for text in (f"--{name}", str(value))] + ["--gaps"] * self.gaps


@dataclass(frozen=True)
class Running:
    """A load under way."""

    process: subprocess.Popen[bytes]
    what: str
    timeout_s: float

    def result(self) -> Load:
        """Wait for its end. Raises LoadFailed."""
        said, complaint = self.process.communicate(timeout=self.timeout_s)
        if self.process.returncode:
            raise LoadFailed(f"{self.what}: {complaint.decode(errors='replace').strip()}")
        return msgspec.json.decode(said, type=Load)


@dataclass(frozen=True)
class Loopback:
    """The program at `binary`, with its load generator on `core`."""

    binary: Path
    core: int

    @contextmanager
    def upstream(self, *, misbehaves: bool = False) -> Generator[Target]:
        """An upstream on the load generator's core while the context lasts."""
        chaos = ["0", "chaos"] if misbehaves else []
        with listening([self.binary, "upstream", "0", *chaos], self.core) as target:
            yield target

    def load(self, target: Target, request: Request, plan: Plan, *, core: int | None = None) -> Load:
        """Call `target` as planned, from `core` if given.

        Raises:
            LoadFailed: it could not connect.
        """
        with self.loading(target, request, plan, core=core) as running:
            return running.result()

    @contextmanager
    def loading(self, target: Target, request: Request, plan: Plan, *, core: int | None = None) -> Generator[Running]:
        """As `load`, for whoever looks at something else meanwhile; stopped with the context."""
        options = ["--port", str(target.port), "--path", request.path, "--body", str(request.body)]
        headers = [text for line in target.headers for text in ("--header", line)]
        argv = [str(self.binary), "load", *options, *headers, *plan.arguments()]
        with on_core(self.core if core is None else core):
            process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            yield Running(process, f"{request.path} on port {target.port}", plan.seconds + plan.drain_s + SLACK_S)
        finally:
            if process.poll() is None:
                stop(process)

    def show(self, what: str) -> bytes:
        """The bytes the upstream sends as an `answer` or as a `stream`; how often it misbehaves, as `chaos`."""
        return subprocess.run([self.binary, "show", what], capture_output=True, check=True).stdout


@contextmanager
def listening(argv: Sequence[str | Path], core: int) -> Generator[Target]:
    """A server of ours on `core` while the context lasts: it prints {"port": N} once it listens."""
    with on_core(core):
        process = subprocess.Popen(argv, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None, "its output was asked for as a pipe"
        said = process.stdout.readline()
        if not said:
            raise LoadFailed(f"{argv[0]} ended before it listened, with exit code {process.wait()}")
        yield Target(process.pid, msgspec.json.decode(said, type=dict[str, int])["port"])
    finally:
        stop(process)


def build(core: int) -> Loopback:
    """Compile the program, once for these sources, into the user's cache folder.

    Raises:
        NoCompiler: no C compiler, or not Linux (it needs epoll).
    """
    if sys.platform != "linux":
        raise NoCompiler("the benchmarks need Linux: the loopback program uses epoll, the figures come from /proc")
    compiler = next(filter(None, map(shutil.which, (os.environ.get("CC", "cc"), "gcc", "clang"))), None)
    if compiler is None:
        raise NoCompiler("the benchmarks need a C compiler: install gcc or clang, or name one in CC")
    digest = hashlib.sha256(b"\0".join(source.read_bytes() for source in SOURCES)).hexdigest()[:16]
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "veloera-benchmarks"
    binary = folder / f"loopback-{digest}"
    if not binary.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _compile(compiler, binary)
    return Loopback(binary, core)


def _compile(compiler: str, binary: Path) -> None:
    with tempfile.TemporaryDirectory(dir=binary.parent) as folder:
        fresh = Path(folder) / "loopback"
        source = Path(__file__).with_suffix(".c")
        done = subprocess.run([compiler, "-O2", "-o", fresh, source], capture_output=True, check=False)
        if done.returncode:
            raise NoCompiler(f"{compiler} could not compile {source.name}: {done.stderr.decode(errors='replace')}")
        fresh.replace(binary)
