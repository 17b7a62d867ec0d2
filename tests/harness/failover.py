"""Two PostgreSQLs, of which one follows the other and can take its place."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.harness.mortal import MortalServer
from tests.harness.postgres import Server, binary
from tests.harness.waiting import eventually

PROMOTE = Path(__file__).resolve().parent.parent.parent / "docs" / "promote-standby.sh"
FOLLOWS_WITHIN_S = 30.0


class Standby(MortalServer):
    """A server that receives the changes of another."""

    def hear_nothing(self) -> None:
        """Its receiver stops, as on a line that is slow: what happens on the primary from now on is not here."""
        rows = eventually(lambda: self.ask("SELECT pid FROM pg_stat_wal_receiver"), bool, within_s=FOLLOWS_WITHIN_S)
        (pid,) = rows[0]
        assert isinstance(pid, int)
        os.kill(pid, signal.SIGSTOP)
        self._stopped = pid

    def lose_what_was_not_heard(self) -> None:
        """The receiver ends before it reads on."""
        with suppress(ProcessLookupError):
            os.kill(self._stopped, signal.SIGTERM)
            os.kill(self._stopped, signal.SIGCONT)


class Pair:
    """`with Pair() as pair:` starts both, and waits until the standby follows.

    Synchronous: a commit is answered when the standby's disk has it as well.
    """

    def __init__(self, *, synchronous: bool = True) -> None:
        self._synchronous = synchronous
        self.primary = MortalServer(tcp=True)
        self.standby = Standby(tcp=True, standby_of=self.primary)

    def __enter__(self) -> Self:
        try:
            self.primary.__enter__()
            if self._synchronous:  # before the base backup, which copies it: so it is in the world as well
                set_synchronous(self.primary, "*")
            self.standby.__enter__()
            self.wait_until_followed()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    @property
    def dsn(self) -> str:
        """Both, as the gateway is told: the one that may be written is used."""
        return dsn_of(self.primary, self.standby)

    @property
    def standby_first(self) -> str:
        return dsn_of(self.standby, self.primary)

    def fail_over(self) -> None:
        """SIGKILL to the primary, and the standby takes its place as the operator's script does it."""
        self.primary.kill()
        self.promote()

    def promote(self) -> None:
        path = f"{binary('psql').parent}:{os.environ['PATH']}"
        done = subprocess.run(
            [PROMOTE, self.standby.dsn()], env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    def wait_until_followed(self) -> None:
        sql = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND sync_state = %s"
        state = "sync" if self._synchronous else "async"
        eventually(lambda: self.primary.ask(sql, state), lambda rows: rows == [(1,)], within_s=FOLLOWS_WITHIN_S)

    def remove(self) -> None:
        self.standby.remove()
        self.primary.remove()


def dsn_of(*servers: Server) -> str:
    hosts = ",".join(f"127.0.0.1:{server.port}" for server in servers)
    return f"postgresql://postgres@{hosts}/postgres"


def set_synchronous(server: Server, names: str) -> None:
    server.ask(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'")
    server.ask("SELECT pg_reload_conf()")
