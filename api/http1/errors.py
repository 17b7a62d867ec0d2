"""What can be wrong with a message, and whose fault it is.

Refused             the client's: its request is answered with `status` and the connection ends
AnswerFault         the app's, raised into its `send`; a bug that stays loud
  BadAnswerHead     a status or a header that must not go on the wire
  AnswerTooLong     more body than its content-length promised
  AnswerTooShort    less
"""


class Refused(Exception):
    """This request is not taken. `reason` is one of our own sentences and never repeats what the client sent."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"{status}: {reason}")
        self.status = status
        self.reason = reason


class AnswerFault(Exception):
    """The app broke the rules of its answer."""


class BadAnswerHead(AnswerFault):
    """Nothing was sent; the client gets a 500."""


class AnswerTooLong(AnswerFault):
    """The client got what was promised and no more; the connection ends."""


class AnswerTooShort(AnswerFault):
    """The connection ends, so that the client sees that something is missing."""
