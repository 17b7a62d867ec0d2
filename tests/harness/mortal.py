"""A PostgreSQL that a test may kill: the whole server, one of its processes, or in the way `pg_ctl stop -m immediate` does."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Literal

import psycopg

from tests.harness.postgres import Server
from tests.harness.waiting import eventually

Death = Literal["postmaster", "immediate", "backend"]
DEATHS: tuple[Death, ...] = ("postmaster", "immediate", "backend")
GONE_WITHIN_S = 10.0


class MortalServer(Server):
    """A Server with ways to die. After each of them it can be started again on what it left."""

    def die(self, how: Death, draw: Random) -> None:
        """Die, and answer again when this returns."""
        if how == "backend":
            self.lose_a_backend(draw)
            return
        self.kill() if how == "postmaster" else self.stop(immediately=True)
        self.start()

    def kill(self) -> None:
        """SIGKILL to the first process. The others notice and end; a new one may start when they have."""
        children = children_of(self.pid)
        super().kill()
        eventually(lambda: [pid for pid in children if is_there(pid)], lambda left: not left, within_s=GONE_WITHIN_S)

    def lose_a_backend(self, draw: Random) -> None:
        """SIGKILL to one that serves a client: the server ends all sessions and recovers by itself."""
        sql = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        serving = [pid for (pid,) in self.ask(sql) if isinstance(pid, int)]
        if serving:
            with suppress(ProcessLookupError):
                os.kill(draw.choice(serving), signal.SIGKILL)
        eventually(self.answers, bool, within_s=30)

    def lives(self) -> bool:
        """False when it has ended by itself; then it can be started again."""
        if self._process is not None and self._process.poll() is not None:
            self.stop()
        return self._process is not None

    def answers(self) -> bool:
        with suppress(psycopg.OperationalError):
            return self.ask("SELECT 1") == [(1,)]
        return False


def children_of(pid: int) -> list[int]:
    with suppress(FileNotFoundError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def is_there(pid: int) -> bool:
    """False for one that is gone, or only waits to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
