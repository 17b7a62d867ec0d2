"""gzip and deflate, let out at most one piece at a time: a small answer cannot grow past its reader's bound unseen."""

import zlib

from relay.errors import UpstreamCut

PIECE_BYTES = 64 * 1024
CODINGS = frozenset(("gzip", "x-gzip", "deflate"))

_GZIP_BITS = 16 + zlib.MAX_WBITS


class Decoder:
    """What is fed comes out decoded, in order. gzip may have several members; after the end of deflate nothing may follow."""

    __slots__ = ("_begun", "_gzip", "_input", "_stream")

    def __init__(self, coding: str) -> None:
        assert coding in CODINGS, "what cannot be decoded is refused before"
        self._gzip = coding != "deflate"
        self._stream = zlib.decompressobj(_GZIP_BITS)
        self._begun = False
        self._input = b""

    @property
    def is_whole(self) -> bool:
        """Whether what was fed ends where the coding ends. Nothing at all is whole too."""
        return not self._begun and not self._input

    def feed(self, data: bytes) -> None:
        self._input += data

    def take(self) -> bytes:
        """The next decoded bytes; b"" when more has to be fed first. Raises UpstreamCut."""
        while self._begun or self._begin():
            try:
                piece = self._stream.decompress(self._input, PIECE_BYTES)
            except zlib.error as error:
                raise UpstreamCut("the answer is not in the coding that it states") from error
            if self._stream.eof:
                self._end()
            else:
                self._input = self._stream.unconsumed_tail
                if not piece:
                    return b""
            if piece:
                return piece
        return b""

    def _begin(self) -> bool:
        """Whether there is enough to begin with. Some servers say deflate and send it without its zlib frame."""
        if len(self._input) < 2:
            return False
        framed = self._input[0] & 0x0F == 8 and int.from_bytes(self._input[:2]) % 31 == 0
        self._stream = zlib.decompressobj(_GZIP_BITS if self._gzip else zlib.MAX_WBITS if framed else -zlib.MAX_WBITS)
        self._begun = True
        return True

    def _end(self) -> None:
        self._begun = False
        self._input = self._stream.unused_data
        if self._input and not self._gzip:
            raise UpstreamCut("bytes follow the end of the answer's coding")
