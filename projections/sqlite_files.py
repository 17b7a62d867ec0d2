"""The files of a read model: a database, its WAL and the WAL's index keep one name together, whatever it is.

A reader whose file has moved goes on reading it: SQLite knows a moved file by its inode, and neither checkpoints it nor
removes a WAL when such a reader closes.
"""

import os
from collections.abc import Iterator
from pathlib import Path

BESIDE_IT = ("", "-wal", "-shm")


def inode(path: Path) -> int:
    """0 when there is no such file."""
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return 0


def old_path(path: Path) -> Path:
    """Where the read model is kept that was live before."""
    return Path(f"{path}.old")


def exchange(path: Path, newer: Path) -> None:
    """Put a closed, checkpointed read model in the place of another, under the fold lock and with no writer open; keep that.

    The old name goes first: SQLite drops a WAL without its file, but would apply the WAL of one file to another.
    """
    remove(old_path(path))
    _move(path, old_path(path))
    newer.rename(path)
    sync_folder(path.parent)


def exchange_back(path: Path) -> None:
    """Exchange the live read model and the one that was kept, under the fold lock and with no writer open on either."""
    between = Path(f"{path}.back")
    remove(between)
    _move(path, between)
    _move(old_path(path), path)
    _move(between, old_path(path))
    sync_folder(path.parent)


def remove(path: Path) -> None:
    """Remove a read model that nobody writes."""
    for name in (*_names(path), Path(f"{path}-journal")):
        name.unlink(missing_ok=True)


def sync(path: Path) -> None:
    _sync(path, os.O_RDWR)


def sync_folder(path: Path) -> None:
    _sync(path, os.O_RDONLY | os.O_DIRECTORY)


def _move(path: Path, to: Path) -> None:
    for here, there in zip(_names(path), _names(to), strict=True):
        if here.exists():
            here.rename(there)


def _names(path: Path) -> Iterator[Path]:
    return (Path(f"{path}{suffix}") for suffix in BESIDE_IT)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
