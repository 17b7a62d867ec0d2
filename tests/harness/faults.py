"""A disk that is slow or fails, and a clock that is wrong, for the processes of a test and at moments of its choice.

`faults.c` is compiled once and preloaded into them; a page of memory that they share with the test says what happens. Where there is
no C compiler, tests that need this are not collected (`compiler()` is None).
"""

from __future__ import annotations

import atexit
import mmap
import os
import shutil
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from struct import Struct
from types import TracebackType
from typing import Self

SOURCE = Path(__file__).with_name("faults.c")
CELL = Struct("=q")
DELAY_US, FAILS_IN, SKEW_NS, FLUSHES, FAILURES = range(5)
EACH = -1


class Faults:
    """`with Faults() as faults:` and start processes with `faults.env` in their environment."""

    def __init__(self, *, only: str = "") -> None:
        """`only`: a part of the names of the files whose flushes are meant; empty: all."""
        self._folder = tempfile.TemporaryDirectory(prefix="faults-")
        path = Path(self._folder.name) / "page"
        path.write_bytes(bytes(mmap.PAGESIZE))
        path.chmod(0o666)  # PostgreSQL runs as somebody else
        path.parent.chmod(0o755)
        with path.open("r+b") as file:
            self._page = mmap.mmap(file.fileno(), mmap.PAGESIZE)
        self.env = {"LD_PRELOAD": str(library()), "FAULTS_PAGE": str(path), "FAULTS_ONLY": only}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._page.close()
        self._folder.cleanup()

    def slow(self, seconds: float) -> None:
        """Each flush takes so much longer from now on."""
        self._put(DELAY_US, int(seconds * 1_000_000))

    def fail(self, nth: int) -> None:
        """The nth flush from now says EIO; EACH: all of them do."""
        self._put(FAILS_IN, nth)

    def skew(self, seconds: float) -> None:
        """The time of day is off by so much from now on."""
        self._put(SKEW_NS, int(seconds * 1_000_000_000))

    def heal(self) -> None:
        for cell in (DELAY_US, FAILS_IN, SKEW_NS):
            self._put(cell, 0)

    @property
    def flushes(self) -> int:
        return self._get(FLUSHES)

    @property
    def failures(self) -> int:
        """Flushes that were made to fail."""
        return self._get(FAILURES)

    @contextmanager
    def here(self) -> Generator[None]:
        """What is started within is started with these faults, although nobody passes it an environment."""
        before = {name: os.environ.get(name) for name in self.env}
        os.environ.update(self.env)
        try:
            yield
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})

    def _put(self, cell: int, value: int) -> None:
        CELL.pack_into(self._page, cell * CELL.size, value)

    def _get(self, cell: int) -> int:
        return int(CELL.unpack_from(self._page, cell * CELL.size)[0])


def compiler() -> str | None:
    return next(filter(None, map(shutil.which, (os.environ.get("CC", "cc"), "gcc", "clang"))), None)


@cache
def library() -> Path:
    """The compiled `faults.c`, once for each process of a test run."""
    found = compiler()
    assert found is not None, "tests that need this are not collected without a C compiler"
    folder = tempfile.mkdtemp(prefix="faults-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    Path(folder).chmod(0o755)
    built = Path(folder) / "faults.so"
    command = [found, "-O2", "-Wall", "-shared", "-fPIC", "-o", str(built), str(SOURCE), "-ldl"]
    subprocess.run(command, check=True, capture_output=True)
    return built
