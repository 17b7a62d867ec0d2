"""How a request of the JSON API can be refused. A refusal changed nothing, and says what was expected and what to do.

Refusal
    Malformed          the body is no JSON, or not of the kind that this route takes
    Unauthenticated    nobody is logged in, or not as the user that the header names
    Forbidden          the caller may not do this
    Missing            there is no such thing, or not for this caller
    Conflict           it clashes with what is there: a name taken, a key used twice, somebody was faster
    TooLarge           the body is larger than the API takes
    Invalid            a field has a value that it cannot hold
    TooMany            too many attempts; `retry_after_s`
    Unavailable        the ledger or the directory cannot serve now
"""


class Refusal(Exception):
    """The root of this folder's errors. The text goes to the client: it never holds a secret."""


class Malformed(Refusal):
    pass


class Unauthenticated(Refusal):
    pass


class Forbidden(Refusal):
    pass


class Missing(Refusal):
    pass


class Conflict(Refusal):
    pass


class TooLarge(Refusal):
    pass


class Invalid(Refusal):
    pass


class TooMany(Refusal):
    """Come back in `retry_after_s` seconds."""

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Unavailable(Refusal):
    pass


def invalid(field: str, expected: str, got: object) -> Invalid:
    """A field with a value it cannot hold. `got` is shown short; leave it out for secrets."""
    return Invalid(f"{field}: expected {expected}, got {said(got)}")


def said(value: object) -> str:
    """A value as a person would say it, at most a line; objects and lists only by their kind."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case dict():
            return "an object"
        case list():
            return "a list"
        case str() if len(value) > 60:
            return repr(value[:60] + "...")
    return repr(value)
