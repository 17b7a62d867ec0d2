"""How a call can fail, by whose fault it is. They know no HTTP status; api/problems.py does, once per client format.

RelayError
    Refused                   the caller's fault: nothing was sent upstream, nothing is charged
        Unauthenticated       no key, or one that opens nothing
        Forbidden             the key or its user may not do this
        BadRequest            the request is not what its endpoint takes
        TooLarge              the body is larger than the gateway takes
        UnknownModel          no channel of the caller's group serves the model
        Insufficient          the balance or the key's limit does not cover the hold
        RateLimited           too many requests; `retry_after_s`
    Unavailable               ours: the ledger or the directory cannot serve now; nothing is charged
    Exhausted                 the provider's: no route answered; the hold was released
    Interrupted               a wait for upstream ended early: the client left, a timeout, a shutdown
    UpstreamCut               the connection broke while upstream answered
    UpstreamUnreachable       no connection could be made
"""

from domain.units import MILLS_PER_QUOTA


def said(mills: int) -> str:
    """Mills as quota with three decimals, exactly."""
    sign = "-" if mills < 0 else ""
    whole, rest = divmod(abs(mills), MILLS_PER_QUOTA)
    return f"{sign}{whole:,}.{rest:03d}"


class RelayError(Exception):
    """The root of this folder's errors. `code` is the family's word for it, where there is one."""

    code = "relay_error"

    def __init__(self, message: str, *, code: str = "") -> None:
        super().__init__(message)
        self.message = message
        if code:
            self.code = code


class Refused(RelayError):
    """The caller's fault."""


class Unauthenticated(Refused):
    code = "invalid_api_key"


class Forbidden(Refused):
    code = "access_denied"


class BadRequest(Refused):
    code = "invalid_text_request"

    def __init__(self, message: str, *, code: str = "", param: str = "") -> None:
        super().__init__(message, code=code)
        self.param = param


class TooLarge(Refused):
    code = "request_too_large"


class UnknownModel(Refused):
    code = "model_not_found"

    def __init__(self, model: str) -> None:
        super().__init__(f"The model '{model}' does not exist or your group has no channel for it")
        self.model = model


class Insufficient(Refused):
    """`needed` and `available` in mills; `of` says whose: the balance, or the key's limit."""

    code = "insufficient_user_quota"

    def __init__(self, *, needed_mills: int, available_mills: int, of: str) -> None:
        super().__init__(
            f"{of} is not enough: this call needs a hold of {said(needed_mills)} quota ({needed_mills} mills), "
            f"there are {said(available_mills)} ({available_mills} mills)"
        )
        self.needed_mills = needed_mills
        self.available_mills = available_mills


class RateLimited(Refused):
    code = "rate_limit_exceeded"

    def __init__(self, message: str, *, retry_after_s: int = 1, code: str = "") -> None:
        super().__init__(message, code=code)
        self.retry_after_s = retry_after_s


class Unavailable(RelayError):
    code = "ledger_unavailable"


class Exhausted(RelayError):
    """What the last provider said: its status, and its error where it had one."""

    code = "bad_response_status_code"

    def __init__(
        self,
        message: str,
        *,
        status: int,
        type_: str = "upstream_error",
        code: str = "",
        param: str = "",
        retry_after: str = "",
    ) -> None:
        super().__init__(message, code=code)
        self.status = status
        self.type = type_
        self.param = param
        self.retry_after = retry_after


class Interrupted(RelayError):
    """`why`: `client_left`, `connect_timeout`, `first_byte_timeout`, `idle_timeout`, `total_timeout`, `tail`, `shutdown`."""

    def __init__(self, why: str) -> None:
        super().__init__(f"interrupted: {why}")
        self.why = why


class UpstreamCut(RelayError):
    pass


class UpstreamUnreachable(RelayError):
    code = "do_request_failed"
