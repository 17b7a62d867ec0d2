"""One measurement, and rounds of them: unit and product take turns, so that a slow spell of the machine meets both."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from benchmarks.loopback import Load, Loopback, Request, Target
from benchmarks.processes import Cores, cpu_s, quiet_cpu_s

CONNECTIONS = 64
RATE = 100
BODY_BYTES = 1078
"""Of every request; the loopback's answer has as many, and so has the echo's."""
CHAT = "/v1/chat/completions"


class Sample(msgspec.Struct, frozen=True):
    """A load, and the CPU that the called process tree spent on it until it was at rest again."""

    load: Load
    cpu_s: float

    @property
    def cpu_us_per_call(self) -> float:
        return self.cpu_s * 1e6 / self.load.calls

    @property
    def failure(self) -> str:
        """What went wrong, for a person; empty if every call was answered whole."""
        errors = self.load.errors
        if not int(errors):
            return ""
        said = f": {self.load.sample_status} {self.load.sample}" if self.load.sample_status else ""
        return f"{int(errors)} of {self.load.calls} calls failed ({errors}){said}"


@dataclass(frozen=True)
class Requests:
    """The requests that are sent, their bodies in files of `folder`."""

    call: Request
    stream: Request
    paced: Request
    echo: Request
    echo_stream: Request

    @classmethod
    def write(cls, folder: Path) -> Requests:
        """Write the bodies, each of BODY_BYTES."""
        call = _body(folder / "call.json", "bench", stream=False)
        return cls(
            call=Request(CHAT, call),
            stream=Request(CHAT, _body(folder / "stream.json", "bench", stream=True)),
            paced=Request(CHAT, _body(folder / "paced.json", "bench-10ms", stream=True)),
            echo=Request("/echo", call),
            echo_stream=Request("/sse", call),
        )


@dataclass(frozen=True)
class Bench:
    """How a sample is taken."""

    loopback: Loopback
    cores: Cores
    seconds: float

    def sample(self, target: Target, request: Request, *, rate: float = 0, core: int | None = None) -> Sample:
        """One load on `target`: closed loop on CONNECTIONS, or open loop at `rate`; generated on `core`, if given."""
        before = cpu_s(target.pid)
        load = self.loopback.load(target, request, connections=CONNECTIONS, seconds=self.seconds, rate=rate, core=core)
        return Sample(load, quiet_cpu_s(target.pid) - before)


Steps = Mapping[str, Callable[[], Sample]]


def interleaved(steps: Steps, rounds: int) -> dict[str, list[Sample]]:
    """Samples by step, one of each per round; every other round goes backwards, so that no step is always the first."""
    samples: dict[str, list[Sample]] = defaultdict(list)
    names = list(steps)
    for number in range(1, rounds + 1):
        say(f"round {number} of {rounds}: {', '.join(names)}")
        for name in names:
            samples[name].append(steps[name]())
        names.reverse()
    return dict(samples)


def failures(*series: Sequence[Sample]) -> str:
    """The first failure in some samples; empty if there was none."""
    return next((sample.failure for samples in series for sample in samples if sample.failure), "")


def say(text: str) -> None:
    """Progress, for whoever waits."""
    print(text, file=sys.stderr, flush=True)


def _body(file: Path, model: str, *, stream: bool) -> Path:
    """A chat completion request of exactly BODY_BYTES: what is asked is filled up with words."""
    words = "How much does one call cost when it is held, relayed, metered and settled? "
    message = {"role": "user", "content": ""}
    body: dict[str, object] = {"model": model, "max_tokens": 256, "messages": [message]}
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    room = BODY_BYTES - len(msgspec.json.encode(body))
    message["content"] = (words * (room // len(words) + 1))[:room]
    file.write_bytes(msgspec.json.encode(body))
    return file
