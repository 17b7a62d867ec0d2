"""One measurement, and rounds of them: unit and product take turns, so that a slow spell of the machine meets both."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from benchmarks.loopback import Load, Loopback, Plan, Request, Target
from benchmarks.processes import Cores, cpu_s, quiet_cpu_s

CONNECTIONS = 64
WIDE_CONNECTIONS = 256
RATE = 100
BODY_BYTES = 1078
"""Of every request; the loopback's answer has as many, and so has the echo's."""
LARGE_BYTES = 30_213
LARGE_MESSAGES = 32
DELTAS = 100
"""Events of a stream that carry text; a pace is kept between these."""
PACE_MS = 10
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
    large: Request
    large_both: Request
    echo: Request
    echo_stream: Request
    echo_paced: Request

    @classmethod
    def write(cls, folder: Path) -> Requests:
        """Write the bodies, each of BODY_BYTES but the large ones."""
        call = chat(folder / "call.json", "bench")
        return cls(
            call=call,
            stream=chat(folder / "stream.json", "bench", stream=True),
            paced=chat(folder / "paced.json", f"bench-{PACE_MS}ms", stream=True),
            large=chat(folder / "large.json", "bench", size=LARGE_BYTES, messages=LARGE_MESSAGES),
            large_both=chat(folder / "large-both.json", "bench-large", size=LARGE_BYTES, messages=LARGE_MESSAGES),
            echo=Request("/echo", call.body),
            echo_stream=Request("/sse", call.body),
            echo_paced=Request(f"/sse?{PACE_MS}", call.body),
        )


@dataclass(frozen=True)
class Bench:
    """How a sample is taken."""

    loopback: Loopback
    cores: Cores
    seconds: float

    def sample(
        self,
        target: Target,
        request: Request,
        *,
        connections: int = CONNECTIONS,
        rate: float = 0,
        core: int | None = None,
    ) -> Sample:
        """One load on `target`: closed loop, or open loop at `rate`; generated on `core`, if given."""
        plan = Plan(connections=connections, seconds=self.seconds, rate=rate)
        before = cpu_s(target.pid)
        load = self.loopback.load(target, request, plan, core=core)
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


def chat(file: Path, model: str, *, stream: bool = False, size: int = BODY_BYTES, messages: int = 1) -> Request:
    """A chat completion request of exactly `size` bytes, in `file`: what is asked is filled up with words."""
    words = "How much does one call cost when it is held, relayed, metered and settled? "
    asked = [{"role": "user", "content": ""} for _ in range(messages)]
    body: dict[str, object] = {"model": model, "max_tokens": 256, "messages": asked}
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    share, rest = divmod(size - len(msgspec.json.encode(body)), messages)
    for message in asked:
        message["content"] = (words * (share // len(words) + 1))[:share]
    asked[-1]["content"] += "." * rest
    file.write_bytes(msgspec.json.encode(body))
    return Request(CHAT, file)
