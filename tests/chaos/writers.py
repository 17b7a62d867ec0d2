"""Several writing processes on one ledger, started together, and what each of them saw."""

from __future__ import annotations

import signal

import msgspec

from tests.chaos.writing import Plan, Told
from tests.crash.forks import Fork, Forks
from tests.crash.where import Where

MODULES = ("tests.chaos.writing", "tests.chaos.heading", "tests.chaos.following")


class Writers:
    """Processes that write from now on for so many seconds."""

    def __init__(
        self,
        forks: Forks,
        places: list[Where],
        seconds: float,
        *,
        clients: int = 16,
        pause_s: float = 0.0,
        tells: bool = False,
    ) -> None:
        """One process for each place, which may all be the same."""
        plan = Plan(seconds, clients, pause_s, tells)
        asked = msgspec.json.encode(plan).decode()
        self._forks = forks
        self._processes: list[Fork] = [forks.start("tests.chaos.writing", place.told(), asked) for place in places]
        for process in self._processes:
            assert process.out.readline() == b"ready\n", f"a writer did not come up:\n{forks.errors()}"
        for process in self._processes:
            process.send_signal(signal.SIGUSR1)

    def stop(self) -> None:
        """Before their time."""
        for process in self._processes:
            process.send_signal(signal.SIGTERM)

    def told(self) -> list[Told]:
        """What each saw, once all have ended."""
        said = [process.out.read() for process in self._processes]
        for process in self._processes:
            process.close()
        assert all(said), f"a writer ended by itself:\n{self._forks.errors()}"
        return [msgspec.json.decode(one, type=Told) for one in said]
