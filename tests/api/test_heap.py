"""A process that settled its heap has one, however many threads ask for memory."""

from __future__ import annotations

import platform
import subprocess
import sys

THREADS = """
import threading
from pathlib import Path
from api.heap import settle_heap

settled = {settled} and settle_heap()
met = threading.Barrier(8)

def work():
    kept = [bytes(1000) for _ in range(2000)]
    met.wait()
    return kept

threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads:
    thread.start()
lines = Path("/proc/self/maps").read_text().splitlines()
for thread in threads:
    thread.join()
# What glibc reserves for a further heap: 64 MiB at a multiple of that, most of it without access.
ends = [line.split()[0].split("-")[1] for line in lines if line.split()[1] == "---p" and not line.split()[-1].startswith("/")]
print(settled, sum(int(end, 16) % (64 << 20) == 0 for end in ends))
"""


def test_threads_share_one_heap() -> None:
    said = [
        subprocess.run(
            [sys.executable, "-c", THREADS.format(settled=settled)], capture_output=True, text=True, check=True
        )
        for settled in (True, False)
    ]

    settled, as_it_comes = (one.stdout.split() for one in said)
    has_settings = platform.libc_ver()[0] == "glibc"
    assert settled == [str(has_settings), "0"]
    assert (int(as_it_comes[1]) > 0) == has_settings
