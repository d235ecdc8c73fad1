"""Calls written like Python: `[Get Weather(city="Rome", days=2), news(topic='x')]`.

A scanner of its own, not Python's: names may hold spaces, dots and slashes, JSON's words for True,
False and None are read as well, and nothing is ever evaluated. Linear in the length of the text.
"""

from __future__ import annotations

import math
import re
from typing import Any, NoReturn

_SPACE = re.compile(r"\s*")
_FUNCTION = re.compile(r"[^()\[\]{}='\",][^()\[\]{}='\"]*")
_PARAMETER = re.compile(r"[^()\[\]{}='\",]+")
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?")
_WORD = re.compile(r"[A-Za-z]+")
_STRINGS = {
    "'": re.compile(r"'([^'\\]*(?:\\.[^'\\]*)*)'", re.S),
    '"': re.compile(r'"([^"\\]*(?:\\.[^"\\]*)*)"', re.S),
}
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.S)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "\n": ""} | {
    char: char for char in "\\'\""
}
_WORDS = {"True": True, "true": True, "False": False, "false": False, "None": None, "null": None}
_MAX_DEPTH = 50


def read_calls(text: str) -> list[tuple[str, dict[str, Any]]]:
    """Read a list of calls: each name with its arguments.

    Raises:
        ValueError: the text is no such list; says where.
    """
    return _Scanner(text).calls()


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def calls(self) -> list[tuple[str, dict[str, Any]]]:
        self._need("[")
        found = [self._call()]
        while self._take(","):
            found.append(self._call())
        self._need("]")
        if self._at < len(self._text):
            self._fail("the end")
        return found

    def _call(self) -> tuple[str, dict[str, Any]]:
        name = self._match(_FUNCTION, "a function's name")[0].strip()
        self._need("(")
        arguments: dict[str, Any] = {}
        while not self._take(")"):
            if arguments:
                self._need(",")
                if self._take(")"):
                    break
            parameter = self._match(_PARAMETER, "a parameter's name")[0].strip()
            self._need("=")
            if parameter in arguments:
                self._fail(f"{parameter!r} only once")
            arguments[parameter] = self._value(0)
        return name, arguments

    def _value(self, depth: int) -> Any:
        if depth > _MAX_DEPTH:
            self._fail(f"at most {_MAX_DEPTH} values within each other")
        self._space()
        first = self._text[self._at : self._at + 1]
        if first in _STRINGS:
            return _unescape(self._match(_STRINGS[first], "the end of a string")[1])
        if self._take("["):
            return self._items("]", depth)
        if self._take("("):
            return self._items(")", depth)
        if self._take("{"):
            return self._pairs(depth)
        if first.isalpha():
            word = self._match(_WORD, "a value")[0]
            return _WORDS[word] if word in _WORDS else self._fail("a value")
        return self._number()

    def _items(self, end: str, depth: int) -> list[Any]:
        items: list[Any] = []
        while not self._take(end):
            if items:
                self._need(",")
                if self._take(end):
                    break
            items.append(self._value(depth + 1))
        return items

    def _pairs(self, depth: int) -> dict[str, Any]:
        pairs: dict[str, Any] = {}
        while not self._take("}"):
            if pairs:
                self._need(",")
                if self._take("}"):
                    break
            name = self._value(depth + 1)
            if not isinstance(name, str) or name in pairs:
                self._fail("each key to be a string of its own")
            self._need(":")
            pairs[name] = self._value(depth + 1)
        return pairs

    def _number(self) -> int | float:
        text = self._match(_NUMBER, "a value")[0]
        number = float(text) if set(text) & set(".eE") else int(text)
        if not math.isfinite(number):
            self._fail("a finite number")
        return number

    def _match(self, pattern: re.Pattern[str], what: str) -> re.Match[str]:
        self._space()
        found = pattern.match(self._text, self._at)
        if found is None:
            self._fail(what)
        self._at = found.end()
        return found

    def _take(self, char: str) -> bool:
        self._space()
        if not self._text.startswith(char, self._at):
            return False
        self._at += 1
        self._space()
        return True

    def _need(self, char: str) -> None:
        if not self._take(char):
            self._fail(repr(char))

    def _space(self) -> None:
        found = _SPACE.match(self._text, self._at)
        assert found is not None  # it matches nothing too
        self._at = found.end()

    def _fail(self, expected: str) -> NoReturn:
        near = self._text[self._at : self._at + 30]
        raise ValueError(f"expected {expected} at character {self._at}, before {near!r}")


def _unescape(text: str) -> str:
    """Undo Python's escapes; one that Python does not know stays as it is."""
    return _ESCAPE.sub(_character, text) if "\\" in text else text


def _character(found: re.Match[str]) -> str:
    code = found[1] or found[2] or found[3]
    if code:
        return chr(int(code, 16))
    return _ESCAPES.get(found[4], found[0])
