"""Whatever the database, the disk and the process do in whatever order: what was acknowledged is charged, and once.

The relay's side is played step by step on the spool's own parts, without its threads, so that a failure can be drawn again.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import cast

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from domain.books import Result
from domain.commands import Command, Release, Settle
from domain.events import ChargeExpired, ChargeReleased, ChargeSettled, ChargeSettledLate
from ledger.errors import LedgerUnavailable
from ledger.spool import identity_of
from ledger.spool_drain import Drainer
from ledger.spool_files import SpoolFiles
from ledger.spool_frames import encode, framed
from ledger.spool_segment import Segment
from ledger.spool_survey import survey
from ledger.verify import verify
from tests.laws import calls
from tests.ledger_spool.books import commit, ends
from tests.ledger_spool.faulty import Fault, FaultyStore

FAULTS = st.sampled_from(["", "", "away", "lost"])
PROCESSES = st.integers(0, 1)


class Process:
    """The spool of one process, and what its writer has been given and may still commit."""

    def __init__(self, store: FaultyStore, name: str) -> None:
        self.files = SpoolFiles(
            store.folder / "spool", name, identity_of(store), limit_bytes=1 << 20, limit_records=1_000
        )
        self.files.open()
        self.files.adopt()
        self.drainer = Drainer(self.files, store.commit, store)
        self.late: list[Settle | Release] = []

    def keep(self, command: Settle | Release) -> None:
        frame = framed(encode(command, 1))
        self.files.reserve(len(frame))
        self.files.append([frame], 1)

    @property
    def segments(self) -> list[Segment]:
        return [*self.files._adopted, *self.files._own]

    def die(self) -> None:
        """The system closes what was open, and gives the locks away."""
        for segment in self.segments:
            segment.close()


class Outages(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.place = tempfile.TemporaryDirectory(prefix="spool-law-")
        self.store = FaultyStore(Path(self.place.name))
        self.store.commit([calls.customer(grant=10**9)])
        self.starts = 0
        self.processes = [self.started(), self.started()]
        self.calls = 0
        self.open: dict[int, tuple[int, int]] = {}
        """Calls that have not ended: the extensions the relay knows of, and those it asked for."""
        self.acknowledged: dict[int, Settle | Release] = {}
        self.attempted: dict[int, Settle | Release] = {}

    def started(self) -> Process:
        self.starts += 1
        return Process(self.store, f"{self.starts:06d}")

    @rule()
    def a_call_is_held(self) -> None:
        assert commit(self.store, calls.hold(1_000, calls.charge(self.calls))) == ["created"]
        self.open[self.calls] = (0, 0)
        self.calls += 1

    @precondition(lambda self: any(known == asked for known, asked in self.open.values()))
    @rule(data=st.data(), fault=FAULTS)
    def a_hold_grows(self, data: st.DataObject, fault: Fault) -> None:
        number = data.draw(st.sampled_from([n for n, (known, asked) in self.open.items() if known == asked]))
        known, _ = self.open[number]
        try:
            self.commit(calls.extend(known + 1, 500, calls.charge(number)), fault)
        except LedgerUnavailable:
            self.open[number] = (known, known + 1)
        else:
            known = known + 1 if not self.has_ended(number) else known
            self.open[number] = (known, known)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), by=PROCESSES, fault=FAULTS, pays=st.booleans(), is_slow=st.booleans())
    def a_call_ends(self, data: st.DataObject, by: int, fault: Fault, *, pays: bool, is_slow: bool) -> None:
        number = data.draw(st.sampled_from(sorted(self.open)))
        known, asked = self.open.pop(number)
        charge = calls.charge(number)
        end = calls.settle(700 + number, charge, extensions=known) if pays else calls.release(charge, extensions=known)
        self.attempted[number] = end
        process = self.processes[by]
        if is_slow:
            process.late.append(end)
        else:
            try:
                (result,) = self.commit(end, fault)
            except LedgerUnavailable:
                pass
            else:
                if result.status != "stale":
                    self.acknowledged[number] = end
                    return
                assert asked > known
        process.keep(end)
        self.acknowledged[number] = end

    @precondition(lambda self: any(process.late for process in self.processes))
    @rule(by=PROCESSES, fault=FAULTS)
    def a_slow_commit_comes_after_all(self, by: int, fault: Fault) -> None:
        if self.processes[by].late:
            end = self.processes[by].late.pop(0)
            try:
                self.commit(end, fault)
            except LedgerUnavailable:
                return

    @precondition(lambda self: self.open)
    @rule(data=st.data(), by=PROCESSES, share=st.floats(0, 1))
    def a_process_dies_while_it_writes(self, data: st.DataObject, by: int, share: float) -> None:
        number = data.draw(st.sampled_from(sorted(self.open)))
        known, _ = self.open.pop(number)
        end = calls.settle(700 + number, calls.charge(number), extensions=known)
        self.attempted[number] = end
        frame = framed(encode(end, 1))
        process = self.processes[by]
        own = process.files._own[-1]
        os.pwrite(own._fd, frame[: int(len(frame) * share)], own.end)
        self.a_process_dies(by)

    @rule(by=PROCESSES)
    def a_process_dies(self, by: int) -> None:
        self.processes[by].die()
        self.processes[by] = self.started()

    @rule(by=PROCESSES)
    def a_process_stops_in_good_order(self, by: int) -> None:
        self.processes[by].files.close()
        self.processes[by] = self.started()

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def a_hold_expires(self, data: st.DataObject) -> None:
        number = data.draw(st.integers(0, self.calls - 1))
        for extensions in range(8):
            if commit(self.store, calls.expire(calls.charge(number), extensions=extensions)) != ["stale"]:
                return

    @rule(by=PROCESSES, faults=st.lists(FAULTS, max_size=3))
    def something_is_drained(self, by: int, faults: list[Fault]) -> None:
        self.store.plan.extend(faults)
        try:
            self.processes[by].drainer.step()
        except LedgerUnavailable:
            pass
        finally:
            self.store.plan.clear()

    @precondition(lambda self: len(self.open) > 1)
    @rule(data=st.data(), by=PROCESSES)
    def more_is_kept_after_a_drain_that_failed(self, data: st.DataObject, by: int) -> None:
        self.a_call_ends(data, by, "away", pays=True, is_slow=False)
        self.something_is_drained(by, ["away"])
        self.a_call_ends(data, by, "away", pays=True, is_slow=False)

    @invariant()
    def no_call_has_more_than_one_end(self) -> None:
        for number in range(getattr(self, "calls", 0)):
            assert ends(self.store, number) in (
                [], [ChargeSettled], [ChargeReleased], [ChargeExpired], [ChargeExpired, ChargeSettledLate],
            )  # fmt: skip

    def teardown(self) -> None:
        if not hasattr(self, "store"):
            return
        try:
            self.the_database_is_back()
        finally:
            self.store.close()
            self.place.cleanup()

    def the_database_is_back(self) -> None:
        for process in self.processes:
            process.die()
        last = self.started()
        while last.drainer.step():
            pass
        for number, end in self.acknowledged.items():
            allowed = (
                ([ChargeSettled], [ChargeExpired, ChargeSettledLate])
                if isinstance(end, Settle)
                else ([ChargeReleased], [ChargeExpired])
            )
            assert ends(self.store, number) in allowed, (number, end)
            if isinstance(end, Settle):
                fact = self.store.read_stream(end.charge)[-1].fact
                assert cast("ChargeSettled", fact).cost == end.cost
        for number in range(self.calls):
            assert number in self.attempted or ends(self.store, number) in ([], [ChargeExpired])
        assert (last.drainer.refused, last.files.waiting, last.files.damaged) == (0, 0, 0)
        assert [file.records for file in survey(self.store.folder / "spool").files] == [0]
        assert verify(self.store).is_sound
        last.files.close()

    def commit(self, command: Command, fault: Fault) -> list[Result]:
        self.store.plan.append(fault)
        return self.store.commit([command])

    def has_ended(self, number: int) -> bool:
        return bool(ends(self.store, number))


EXAMPLES = int(os.environ.get("SPOOL_LAW_EXAMPLES") or 20)
TestOutages = Outages.TestCase
TestOutages.settings = settings(
    max_examples=EXAMPLES, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
