"""Token ids that arrive one by one, as text that only ever grows by whole characters."""

from __future__ import annotations

from tooln1_agent.codec import Codec

_UNFINISHED = "\ufffd"
_MAX_PENDING = 64
"""Tokens without a whole character after which nothing more is streamed: it is not text."""


class TextStream:
    """Decodes a completion as it grows, and ends it at the first stop string.

    What was released never changes: the pieces, joined, are the beginning of `end()`'s text.
    """

    def __init__(self, codec: Codec, *, stop: tuple[str, ...] = ()) -> None:
        self._codec = codec
        self._stop = stop
        self._held_chars = max((len(text) - 1 for text in stop), default=0)
        self._ids: list[int] = []
        self._from = 0  # the decoding window begins here, one piece before what is new
        self._known = 0  # ids whose text was released or is held
        self._held = ""  # decoded and not released: it may be the beginning of a stop string
        self._released = 0  # characters
        self.stopped = False
        """Whether a stop string has ended the text."""

    def push(self, token: int) -> str:
        """Take a token; return the text that became certain."""
        self._ids.append(token)
        if token in self._codec.byte_ids or len(self._ids) - self._known > _MAX_PENDING:
            return ""  # a byte that makes no character takes those before it with it
        before = self._codec.decode(self._ids[self._from : self._known])
        now = self._codec.decode(self._ids[self._from :])
        if now.endswith(_UNFINISHED) or len(now) <= len(before):
            return ""
        self._from, self._known = self._known, len(self._ids)
        text = self._cut(self._held + now[len(before) :], start=0)
        certain = max(len(text) - (0 if self.stopped else self._held_chars), 0)
        self._released += certain
        self._held = text[certain:]
        return text[:certain]

    def end(self) -> tuple[str, str]:
        """Return the text that is left to be released, and the whole text."""
        text = self._cut(self._codec.decode(self._ids), start=self._released)
        return text[self._released :], text

    def _cut(self, text: str, *, start: int) -> str:
        """End the text before the first stop string from `start` on."""
        found = [place for stop in self._stop if (place := text.find(stop, start)) >= 0]
        self.stopped = bool(found)
        return text[: min(found)] if found else text
