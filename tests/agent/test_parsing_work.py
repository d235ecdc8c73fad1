"""The parser's work, counted: characters that any search, copy or decoding goes over, not seconds.

The text is a `str` that counts what is done with it, and so are all pieces cut from it. The
patterns, JSON decoders and text buffers of the parser's modules are replaced by ones that count.
Every operation costs 1 besides, so loops are counted too.
"""

from __future__ import annotations

import io
import json
import re
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from tooln1_agent import call_list, call_stream, json_scan, parsing, trimmed
from tooln1_agent.parsing import StreamParser, parse

MODULES = (call_list, call_stream, json_scan, parsing, trimmed)
COUNTED_METHODS = (
    "find",
    "strip",
    "lstrip",
    "rstrip",
    "startswith",
    "endswith",
    "partition",
    "count",
)
THOUGHT = "<think>a</think>"
LIST = f"{THOUGHT}<tool_call>["
CALL = '{"name": "f", "arguments": {"x": 1}},'

HOSTILE: dict[str, Callable[[int], str]] = {
    "angle brackets": lambda n: "<" * n,
    "angle brackets in the answer": lambda n: THOUGHT + "<" * n,
    "beginnings of the closing tag": lambda n: "<think>" + "</think" * (n // 7),
    "nested tags": lambda n: "<think><tool_call>" * (n // 18),
    "tags in the answer": lambda n: THOUGHT + "</tool_call>" * (n // 12),
    "white space before the thought": lambda n: " " * n,
    "white space after the thought": lambda n: THOUGHT + "\n" * n,
    "white space in the thought": lambda n: f"<think>a{' ' * n}",
    "words far apart in the answer": lambda n: THOUGHT + f"a{' ' * (n // 10)}" * 10,
    "words in the answer": lambda n: THOUGHT + "a b " * (n // 4),
    "white space in the list": lambda n: LIST + CALL + " " * n,
    "white space after the list": lambda n: f"{LIST}]{' ' * n}",
    "white space after the closing tag": lambda n: f"{LIST}]</tool_call>{' ' * n}",
    "text after the closing tag": lambda n: f"{LIST}]</tool_call>{'x' * n}",
    "an unclosed string": lambda n: f'{LIST}{{"name": "{"a" * n}',
    "an unclosed key": lambda n: f'{LIST}{{"{"a" * n}',
    "backslashes": lambda n: f'{LIST}"{chr(92) * n}',
    "quotation marks": lambda n: LIST + '"' * n,
    "strings in the arguments": lambda n: LIST + CALL[:28] + '"a",' * (n // 4),
    "long arguments before the name": lambda n: (
        f'{LIST}{{"arguments":{{"a":"{"é" * n}"}},"name":"f"}}]'
    ),
    "deep brackets": lambda n: LIST + "[" * n,
    "shallow brackets": lambda n: LIST + "[]" * (n // 2),
    "brackets in the arguments": lambda n: LIST + CALL[:28] + '{"a":[' + "[]," * (n // 3),
    "tiny calls": lambda n: LIST + CALL * (n // len(CALL)),
    "tiny calls and their end": lambda n: f"{LIST}{(CALL * (n // len(CALL)))[:-1]}]</tool_call>",
    "runs of digits": lambda n: LIST + f"{'1' * 400}a" * (n // 401),
    "no list": lambda n: f"{THOUGHT}<tool_call>{'a' * n}",
}


class Meter:
    """Counts work, in characters gone over and operations begun."""

    def __init__(self) -> None:
        self.work = 0

    def text(self, value: str) -> str:
        """Return the same text, counted; what is cut from it or put together with it is too."""
        return _counted(self)(value)


def _counted(meter: Meter) -> type[str]:
    class Counted(str):
        __slots__ = ()

        def __getitem__(self, key: Any) -> str:
            return made(str.__getitem__(self, key))

        def __add__(self, other: str) -> str:
            return made(str.__add__(self, other))

        def __radd__(self, other: str) -> str:
            return made(str.__add__(other, self))

    def made(text: str) -> str:
        meter.work += 1 + len(text)
        return Counted(text)

    def taken(found: Any) -> Any:
        if isinstance(found, tuple):
            return tuple(map(taken, found))
        return Counted(found) if isinstance(found, str) else found

    def method(name: str) -> Callable[..., Any]:
        plain = getattr(str, name)

        def counted(self: str, *args: Any) -> Any:
            meter.work += 1 + min(len(self), len(args[0]) if name.endswith("with") else len(self))
            return taken(plain(self, *args))

        return counted

    for name in COUNTED_METHODS:
        setattr(Counted, name, method(name))
    return Counted


class CountedPattern:
    """A regular expression that counts the characters from where it begins to where it ends."""

    def __init__(self, pattern: re.Pattern[str], meter: Meter) -> None:
        self._pattern, self._meter = pattern, meter

    def __getattr__(self, name: str) -> Callable[..., re.Match[str] | None]:
        def counted(text: str, pos: int = 0) -> re.Match[str] | None:
            found: re.Match[str] | None = getattr(self._pattern, name)(text, pos)
            self._meter.work += 1 + (len(text) if found is None else found.end()) - pos
            return found

        return counted


class CountedDecoder:
    """A JSON decoder that counts what it is given."""

    def __init__(self, decoder: json.JSONDecoder, meter: Meter) -> None:
        self._decoder, self._meter = decoder, meter

    def decode(self, text: str) -> Any:
        self._meter.work += 1 + len(text)
        return self._decoder.decode(text)

    def raw_decode(self, text: str, start: int) -> Any:
        self._meter.work += 1 + len(text) - start
        return self._decoder.raw_decode(text, start)


def counted_buffer(meter: Meter) -> type[io.StringIO]:
    class CountedBuffer(io.StringIO):
        """A text buffer that counts what goes in and out."""

        def write(self, text: str, /) -> int:
            meter.work += 1 + len(text)
            return super().write(text)

        def read(self, size: int | None = -1, /) -> str:
            found = super().read(size)
            meter.work += 1 + len(found)
            return found

        def getvalue(self) -> str:
            found = super().getvalue()
            meter.work += 1 + len(found)
            return found

    return CountedBuffer


@pytest.fixture
def meter(monkeypatch: pytest.MonkeyPatch) -> Meter:
    """Count what the parser's modules do from now on."""
    made = Meter()
    for module in MODULES:
        for name, value in list(vars(module).items()):
            if isinstance(value, re.Pattern):
                monkeypatch.setattr(module, name, CountedPattern(value, made))
            elif isinstance(value, json.JSONDecoder):
                monkeypatch.setattr(module, name, CountedDecoder(value, made))
            elif value is io.StringIO:
                monkeypatch.setattr(module, name, counted_buffer(made))
    return made


def work(meter: Meter, text: str, *, step: int) -> float:
    """Return what reading a text in pieces of `step` characters takes for each character."""
    before = meter.work
    parser = StreamParser(max_chars=len(text))
    for start in range(0, len(text), step):
        meter.work += 1
        parser.feed(meter.text(text[start : start + step]))
    parser.close()
    return (meter.work - before) / len(text)


MOST = 15
"""Work for a character in large pieces."""
MOST_BY_LETTER = 40
"""Work for a character that comes alone: most of it is looking for the beginning of a tag."""


@pytest.mark.parametrize("kind", HOSTILE)
def test_work_for_a_character_does_not_grow_with_the_text(kind: str, meter: Meter) -> None:
    for size in (500, 5_000):
        assert work(meter, HOSTILE[kind](size), step=1) < MOST_BY_LETTER
    for size in (5_000, 50_000):
        text = HOSTILE[kind](size)
        assert work(meter, text, step=1_000) < MOST
        assert work(meter, text, step=len(text)) < MOST
        before = meter.work
        parse(meter.text(text))
        assert meter.work - before < 2 * MOST * len(text)


@pytest.mark.slow
@pytest.mark.parametrize("kind", HOSTILE)
def test_nor_with_a_text_of_a_million_characters(kind: str, meter: Meter) -> None:
    text = HOSTILE[kind](1_000_000)
    assert work(meter, text, step=1_000) < MOST
    assert work(meter, text, step=len(text)) < MOST


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["beginnings of the closing tag", "white space in the list"])
def test_nor_with_many_that_come_one_by_one(kind: str, meter: Meter) -> None:
    assert work(meter, HOSTILE[kind](100_000), step=1) < MOST_BY_LETTER


@pytest.mark.parametrize("again", ["search", "copy"])
def test_the_count_would_show_work_that_is_done_again(meter: Meter, again: str) -> None:
    def reader(text: str) -> float:
        before, buffer = meter.work, meter.text("")
        for letter in text:
            buffer += letter
            if again == "search":
                buffer.find("</think>")
        return (meter.work - before) / len(text)

    assert reader("x" * 1_000) > 10 * MOST_BY_LETTER


@pytest.mark.parametrize("step", [1, 1_000])
@pytest.mark.parametrize(
    ("start", "unit"),
    [
        ("", "a"),
        ("", " "),
        ("<think>", "日"),
        ("<think>a", "\u2003"),
        (THOUGHT + "a", "日"),
        (THOUGHT + "a", "\u2003"),
        (LIST + '"', "日"),
        (LIST, " "),
        (LIST, CALL),
        (f"{LIST}]</tool_call>", "日"),
    ],
)
def test_what_is_held_is_bounded_by_the_limit(start: str, unit: str, step: int) -> None:
    limit = 20_000
    parser = StreamParser(max_chars=limit)

    def held_after_feeding(chars: int) -> int:
        for place in range(0, chars, step):
            shift = place % len(unit)
            parser.feed((unit * (step // len(unit) + 2))[shift : shift + step])
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        parser.feed(start)
        held = held_after_feeding(limit)
        assert held_after_feeding(9 * limit) < held + 4_096
    finally:
        tracemalloc.stop()
    assert held < 100 * limit
    assert parser.close().faults[-1] == "too_long"
