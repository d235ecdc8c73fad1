"""Text that grows by pieces and never shows the white space at its ends."""

from __future__ import annotations

from io import StringIO


class Trimmed:
    """Text that grows, trimmed at both ends: trailing white space waits for what follows."""

    def __init__(self) -> None:
        self._text, self._space = StringIO(), StringIO()
        self._has_begun = False

    def add(self, piece: str) -> str:
        """Append; return what is now certain to stand."""
        stripped = piece.rstrip()
        body = stripped if self._has_begun else stripped.lstrip()
        if not body:
            if self._has_begun:
                self._space.write(piece)
            return ""
        delta = self._space.getvalue() + body
        self._text.write(delta)
        self._space = StringIO()
        self._space.write(piece[len(stripped) :])
        self._has_begun = True
        return delta

    @property
    def text(self) -> str:
        return self._text.getvalue()
