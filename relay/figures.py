"""Numbers about calls, counted where they happen and read by /metrics. Plain attributes: nothing here may slow a call."""

from bisect import bisect_left

BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)


class Histogram:
    """Counts below fixed bounds, as Prometheus wants them (each bucket apart; summed up when read)."""

    __slots__ = ("buckets", "count", "total")

    def __init__(self) -> None:
        self.buckets = [0] * (len(BOUNDS_S) + 1)
        self.count = 0
        self.total = 0.0

    def add(self, seconds: float) -> None:
        self.buckets[bisect_left(BOUNDS_S, seconds)] += 1
        self.count += 1
        self.total += seconds


class Figures:
    """Since the process started. Mills are integers, durations seconds."""

    __slots__ = (
        "attempts",
        "calls",
        "cost_mills",
        "duration",
        "endings",
        "first_byte",
        "paid_mills",
        "refusals",
        "tokens_in",
        "tokens_out",
        "written_off_mills",
    )

    def __init__(self) -> None:
        self.calls: dict[tuple[str, int], int] = {}
        """By endpoint and status."""
        self.endings: dict[str, int] = {}
        """By why the hold ended: `complete`, `client_left`, ..., `released`."""
        self.refusals: dict[str, int] = {}
        """By code."""
        self.attempts: dict[tuple[int, str], int] = {}
        """By channel and outcome."""
        self.duration = Histogram()
        self.first_byte = Histogram()
        self.tokens_in = self.tokens_out = 0
        self.cost_mills = self.paid_mills = self.written_off_mills = 0

    def called(self, endpoint: str, status: int, seconds: float) -> None:
        self.calls[endpoint, status] = self.calls.get((endpoint, status), 0) + 1
        self.duration.add(seconds)

    def ended(self, why: str) -> None:
        self.endings[why] = self.endings.get(why, 0) + 1

    def refused(self, code: str) -> None:
        self.refusals[code] = self.refusals.get(code, 0) + 1

    def attempted(self, channel: int, outcome: str) -> None:
        self.attempts[channel, outcome] = self.attempts.get((channel, outcome), 0) + 1

    def settled(self, cost: int, paid: int, tokens_in: int, tokens_out: int) -> None:
        self.cost_mills += cost
        self.paid_mills += paid
        self.written_off_mills += cost - paid
        self.tokens_in += tokens_in
        self.tokens_out += tokens_out
