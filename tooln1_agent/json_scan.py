"""Where a JSON value that arrives in pieces ends, and where its outer parts begin and end.

Nothing is decoded here. Each character is looked at once, by a search that goes on from where the
last one ended.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from io import SEEK_END, StringIO

MAX_DEPTH = 64

_OUTSIDE = re.compile(r'["\[\]{}<]')
_INSIDE = re.compile(r'["\\]')

Watch = Callable[[str, int, int, int], None]
"""Called with `"` for a string that has ended, and with each bracket: the mark, where that string
or bracket begins and ends, and how many brackets are open around it."""


class JsonScan:
    """Finds the end of one JSON value, and keeps its text.

    A value that is not a list, object or string ends before the next `<`.
    """

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._tape = StringIO()
        self._depth = 0
        self._in_string = False
        self._string_at = 0
        self._escaped = False
        self.length = 0
        """Characters of the value so far."""
        self.too_deep = False

    def text(self, start: int, end: int) -> str:
        """Return the characters from `start` to `end`."""
        self._tape.seek(start)
        found = self._tape.read(end - start)
        self._tape.seek(0, SEEK_END)
        return found

    def feed(self, chunk: str) -> str | None:
        """Take a piece; return what follows the value, or None while it has not ended."""
        before = self.length
        self._tape.write(chunk)
        self.length += len(chunk)
        end = self._end_in(chunk, before)
        if end is None:
            return None
        self.length = before + end
        self._tape.truncate(self.length)
        self._tape.seek(0, SEEK_END)
        return chunk[end:]

    def _end_in(self, chunk: str, before: int) -> int | None:
        """Look through a piece with `before` characters before it for the end of the value."""
        pos = 0
        if self._escaped and chunk:
            self._escaped, pos = False, 1
        while True:
            match = (_INSIDE if self._in_string else _OUTSIDE).search(chunk, pos)
            if match is None:
                return None
            pos = match.end()
            mark = match.group()
            if mark == "\\":
                self._escaped = pos == len(chunk)
                pos += 1
            elif mark == "<":
                if self._depth == 0:
                    return pos - 1
            elif self._ends(mark, before + pos):
                return pos
            elif self.too_deep:
                return None

    def _ends(self, mark: str, end: int) -> bool:
        """Take in the quotation mark or bracket that ends at `end`; True when the value does."""
        start = end - 1
        if mark == '"':
            self._in_string = not self._in_string
            if self._in_string:
                self._string_at = start
                return False
            start = self._string_at
        elif mark in "[{":
            self._watch(mark, start, end, self._depth)
            self._depth += 1
            self.too_deep = self._depth > MAX_DEPTH
            return False
        else:
            self._depth -= 1
        self._watch(mark, start, end, self._depth)
        return self._depth <= 0
