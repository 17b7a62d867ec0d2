"""The bytes that were read and not parsed yet: cut into heads, looked at once, copied as little as can be."""

from api.http1.head import HEAD_END, check_unfinished
from api.http1.limits import Limits


class Unparsed:
    """A queue of bytes; its length is how many there are."""

    __slots__ = ("_at", "_checked", "_data")

    def __init__(self) -> None:
        self._data = b""
        self._at = 0
        """Where the next request begins in the data."""
        self._checked = 0
        """How much of an unfinished head was looked at in vain; only while it begins the data."""

    def __len__(self) -> int:
        return len(self._data) - self._at

    def put(self, data: bytes) -> None:
        """Append what was read."""
        if self._data:
            data = self._data[self._at :] + data
        self._data, self._at = data, 0

    def take_head(self) -> bytes | None:
        """The next head with its blank line; None while it is unfinished."""
        data, at = self._data, self._at
        end = data.find(HEAD_END, max(at, self._checked - 3))
        if end < 0:
            return None
        end += len(HEAD_END)
        self._checked = 0
        self._data, self._at = (data, end) if end < len(data) else (b"", 0)
        return data[at:end]

    def take_all(self) -> bytes:
        data = self._data[self._at :] if self._at else self._data
        self._data, self._at, self._checked = b"", 0, 0
        return data

    def check(self, limits: Limits) -> None:
        """Check the beginning of an unfinished head. Raises Refused."""
        if self._at:
            self._data, self._at = self._data[self._at :], 0
        check_unfinished(self._data, limits, checked=self._checked)
        self._checked = len(self._data)
