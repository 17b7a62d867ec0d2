"""One file of the spool: locked by the process that has it in charge, appended to and flushed, read, and removed.

What was appended is durable when `append` returns. The lock dies with its process; whoever gets it then owns the file.
"""

import fcntl
import os
from pathlib import Path

from ledger.spool_frames import FILE_HEADER_BYTES, Scan, file_header, identity_in, scan

SUFFIX = ".spool"
DAMAGED_SUFFIX = ".damaged"


class Segment:
    """An open and locked file. `end` is where durable records end, `drained` up to where they were committed."""

    __slots__ = ("_fd", "drained", "end", "identity", "is_damaged", "is_sound", "path")

    def __init__(self, path: Path, fd: int, identity: bytes | None, end: int) -> None:
        self.path = path
        self.identity = identity
        """The ledger that its records are for; None when its header is damaged."""
        self.end = end
        self.drained = FILE_HEADER_BYTES
        self.is_damaged = identity is None
        self.is_sound = True
        """False once a write could not be undone or flushed: then nothing is appended any more."""
        self._fd = fd

    @classmethod
    def created(cls, path: Path, identity: bytes) -> "Segment":
        """A new file with nothing in it. Raises OSError, FileExistsError for a name that is taken, and leaves nothing behind."""
        # Locked before it has its name: whoever finds the name finds it locked.
        unnamed = path.with_name(f".{path.name}")
        fd = os.open(unnamed, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            if path.exists():  # a rename would put an empty file in the place of one with records
                raise FileExistsError(f"{path} is there already: every process has a name of its own")
            _write_all(fd, file_header(identity), 0)
            os.fsync(fd)
            unnamed.rename(path)
            _flush_folder(path.parent)
        except BaseException:
            os.close(fd)
            unnamed.unlink(missing_ok=True)
            raise
        return cls(path, fd, identity, FILE_HEADER_BYTES)

    @classmethod
    def adopted(cls, path: Path) -> "Segment | None":
        """The file of a process that is gone; None while its process lives, or somebody else was faster."""
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_there = path.stat().st_ino == os.fstat(fd).st_ino
        except (BlockingIOError, FileNotFoundError):
            is_there = False
        if not is_there:
            os.close(fd)
            return None
        return cls(path, fd, identity_in(os.pread(fd, FILE_HEADER_BYTES, 0)), os.fstat(fd).st_size)

    @property
    def size_bytes(self) -> int:
        return self.end - FILE_HEADER_BYTES

    def append(self, frames: bytes) -> None:
        """Write and flush. Raises OSError: then nothing of it is kept, as far as the disk lets itself be told."""
        assert self.is_sound, "a file that failed is left alone"
        try:
            _write_all(self._fd, frames, self.end)
        except OSError:
            self._cut_back()
            raise
        try:
            os.fdatasync(self._fd)
        except OSError:
            # After a failed flush nobody can say what is on the disk: asking again would answer "all well" and prove nothing.
            self.is_sound = False
            self._cut_back()
            raise
        self.end += len(frames)

    def unread(self) -> Scan:
        """What was not drained yet. Raises OSError."""
        data = bytearray()
        while len(data) < self.end - self.drained:
            piece = os.pread(self._fd, self.end - self.drained - len(data), self.drained + len(data))
            if not piece:
                break
            data += piece
        return scan(bytes(data))

    def empty(self) -> None:
        """Forget the records: they were drained. Their coming back after a crash would do no harm."""
        os.ftruncate(self._fd, FILE_HEADER_BYTES)
        self.end = self.drained = FILE_HEADER_BYTES

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self.close()

    def set_aside(self) -> Path:
        """Keep a damaged file under another name, for people; its good records were drained."""
        aside = self.path.with_name(self.path.name + DAMAGED_SUFFIX)
        self.path.rename(aside)
        _flush_folder(aside.parent)
        self.close()
        return aside

    def close(self) -> None:
        """Give the lock away."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _cut_back(self) -> None:
        try:
            os.ftruncate(self._fd, self.end)
        except OSError:
            self.is_sound = False


def remove_unnamed(folder: Path) -> None:
    """Remove what a process left that died while it made a file. It has no records yet."""
    for path in folder.glob(f".*{SUFFIX}"):
        segment = Segment.adopted(path)
        # One that is being made is locked a moment after it is there, and has no header before that.
        if segment is not None and segment.end >= FILE_HEADER_BYTES:
            segment.remove()
        elif segment is not None:
            segment.close()


def _write_all(fd: int, data: bytes, at: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, at)
        at += written
        view = view[written:]


def _flush_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
