"""The words between the proxy and its comparer, over one stream socket: a length, then a message.

to the comparer   (kind, *plain values), pickled by a process that trusts itself
                  seam     name, mark, options     rules in force; before the first sample that names the mark
                  sample   Sample.to_plain()
                  traffic  {seam: {endpoint: requests}}         of the last second, sampled or not
                  again    number, candidate, control           both asked once more; None: they could not be
                  lost     {seam: {class: samples}}             of the last second: counted, never compared
                  ask      question, what, seam, known endpoints            answered by `answer`
to the proxy      JSON; the comparer has read what services said, so nothing that it says is executed
                  {"settled": number, "seam", "verdict", "class"}           each sample once, in the end
                  {"again": number}                                         please ask both once more
                  {"answer": question, "body": …}
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from struct import Struct
from typing import Any, Final

import orjson

LENGTH: Final = Struct("!I")
MAX_FRAME_BYTES: Final = 64 * 1024 * 1024


def to_comparer(kind: str, *values: Any) -> bytes:
    text = pickle.dumps((kind, *values), protocol=5)
    return LENGTH.pack(len(text)) + text


def to_proxy(message: dict[str, Any]) -> bytes:
    text = orjson.dumps(message)
    return LENGTH.pack(len(text)) + text


class FrameReader:
    """Cuts a stream into frames. ValueError for a length beyond MAX_FRAME_BYTES: the stream cannot be trusted then."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The frames that are complete now."""
        buffer = self._buffer
        buffer += data
        start = 0
        while len(buffer) - start >= LENGTH.size:
            (length,) = LENGTH.unpack_from(buffer, start)
            if length > MAX_FRAME_BYTES:
                raise ValueError(f"a frame of {length} bytes; at most {MAX_FRAME_BYTES} are taken")
            end = start + LENGTH.size + length
            if len(buffer) < end:
                break
            yield bytes(buffer[start + LENGTH.size : end])
            start = end
        del buffer[:start]
