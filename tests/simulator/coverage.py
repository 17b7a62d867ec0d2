"""What a number of seeds has covered: each command with each answer, and each fault."""

from __future__ import annotations

from collections import Counter

from domain.events import TOPICS
from domain.ledger import RULES
from tests.simulator.plan import FAULTS
from tests.simulator.world import Outcome

WITHOUT_A_RULE = frozenset(
    {
        "channel.changed/1", "channel.deleted/1", "channel.key_shown/1", "channel.status_changed/1",
        "invite_code.claimed/1", "key.status_changed/1", "key.terms_changed/1",
        "user.access_token_made/1", "user.invite_code_made/1", "user.password_changed/1",
    }
)  # fmt: skip
"""Facts that one command records like any other of theirs, and that no rule reads."""
OK = frozenset({"created", "exists", "unchanged"})


class Covered:
    """What outcomes so far have covered."""

    def __init__(self) -> None:
        self.answers: Counter[tuple[str, str]] = Counter()
        self.faults: Counter[str] = Counter()
        self.topics: Counter[str] = Counter()

    def add(self, outcome: Outcome) -> None:
        self.answers.update(outcome.answers)
        self.faults.update(outcome.faults)
        self.topics.update(outcome.topics)

    def missing(self) -> list[str]:
        """Commands that were never carried out or never refused, facts that were never recorded, faults that never struck."""
        names = sorted(rule.__name__ for rule in RULES)
        seen = {name: {status for command, status in self.answers if command == name} for name in names}
        never = [f"{name} was never carried out" for name in names if "created" not in seen[name]]
        never += [f"{name} was never refused" for name in names if seen[name] <= OK]
        never += [f"{topic} was never recorded" for topic in TOPICS if topic not in WITHOUT_A_RULE | set(self.topics)]
        return never + [f"{fault} never struck" for fault in FAULTS if not self.faults[fault]]

    def report(self) -> str:
        """For people: a line for each command, each fact and each fault."""
        lines: list[str] = []
        for name in sorted(rule.__name__ for rule in RULES):
            counts = sorted((status, count) for (command, status), count in self.answers.items() if command == name)
            lines.append(f"  {name:<16}" + ", ".join(f"{status} {count:,}" for status, count in counts))
        for kind in (self.topics, self.faults):
            lines += [f"  {name:<30}{count:>12,}" for name, count in sorted(kind.items())]
        return "\n".join(lines + [f"  missing: {name}" for name in self.missing()])
