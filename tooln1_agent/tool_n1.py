"""The reward of the published Tool-N1 code, in the variant of its paper, for reproduction studies.

Reference: `compute_score_v0` in NVlabs/Tool-N1 (arXiv 2505.00024, section 3.2). It finds its way
by searching and not by position, and so pays for things that no runtime should execute: calls
inside a thought, a thought after the call, the last of several blocks. `docs/reply-format.md` lists
where it differs from ours. Where the reference crashes, this returns "wrong".
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from tool_registry.calls import ToolCall
from tooln1_agent.parsing import CALL_CLOSE, CALL_OPEN, THINK_CLOSE, THINK_OPEN

_HEADER = "<|im_start|>assistant"


def published_calls(text: str) -> list[Any] | str:
    """Return what the reference takes for the list of calls, or in words why there is none.

    The items are objects with a name and arguments, of any type.
    """
    text = text[max(0, text.rfind(_HEADER)) :]
    body = _last_block(text)
    if body is None:
        return "no tool_call block"
    try:
        found = json.loads(body.strip())
        if isinstance(found, str):
            found = json.loads(found)
    except (ValueError, RecursionError):
        return "no JSON in the last tool_call block"
    if found is None:
        return "null in the last tool_call block"
    if THINK_OPEN not in text or THINK_CLOSE not in text:
        return "a think tag is missing"
    items = [found] if isinstance(found, dict) else found
    if not isinstance(items, list | str):
        return "neither a list nor an object of calls"
    if not all(isinstance(item, dict) and {"name", "arguments"} <= item.keys() for item in items):
        return "an item is no call"
    return list(items)


def published_match(made: Sequence[Any], wanted: Sequence[ToolCall]) -> bool:
    """Whether the reference takes both for the same calls: multisets of name and JSON text."""
    try:
        found = Counter((item["name"], _text(item["arguments"])) for item in made)
    except TypeError:  # a name that is a list or an object
        return False
    return found == Counter((call.name, _text(call.arguments)) for call in wanted)


def _text(arguments: Any) -> str:
    return json.dumps(arguments, sort_keys=True)


def _last_block(text: str) -> str | None:
    """Return what stands in the last of the blocks, which do not overlap; linear work."""
    found, position = None, 0
    while (start := text.find(CALL_OPEN, position)) >= 0:
        start += len(CALL_OPEN)
        end = text.find(CALL_CLOSE, start)
        if end < 0:
            break
        found, position = text[start:end], end + len(CALL_CLOSE)
    return found
