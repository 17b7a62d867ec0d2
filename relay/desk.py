"""Everything a call needs, joined once at the start and handed to `relay`."""

from dataclasses import dataclass, field

from ledger.vault import Vault
from projections.directory import Directory
from relay.credit import Ledger
from relay.figures import Figures
from relay.limits import Limits
from relay.meter import Counter
from relay.open_calls import OpenCalls
from relay.prices import PricesKept
from relay.router import Router
from relay.upstream import Upstream


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long and how large, with units."""

    hold_output_tokens: int = 4096
    hold_grace_s: float = 60
    connect_timeout_s: float = 10
    first_byte_timeout_s: float = 300
    idle_timeout_s: float = 60
    total_timeout_s: float = 1800
    tail_wait_s: float = 5
    answer_bytes: int = 64 * 1024 * 1024
    event_bytes: int = 4 * 1024 * 1024
    force_stream_option: bool = True
    sandbox_tokens_per_s: float = 60


@dataclass(slots=True)
class Desk:
    """The relay's surroundings. One for a process; it owns the calls that are open."""

    directory: Directory
    vault: Vault
    ledger: Ledger
    upstream: Upstream
    router: Router
    limits: Limits
    counter: Counter
    node: str
    epoch: str
    bounds: Bounds = field(default_factory=Bounds)
    figures: Figures = field(default_factory=Figures)
    open_calls: OpenCalls = field(default_factory=OpenCalls)
    prices: PricesKept = field(default_factory=PricesKept)

    def interrupt_all(self, why: str) -> None:
        """End every wait for upstream: what was produced is settled, the rest is released."""
        for call in self.open_calls:
            call.interrupt(why)
