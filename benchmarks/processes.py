"""Processes under measurement: pinned to a core when they start, counted as a whole tree, stopped by their own ids."""

from __future__ import annotations

import os
import resource
import subprocess
import time
from collections import Counter, defaultdict
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
QUIET_S = 0.3
QUIET_CPU_S = 0.02
QUIET_AT_MOST_S = 5.0
STOP_S = 15.0
TCP_STATES = {"01": "established", "0A": "listening"}
"""By their number in /proc/net/tcp; all others are on their way out."""


class TooFewFiles(Exception):
    """The system allows fewer open files than what is measured needs; the message says how many."""


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
def on_core(*cores: int) -> Generator[None]:
    """What is started within starts on these cores and stays there."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
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


def raise_file_limit(needed: int) -> None:
    """Let this process, and all that it starts, have as many open files as the system allows. Raises TooFewFiles."""
    _, allowed = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, allowed))
    if allowed != resource.RLIM_INFINITY and allowed < needed:
        raise TooFewFiles(f"a process needs {needed} open files, {allowed} are allowed: raise `ulimit -Hn`")


def open_files(pid: int) -> int:
    """How many file descriptors the tree has."""
    return sum(1 for member in tree(pid) for _ in _descriptors(member))


def sockets(pid: int) -> Counter[str]:
    """The tree's TCP sockets: `established`, `listening`, and `ending` for every other state; an idle one is established."""
    inodes = {link[len("socket:[") : -1] for member in tree(pid) for link in _descriptors(member) if "socket:" in link}
    counted: Counter[str] = Counter()
    for table in filter(Path.exists, (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))):
        for line in table.read_text().splitlines()[1:]:
            fields = line.split()
            if fields[9] in inodes:
                counted[TCP_STATES.get(fields[3], "ending")] += 1
    return counted


def _descriptors(pid: int) -> list[str]:
    """What the file descriptors of one process are."""
    links: list[str] = []
    try:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            try:
                links.append(str(entry.readlink()))
            except FileNotFoundError:
                continue  # closed since it was listed
    except FileNotFoundError:
        pass  # the process has ended, and has none
    return links


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
