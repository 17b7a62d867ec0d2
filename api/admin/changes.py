"""How a handler changes something: read it, make the command, commit it, and wait until it is in force.

Things are changed at the version they were read at. Where somebody was faster, the handler reads again and decides again, so
what it checked is true of what it changed.
"""

from collections.abc import Callable, Iterable
from typing import TypeVar
from uuid import uuid4

from fastapi import Request

from api.admin.refusals import Conflict, Invalid, Missing
from api.admin.services import Services, followed
from domain.books import Result
from domain.commands import Append, Command, Part
from domain.events import Fact
from domain.streams import StreamId
from ledger.mapper import Recorded

TRIES = 3
MAX_IDEMPOTENCY_KEY_LENGTH = 128

S = TypeVar("S")


def carry_out(site: Services, make: Callable[[], Command | None]) -> Result:
    """Commit what `make` makes; it is called again when somebody was faster. When this returns, the change is in force here.

    Where `make` gives None it is so already, and nothing is recorded.

    Raises:
        Missing, Conflict, Invalid: the ledger refused it, and says why; nothing was changed.
    """
    result = Result("unchanged")
    for _ in range(TRIES):
        command = make()
        if command is None:
            return Result("unchanged")
        result = site.books.writer.submit_blocking(command)
        if result.status != "conflict":
            break
    check(result)
    followed(site)
    return result


def check(result: Result) -> None:
    """Raise the refusal that a result is."""
    if result.ok:
        return
    match result.status:
        case "not_found":
            raise Missing(result.why or "it is not there any more")
        case "taken":
            raise Conflict(f"{result.why}: choose another one")
        case "exists_with_different":
            raise Conflict("this Idempotency-Key was used for another change: use a new one for a new change")
        case "conflict":
            raise Conflict("somebody else changes this at the same time: read it again, then repeat your change")
    raise Invalid(result.why or f"the ledger refused it: {result.status}")


def folded(recorded: Iterable[Recorded], from_facts: Callable[[Iterable[Fact]], S | None]) -> tuple[S | None, int]:
    """The state of a stream, and the version it is at."""
    facts = [one.fact for one in recorded]
    return from_facts(facts), len(facts)


def together(stream: StreamId, version: int, *changes: Append) -> Append:
    """Several changes to one thing as one command, all or nothing, at the version that they were made from."""
    own = tuple(fact for change in changes for part in change.parts if part.stream == stream for fact in part.facts)
    others = tuple(part for change in changes for part in change.parts if part.stream != stream)
    claiming = next((change for change in changes if change.claim), None)
    return Append(
        parts=(Part(stream, version, own), *others),
        claim=claiming.claim if claiming else "",
        user=claiming.user if claiming else 0,
        vault=tuple(put for change in changes for put in change.vault),
        vault_delete=tuple(ref for change in changes for ref in change.vault_delete),
    )


def once(request: Request, *scope: object) -> str:
    """A name under which a command happens once: the client's Idempotency-Key within its scope, or a new one.

    Raises:
        Invalid: the header holds something else than 1 to 128 printable ASCII characters.
    """
    sent = request.headers.get("idempotency-key")
    if sent is None:
        return f"api:{uuid4().hex}"
    if not (1 <= len(sent) <= MAX_IDEMPOTENCY_KEY_LENGTH and sent.isascii() and sent.isprintable()):
        raise Invalid(f"Idempotency-Key: expected 1 to {MAX_IDEMPOTENCY_KEY_LENGTH} printable ASCII characters")
    return ":".join(["api", *(str(part) for part in scope), sent])
