"""How this process gets memory from the C library: from one place, so that a long run does not leave holes in many.

glibc gives each thread a heap of its own and moves its thresholds with what it is asked for; a gateway's threads each then keep, for
good, the most that they ever needed at once. Source: mallopt(3); measured by the soak in docs/performance.md.
"""

import ctypes

MIB = 1024 * 1024
HEAPS = 1
"""The interpreter lets one thread work at a time anyway."""
TRIM_THRESHOLD_BYTES = 64 * MIB
"""What may lie free at the end of the heap before it is given back: giving back and asking anew costs more than it frees."""
MMAP_THRESHOLD_BYTES = 4 * MIB
"""From this size on a block is mapped by itself, and given back whole."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8


def settle_heap() -> bool:
    """Set it for this process and those that it forks, before it makes threads. False where the C library has no such settings."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    wanted = (
        (_M_ARENA_MAX, HEAPS),
        (_M_TRIM_THRESHOLD, TRIM_THRESHOLD_BYTES),
        (_M_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES),
    )
    taken = [mallopt(parameter, value) == 1 for parameter, value in wanted]
    return all(taken)
