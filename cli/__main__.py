"""The `veloera` command. Its start is quick: what is heavy is imported by the commands that need it."""

from __future__ import annotations

from pathlib import Path

import click

from cli.benching import bench
from cli.channels import channels
from cli.codes import codes
from cli.failures import failure_of
from cli.keys import keys
from cli.ledger import ledger
from cli.output import example
from cli.prices import prices
from cli.replaying import replay
from cli.serving import init, projector, serve, worker
from cli.topups import topups
from cli.users import users


class Veloera(click.Group):
    """Turns what the parts below refuse into a sentence and an exit code. What nobody refuses stays loud."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.Abort, click.exceptions.Exit, BrokenPipeError):
            raise
        except Exception as error:
            failure = failure_of(error)
            if failure is None:
                raise
            raise failure from error


@click.group(
    cls=Veloera,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=example("veloera serve", "veloera ledger statement", "veloera ledger verify"),
)
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder of the embedded store. [env var: DATA_DIR; default: ./data]",
)
@click.version_option(package_name="veloera", message="veloera %(version)s")
@click.pass_context
def veloera(context: click.Context, data_dir: Path | None) -> None:
    """An AI API gateway in which money is provable."""
    context.obj = data_dir


for command in (serve, init, projector, worker, users, keys, codes, topups, channels, prices, ledger, replay, bench):
    veloera.add_command(command)


def main() -> None:
    """The entry point of the installed command."""
    veloera(prog_name="veloera")


if __name__ == "__main__":
    main()
