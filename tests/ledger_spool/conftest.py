"""A ledger that may go away, its writer, and a spool beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger.spool import Spool, SpooledLedger, open_spool
from ledger.writer import Writer
from tests.laws import calls, seeds
from tests.ledger_spool.faulty import FaultyStore


@pytest.fixture(autouse=True)
def _seed() -> None:
    seeds.show()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FaultyStore]:
    opened = FaultyStore(tmp_path / "data")
    opened.commit([calls.customer(grant=10**9)])
    yield opened
    opened.goes_on.set()
    opened.close()


@pytest.fixture
def writer(store: FaultyStore) -> Iterator[Writer]:
    running = Writer(store)
    yield running
    store.goes_on.set()
    running.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data" / "spool"


@pytest.fixture
def spool(folder: Path, writer: Writer) -> Iterator[Spool]:
    running = open_spool(folder, writer, name="0001")
    yield running
    running.close()


@pytest.fixture
def ledger(writer: Writer, spool: Spool) -> SpooledLedger:
    return SpooledLedger(writer, spool, after_s=0.05, extend_within_s=0.05)
