"""Processes under measurement: pinned to a core when they start, counted as a whole tree, stopped by their own ids."""

from __future__ import annotations

import os
import subprocess
import time
from collections import defaultdict
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
QUIET_S = 0.3
QUIET_CPU_S = 0.02
QUIET_AT_MOST_S = 5.0
STOP_S = 15.0


@dataclass(frozen=True)
class Cores:
    """`server`: what is measured. `load`: the load generator, the upstream and this driver."""

    server: int
    load: int

    @classmethod
    def choose(cls) -> Cores:
        """The first and the last core this process may use: the same one, where there is only one."""
        allowed = sorted(os.sched_getaffinity(0))
        return cls(allowed[0], allowed[-1])


@contextmanager
def on_core(core: int) -> Generator[None]:
    """What is started within starts on `core` and stays there."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def tree(pid: int) -> list[int]:
    """`pid` and all its living descendants."""
    children: dict[int, list[int]] = defaultdict(list)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (stat := _stat(int(entry.name))):
            children[int(stat[1])].append(int(entry.name))
    found = [pid]
    for parent in found:
        found += children[parent]
    return found


def cpu_s(pid: int) -> float:
    """User and system seconds of the tree so far, with those of children that ended."""
    ticks = 0
    for member in tree(pid):
        if stat := _stat(member):
            ticks += sum(map(int, stat[11:15]))
    return ticks * TICK_S


def quiet_cpu_s(pid: int) -> float:
    """As `cpu_s`, once the tree has come to rest: work it put off (folding, checkpoints) belongs to the calls before."""
    give_up = time.monotonic() + QUIET_AT_MOST_S
    used = cpu_s(pid)
    while time.monotonic() < give_up:
        time.sleep(QUIET_S)
        before, used = used, cpu_s(pid)
        if used - before <= QUIET_CPU_S:
            break
    return used


def rss_mb(pid: int) -> float:
    """Resident memory of the tree in MB (10^6 bytes); pages shared by two processes count twice."""
    return _memory_mb(pid, "status", "VmRSS:")


def pss_mb(pid: int) -> float:
    """Resident memory of the tree in MB, every shared page counted once."""
    return _memory_mb(pid, "smaps_rollup", "Pss:")


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process we started: politely, then for good, with its children."""
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        for member in tree(process.pid):
            _kill(member)
        process.wait()
    if process.stdout:
        process.stdout.close()


def _kill(pid: int) -> None:
    try:
        os.kill(pid, 9)
    except ProcessLookupError:
        return


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on; empty once it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return text.rpartition(")")[2].split()


def _memory_mb(pid: int, file: str, field: str) -> float:
    kib = 0
    for member in tree(pid):
        try:
            lines = Path(f"/proc/{member}/{file}").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue
        kib += sum(int(line.split()[1]) for line in lines if line.startswith(field))
    return kib * 1024 / 1e6
