"""How a command fails: one sentence that says what to do, and an exit code that scripts can rely on.

    0   done
    1   a difference was found, or the work failed
    2   the command was used wrongly
    3   what was named is not there
    4   the ledger refused: not enough, taken, too large, somebody was faster
    5   the ledger cannot be used now: not writable, another secret, a newer version

What is not expected stays loud: a bug keeps its traceback.
"""

from enum import IntEnum
from typing import IO, Any, ClassVar

import click


class ExitCode(IntEnum):
    DONE = 0
    DIFFERENCE = 1
    USAGE = 2
    NOT_FOUND = 3
    REFUSED = 4
    UNAVAILABLE = 5


class Failure(click.ClickException):
    """Ends the command with a sentence on stderr."""

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(f"Error: {self.message}", file=file, err=file is None)


class Misused(Failure):
    exit_code: ClassVar[int] = ExitCode.USAGE


class NotFound(Failure):
    exit_code: ClassVar[int] = ExitCode.NOT_FOUND


class Refused(Failure):
    exit_code: ClassVar[int] = ExitCode.REFUSED


class Unavailable(Failure):
    exit_code: ClassVar[int] = ExitCode.UNAVAILABLE


def failure_of(error: Exception) -> Failure | None:
    """What an error of the parts below means here; None for one that is nobody's refusal."""
    from ledger.errors import LedgerError

    if isinstance(error, LedgerError):
        return Unavailable(str(error))
    where = type(error).__module__
    if where.partition(".")[0] in ("sqlite3", "eventsourcing"):
        return Unavailable(f"the ledger cannot be used: {error}; check the folder, its disk and its owner")
    if where in ("projections.errors", "api.bootstrap"):
        return Unavailable(str(error))
    if where == "api.admin.refusals":
        return Misused(str(error)) if type(error).__name__ == "Invalid" else Refused(str(error))
    if where == "domain.setting_kinds":
        return Misused(str(error))
    if isinstance(error, PermissionError | FileNotFoundError | NotADirectoryError | FileExistsError):
        return Unavailable(
            f"{error.filename}: {error.strerror}; name another folder with --data-dir, or change its owner"
        )
    return None
