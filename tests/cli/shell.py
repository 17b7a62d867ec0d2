"""A shell on a store of one's own: commands run as they are typed, and say what they said."""

from __future__ import annotations

import json
from pathlib import Path

import click.testing

from cli.__main__ import veloera
from domain import commands
from domain.pricing import PriceBook
from domain.usage import Usage
from ledger.sqlite import SqliteStore
from ledger.writer import Writer
from relay.call import new_request_id

OURS = ("PORT", "HOST", "DATA_DIR", "SQL_DSN", "REDIS_CONN_STRING", "CRYPTO_SECRET", "SESSION_SECRET")

Record = dict[str, object]


class Shell:
    """`veloera` on one data folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._runner = click.testing.CliRunner(env=dict.fromkeys(OURS))

    def run(self, *typed: str, stdin: str | None = None) -> click.testing.Result:
        """What a command said and how it ended. A bug is raised, not hidden in the result."""
        result = self._runner.invoke(veloera, ["--data-dir", str(self.folder), *typed], input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    def says(self, *typed: str, stdin: str | None = None) -> str:
        """The output of a command that ends well."""
        result = self.run(*typed, stdin=stdin)
        assert result.exit_code == 0, f"{typed} -> {result.exit_code}: {result.stderr}"
        return result.stdout

    def records(self, *typed: str) -> list[Record]:
        """The JSON lines of a command that ends well."""
        return [json.loads(line) for line in self.says(*typed, "--json").splitlines()]

    def record(self, *typed: str) -> Record:
        (record,) = self.records(*typed)
        return record

    def refuses(self, *typed: str) -> tuple[int, str]:
        """The exit code and the sentence of a command that does not end well and prints nothing else."""
        result = self.run(*typed)
        assert result.exit_code != 0
        assert result.stdout == ""
        assert "Traceback" not in result.stderr
        return result.exit_code, result.stderr

    def charges(self, *, user: int = 1, input_tokens: int = 10, output_tokens: int = 12, settled: bool = True) -> str:
        """One call as the relay books it; its request id."""
        price = PriceBook.from_settings({}, 0).price("sandbox-1", "default")
        usage = Usage(input=input_tokens, output=output_tokens)
        charge = new_request_id()
        hold = commands.Hold(
            charge=charge, user=user, key=1, model="sandbox-1", group="default", prices=(price,), amount=50_000,
            node="test", epoch="test", ttl_ms=60_000,
        )  # fmt: skip
        settle = commands.Settle(
            charge=charge, user=user, key=1, model="sandbox-1", group="default", price=price, usage=usage,
            cost=price.cost_mills(usage), ended_by="complete", channel=1,
        )  # fmt: skip
        store = SqliteStore(self.folder)
        writer = Writer(store)
        try:
            for command in (hold, settle) if settled else (hold,):
                assert writer.submit_blocking(command).status == "created"
        finally:
            writer.close()
            store.close()
        return charge
