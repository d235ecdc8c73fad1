"""Whether a call enters what a request says, judged without knowing the right call.

People write days, times and numbers in many ways, and put free text in quotation marks. What they
say that can be told from its form alone is a fact; a call must enter all of the facts, and nothing
that was not said.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tool_registry import ToolCall
from tooln1_agent.rules import Outcome, Rule

Fact = dt.date | dt.time | float | str
"""A day, a time, a number or a quoted text."""


@dataclass(frozen=True, slots=True)
class Ways:
    """How one house writes values into calls, and how its people ask."""

    read: Mapping[str, Callable[[Any], Any]]
    """By parameter: what reads the value, where it isn't entered as it was said."""
    texts: frozenset[str] = frozenset()
    """Parameters of free text."""
    switches: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """By tool and parameter: the word that people say, after "not", "no" or "without" for off."""
    asked_by: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By tool: the words one of which a request has, where those of the tool's name won't do."""


def rule_for(ways: Ways) -> Rule:
    """Return the rule `entered_as_asked` of a house.

    It sees calls that were refused, values that nobody said, days, times, numbers, quoted texts
    and switches that are not entered as they were said, and tools that the request does not name.

    It cannot see which of the request's words are the name or the town, or that one of several
    listed things was forgotten. Of a reply that calls nothing it is never asked, so it does not
    know whether silence was right: a request that lacks a value, or that no tool serves, can only
    be judged wrong, when a call makes something up. Of a conversation in which the user spoke more
    than once it says nothing: values may stand in any of the messages.
    """

    def entered_as_asked(outcome: Outcome) -> bool | str | None:
        said = [m["content"] for m in outcome.given.get("messages", ()) if m["role"] == "user"]
        if len(said) != 1:
            return None
        if len(outcome.results) > 1:
            return f"{len(outcome.results)} calls, but people ask for one thing at a time"
        (result,) = outcome.results
        if not result.ok:
            return f"{result.call.name} refused it: {result.content}"
        return _objection(result.call, Said.read(said[0]), ways) or True

    return entered_as_asked


@dataclass(frozen=True, slots=True)
class Said:
    """What one request says."""

    facts: frozenset[Fact]
    rest: str
    """The words that are no facts."""

    @classmethod
    def read(cls, request: str) -> Said:
        """Read a request."""
        facts: set[Fact] = set()
        for pattern, read in _FORMS:
            request = _take(request, pattern, read, facts)
        return cls(frozenset(facts), request)

    def has(self, words: str) -> bool:
        """Whether the words stand there, in this order and whole, be they capitals or not."""
        return re.search(rf"(?<!\w){re.escape(words)}(?!\w)", self.rest, re.I) is not None

    def is_on(self, word: str) -> bool:
        """Whether a switch is wanted on: its word is said, and not as what is not wanted."""
        return self.has(word) and not any(self.has(f"{no} {word}") for no in _NO)


def _objection(call: ToolCall, said: Said, ways: Ways) -> str | None:
    """Return what is wrong with a call that ran, or None."""
    if not any(map(said.has, ways.asked_by.get(call.name, call.name.split("_")))):
        return f"nobody asked for {call.name}"
    entered = {
        name: ways.read[name](value) if name in ways.read else value
        for name, value in call.arguments.items()
        if value != ""
    }
    for (tool, name), word in ways.switches.items():
        if tool == call.name and entered.pop(name, False) != said.is_on(word):
            return f"{name} is not as it was said"
    facts: set[Fact] = set()
    for name, value in entered.items():
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, str) and name not in ways.texts:
                if not said.has(item):
                    return f"nobody said {item!r} ({name})"
            elif item not in said.facts:
                return f"nobody said {item!s} ({name})"
            else:
                facts.add(item)
    left_out = ", ".join(sorted(map(str, said.facts - facts)))
    return f"left out: {left_out}" if left_out else None


def _take(
    text: str,
    pattern: re.Pattern[str],
    read: Callable[[re.Match[str]], Fact | None],
    facts: set[Fact],
) -> str:
    """Move the facts of one form from a text into `facts`; return what is left of the text."""

    def take(match: re.Match[str]) -> str:
        fact = read(match)
        if fact is None:
            return match[0]
        facts.add(fact)
        return " , "  # so that no words meet that stood apart

    return pattern.sub(take, text)


def _day(match: re.Match[str]) -> dt.date | None:
    for form in ("%B %d, %Y", "%d %B %Y", "%d. %B %Y", "%d %b %Y", "%Y-%m-%d", "%d.%m.%Y"):
        try:
            return dt.datetime.strptime(match[0], form).date()
        except ValueError:
            continue
    return None


def _time(match: re.Match[str]) -> dt.time | None:
    hour, minute, half = int(match[1]), int(match[2] or 0), (match[3] or "").lower()
    if not (half or match[2]) or hour > (12 if half else 23) or minute > 59:
        return None
    if half:
        hour = hour % 12 + (12 if half == "pm" else 0)
    return dt.time(hour, minute)


_NO = ("not", "no", "without")
_FORMS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], Fact | None]], ...] = (
    (re.compile(r'"([^"]+)"'), lambda match: match[1]),
    (re.compile(r"(?<!\w)'([^']+)'(?!\w)"), lambda match: match[1]),
    (re.compile(r"\b[A-Za-z]+ \d{1,2}, \d{4}\b"), _day),
    (re.compile(r"\b\d{1,2}\.? [A-Za-z]+ \d{4}\b"), _day),
    (re.compile(r"\b(?:\d{4}-\d\d-\d\d|\d\d\.\d\d\.\d{4})\b"), _day),
    (re.compile(r"\b(\d{1,2})(?::(\d\d))?(?: ?([ap]m))?\b", re.I), _time),
    (re.compile(r"\d+(?:\.\d+)?"), lambda match: float(match[0])),
)
"""How each kind of fact is recognized, in the order in which they are taken out."""
