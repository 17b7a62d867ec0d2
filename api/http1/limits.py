"""What one connection may take of this server. Every wait and every buffer has its bound here, with its unit in its name."""

from dataclasses import dataclass, fields

KIB = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of one HTTP/1 connection. `_s` is seconds.

    Raises ValueError when one of them is not positive.
    """

    request_line_bytes: int = 16 * KIB
    """The longest first line; beyond it 414."""
    head_bytes: int = 64 * KIB
    """The longest request head, first line and blank line included; beyond it 431. Trailers have the same bound."""
    headers: int = 128
    """The most header lines; beyond it 431."""
    queued_body_bytes: int = 256 * KIB
    """What may wait for the app's `receive`; beyond it the socket is not read."""
    pipelined_bytes: int = 64 * KIB
    """What may wait behind an answer that is still being made; beyond it the socket is not read."""

    head_s: float = 30
    """From a head's first byte to its last; then 408. On a new connection from its start."""
    body_idle_s: float = 60
    """The longest in which a body that is read gains less than `body_step_bytes`; then 408."""
    body_step_bytes: int = KIB
    keep_alive_s: float = 75
    """How long a connection may stay open between two requests."""
    write_s: float = 60
    """The longest in which a client takes nothing of what waits for it; then the connection is cut."""
    drain_head_s: float = 5
    """How long a head that is under way may still take once the server stops."""
    linger_s: float = 2
    """How long a client's unread bytes are thrown away after the last answer, so that no reset overtakes it."""

    def __post_init__(self) -> None:
        wrong = [field.name for field in fields(self) if getattr(self, field.name) <= 0]
        if wrong:
            raise ValueError(f"limits must be above 0: {', '.join(wrong)}")
