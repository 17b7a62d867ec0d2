"""Told to stop, by SIGTERM or SIGINT, in a process whose main thread waits for nothing else.

A handler runs between two instructions of that thread, which may hold the event's own lock at that moment: an event that is set
there waits for itself, for ever. A SimpleQueue may be put to by a handler, and a thread of its own sets the event.
"""

import signal
import threading
from queue import SimpleQueue
from types import FrameType


def told_to_stop() -> threading.Event:
    """An event that is set at the first SIGTERM or SIGINT. Only for the main thread; further signals do nothing more."""
    stop = threading.Event()
    told: SimpleQueue[int] = SimpleQueue()

    def heard(number: int, _frame: FrameType | None) -> None:
        told.put(number)

    def pass_on() -> None:
        told.get()
        stop.set()

    threading.Thread(target=pass_on, name="told-to-stop", daemon=True).start()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, heard)
    return stop
