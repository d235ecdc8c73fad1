"""Whether the values of a call could be known from a prompt.

A value is grounded if a user or a tool said it: a string word for word (without case and
punctuation), a number by value ("1,000" says 1000, "two" says 2). What the schema itself offers
needs no saying: booleans, null, the members of an enum, a const, a default. Nothing else counts,
so a date that was rewritten into another format is not grounded; rather no label than a wrong one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from tool_registry.calls import ToolCall, canonical_json
from tool_registry.tool import ToolSpec
from tooln1_agent.messages import Message

_WORD = re.compile(r"[^\W_]+")
_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:,\d{3})*(?:\.\d+)?(?!\w)")
_NUMBER_WORDS = "zero one two three four five six seven eight nine ten eleven twelve".split()  # noqa: SIM905


class Said:
    """What the users and tools of a conversation have said."""

    def __init__(self, messages: Sequence[Message]) -> None:
        text = "\n".join(m.content for m in messages if m.role in ("user", "tool"))
        words = _words(text)
        self._text = f" {' '.join(words)} "
        self._numbers = {float(found.replace(",", "")) for found in _NUMBER.findall(text)}
        spelled = set(words) & set(_NUMBER_WORDS)
        self._numbers |= {float(_NUMBER_WORDS.index(word)) for word in spelled}

    def __contains__(self, value: object) -> bool:
        """Whether a string or a number was said."""
        if isinstance(value, str):
            words = " ".join(_words(value))
            return bool(words) and f" {words} " in self._text
        return isinstance(value, int | float) and _as_float(value) in self._numbers


def ungrounded_value(call: ToolCall, said: Said, spec: ToolSpec | None) -> str | None:
    """Return the first value of a call that is not grounded, as `path: value`; else None."""
    schema = {} if spec is None else spec.parameters
    for path, value, part in _scalars(call.arguments, schema, call.name):
        if not _is_offered(value, part) and value not in said:
            return f"{path}: {value!r:.80}"
    return None


def _scalars(
    value: Any, schema: dict[str, Any], path: str
) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """Yield every scalar with its path and its part of the schema; free keys are scalars too."""
    if isinstance(value, dict):
        properties = schema.get("properties")
        known = properties if isinstance(properties, dict) else {}
        for key, item in value.items():
            if key not in known:
                yield f"{path}.{key}", key, {}
            yield from _scalars(item, _schema(known.get(key)), f"{path}.{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _scalars(item, _schema(schema.get("items")), f"{path}[{index}]")
    else:
        yield path, value, schema


def _is_offered(value: Any, schema: dict[str, Any]) -> bool:
    if value is None or isinstance(value, bool):
        return True
    offered = list(schema["enum"]) if isinstance(schema.get("enum"), list) else []
    offered += [schema[key] for key in ("const", "default") if key in schema]
    return canonical_json(value) in map(canonical_json, offered)


def _schema(part: Any) -> dict[str, Any]:
    return part if isinstance(part, dict) else {}


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _as_float(value: float) -> float | None:
    try:
        return float(value)
    except OverflowError:  # an integer beyond what anybody says
        return None
