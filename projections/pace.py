"""How work that can wait makes way for work that cannot: it rests between its pages, and has the processor when nobody wants it."""

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

STATUS = Path("/proc/self/status")

Made = TypeVar("Made")


class Stopped(Exception):
    """Nobody waits for the work any more."""


class Pace:
    """`pause_s` after each page; `idle`: `gently` gives way to every other process."""

    def __init__(self, pause_s: float = 0.0, *, idle: bool = False) -> None:
        self.pause_s = pause_s
        self.idle = idle
        self._stop = threading.Event()

    def gently(self, work: Callable[[], Made]) -> Made:
        """Do it in a thread that gives way. This one does not: few systems let a thread take back that it gives way."""
        if not self.idle:
            return work()
        done: Future[Made] = Future()
        thread = threading.Thread(target=_do, args=(work, done), name="replay")
        try:
            thread.start()
            return done.result()
        except BaseException:
            self._stop.set()
            raise
        finally:
            if thread.ident is not None:
                thread.join()

    def rest(self) -> None:
        """After a page. Raises Stopped."""
        if self.pause_s > 0:
            self._stop.wait(self.pause_s)
        self.check()

    def check(self) -> None:
        """Raises Stopped when the thread that waited for the work was interrupted."""
        if self._stop.is_set():
            raise Stopped


def _do(work: Callable[[], Made], done: "Future[Made]") -> None:
    try:
        give_way()
        done.set_result(work())
    except BaseException as error:  # noqa: BLE001  # whatever it is, it is raised again where it is waited for
        done.set_exception(error)


def give_way() -> None:
    """Let every other process go first, from here to the end of this thread."""
    if hasattr(os, "SCHED_IDLE"):  # Linux has it; elsewhere the pauses have to do
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def peak_mb() -> float:
    """The most memory that this process has had resident, in 10^6 bytes; 0 where the system does not say."""
    if not STATUS.exists():
        return 0.0
    lines = STATUS.read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024 / 1e6
