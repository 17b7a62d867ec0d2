"""The lead among all processes on a server: an advisory lock of a session of its own, lost with the session."""

from contextlib import suppress
from time import monotonic

import psycopg

from ledger.postgres_connection import Address, Link
from ledger.postgres_schema import lock_key

ANSWER_S = 2.0
HELD = """SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1 AND granted
    AND classid::bigint = (%s::bigint >> 32) & 4294967295 AND objid::bigint = %s::bigint & 4294967295
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""
"""Rows where somebody has a lock, told by its key, twice. Asked before a session is made to take it: most ask and never get it."""


def key_of(address: Address, name: str) -> int:
    return lock_key(address.schema, f"lead:{name}")


class ServerLead:
    """One process of all that share a ledger has it, on however many machines."""

    def __init__(self, link: Link) -> None:
        self._link = link

    @classmethod
    def taken(cls, address: Address, name: str) -> "ServerLead | None":
        """None while another has it. Raises LedgerUnavailable."""
        # Others wait for the server to notice that a leader's machine is gone: here within 5 s.
        link = address.connect(f"lead {name}", tcp_keepalives_idle=2, tcp_keepalives_interval=1, tcp_user_timeout="5s")
        try:
            (got,) = link.execute("SELECT pg_try_advisory_lock(%s)", (key_of(address, name),)).fetchall()[0]
        except psycopg.OperationalError as error:
            link.close()
            raise address.unavailable("asked for the lead", error) from error
        if got:
            return cls(link)
        link.close()
        return None

    def is_held(self) -> bool:
        """False for good, as soon as the session does not answer, or its server has become a standby."""
        if self._link.closed:
            return False
        self._link.until = monotonic() + ANSWER_S
        try:
            (is_standby,) = self._link.execute("SELECT pg_is_in_recovery()").fetchall()[0]
        except psycopg.OperationalError:
            is_standby = True
        if is_standby:
            self._link.close()
        return not is_standby

    def close(self) -> None:
        """Give it away at once: a server only notices after a moment that a session has ended."""
        if not self._link.closed:
            self._link.until = monotonic() + ANSWER_S
            with suppress(psycopg.OperationalError):
                self._link.execute("SELECT pg_advisory_unlock_all()")
        self._link.close()
