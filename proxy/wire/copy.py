"""A capped copy of an answer, taken while it passes. Knows no rule and no seam: bytes, a length and a hash."""

from __future__ import annotations

from hashlib import sha256

from proxy.messages import Headers


class Room:
    """Bytes that copies may hold together while they are taken: a client may take its answer for hours."""

    __slots__ = ("free",)

    def __init__(self, free: int) -> None:
        self.free = free


class AnswerCopy:
    """Head and body of one answer. `status` is 0 until it begins; `headers` are the lines without framing.

    At most `cap` bytes of the body are kept; of a longer one (`truncated`) the hash goes on, so that `length` and
    `sha256` are those of all that was fed. An event stream has no end that one could compare: it is not kept at all.
    `endless`: more came than anybody would compare, and the rest was not waited for. `crowded`: there was no `room`
    for it, and nothing is kept. Who gave it a room calls `leave` at the end.
    """

    __slots__ = (
        "_chunks",
        "_hash",
        "_room",
        "_taken",
        "cap",
        "crowded",
        "endless",
        "event_stream",
        "headers",
        "length",
        "status",
        "truncated",
    )

    def __init__(self, cap: int, room: Room | None = None) -> None:
        self.cap = cap
        self._room = room
        self._taken = 0
        self.crowded = False
        self.status = 0
        self.headers: Headers = []
        self.length = 0
        self.truncated = False
        self.event_stream = False
        self.endless = False
        self._chunks: list[bytes] = []
        self._hash = sha256()  # fed only once the body is longer than the cap

    def start(self, status: int, headers: Headers) -> None:
        self.status = status
        self.headers = headers
        for name, value in headers:
            if name.lower() == b"content-type" and value[:17].lower() == b"text/event-stream":
                self.event_stream = True

    def feed(self, data: bytes) -> None:
        if self.event_stream or self.crowded:
            return
        before = self.length
        self.length += len(data)
        if self._room is not None and before < self.cap and not self._take(min(self.length, self.cap) - before):
            return
        if self.truncated:
            self._hash.update(data)
        elif self.length > self.cap:
            for chunk in self._chunks:
                self._hash.update(chunk)
            self._hash.update(data)
            self.truncated = True
            if self.cap > before:
                self._chunks.append(data[: self.cap - before])
        else:
            self._chunks.append(data)

    def _take(self, size: int) -> bool:
        room = self._room
        assert room is not None
        self._taken += size
        room.free -= size
        if room.free >= 0:
            return True
        self.crowded = True
        self._chunks = []
        self.leave()
        return False

    def leave(self) -> None:
        """It is not taken any more, and holds nothing, or is counted elsewhere."""
        if self._room is not None:
            self._room.free += self._taken
            self._room = None

    @property
    def body(self) -> bytes:
        """What is kept, at most `cap` bytes."""
        chunks = self._chunks
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    @property
    def sha256(self) -> bytes | None:
        """32 bytes, where `truncated` and the end was seen."""
        return self._hash.digest() if self.truncated and not self.endless else None
