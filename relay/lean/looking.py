"""Whether a socket has something to read, asked without waiting and without giving the interpreter to another thread.

Python's own ways (select, recv) release the interpreter around the system call, and getting it back from a busy thread costs many
times the call. ctypes.PyDLL keeps it; the call never blocks.
"""

import ctypes
import errno
import select
import socket
from collections.abc import Callable

_PEEK = socket.MSG_PEEK | getattr(socket, "MSG_DONTWAIT", 0)
_QUIET = frozenset((errno.EAGAIN, errno.EWOULDBLOCK))


def _by_poll(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return not poll.poll(0)


def _by_peeking() -> Callable[[int], bool]:
    receive = ctypes.PyDLL(None, use_errno=True).recv
    receive.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    receive.restype = ctypes.c_ssize_t
    byte = ctypes.create_string_buffer(1)
    get_errno = ctypes.get_errno

    def look(descriptor: int) -> bool:
        return receive(descriptor, byte, 1, _PEEK) < 0 and get_errno() in _QUIET

    return look


def _best() -> Callable[[int], bool]:
    try:
        return _by_peeking() if hasattr(socket, "MSG_DONTWAIT") else _by_poll
    except (OSError, AttributeError):  # a C library that cannot be looked into
        return _by_poll


is_quiet = _best()
"""True when an open stream socket, by its descriptor, has neither bytes nor an end nor an error waiting."""
