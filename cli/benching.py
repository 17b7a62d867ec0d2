"""`veloera bench`: the benchmarks of the repository, where the repository is there."""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import click

from cli.failures import NotFound
from cli.output import emit, example, json_option


@click.command(
    epilog=example("veloera bench", "veloera bench -- --quick --only call"),
    context_settings={"ignore_unknown_options": True},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@json_option
def bench(arguments: tuple[str, ...], *, as_json: bool) -> None:
    """Measure the gateway beside a bare echo, with durable billing on: `make bench`.

    ARGUMENTS are those of `python -m benchmarks`; see them with `veloera bench -- --help`.
    """
    if find_spec("benchmarks") is None:
        raise NotFound("the benchmarks are not installed; clone the repository and run `make bench` there")
    from benchmarks.run import main

    if not as_json:
        raise click.exceptions.Exit(main(list(arguments)))
    with tempfile.TemporaryDirectory(prefix="veloera-bench-") as folder:
        report = Path(folder) / "report.json"
        with contextlib.redirect_stdout(sys.stderr):
            code = main([*arguments, "--json", str(report)])
        if report.is_file():
            for row in json.loads(report.read_text())["rows"]:
                emit(row)
    raise click.exceptions.Exit(code)
