"""What the runtime does with a reply: run its calls, take its answer, stop, or complain.

Stricter things are said elsewhere: the reward pays only for a reply without faults. Here a
reply that is unambiguous in spite of a fault is used, and the fault stays in the log.
"""

from __future__ import annotations

from typing import Literal

from tooln1_agent.faults import Fault
from tooln1_agent.parsing import Reply

Verdict = Literal["calls", "answer", "no_call", "unusable"]

_HARMLESS: frozenset[Fault] = frozenset({"missing_think", "empty_think", "trailing_text"})
"""Faults in spite of which an empty list still says that no function fits."""

_MEANING: dict[Fault, str] = {
    "missing_think": "it did not begin with <think>…</think>",
    "empty_think": "the thought was empty",
    "unclosed_think": "the thought was never closed with </think>",
    "empty_reply": "nothing followed the thought",
    "tag_in_answer": "a plain answer must not hold any of the tags",
    "unclosed_call": "the text ended before </tool_call>",
    "bad_json": "what stood between the call tags was not one JSON list",
    "duplicate_key": "a JSON object named a key twice",
    "non_finite": "NaN, Infinity and numbers that overflow are not JSON",
    "huge_integer": "an integer had too many digits",
    "lone_surrogate": "a string was not valid Unicode",
    "too_deep": "the JSON was nested too deeply",
    "not_a_list": "the calls must be a JSON list, even if there is only one",
    "bad_call": 'each item must be {"name": string, "arguments": object} and nothing else',
    "trailing_text": "something followed </tool_call>",
    "too_long": "it was too long",
}

_FORM = (
    "Reply again: first <think>your reasoning</think>, then either "
    '<tool_call>[{"name": "...", "arguments": {...}}]</tool_call> or a plain answer.'
)

MAX_LAST_WORDS = 400
"""Longest part of a thought that a refusal quotes, in characters."""


def verdict(reply: Reply) -> Verdict:
    """Say what a parsed reply is good for."""
    if reply.calls:
        return "calls"
    if reply.answer is not None:
        return "unusable" if "tag_in_answer" in reply.faults else "answer"
    return "no_call" if _HARMLESS.issuperset(reply.faults) else "unusable"


def complaint_about(reply: Reply) -> str:
    """Tell the model what was wrong with a reply that could not be used, and what to do."""
    wrong = "; ".join(f"{_MEANING[fault]} ({fault})" for fault in reply.faults)
    return f"Your last reply could not be used: {wrong}. {_FORM}"


def refusal(reply: Reply) -> str:
    """Return the plain refusal that stands for an empty list: the thought's last words, marked."""
    paragraphs = [part.strip() for part in reply.think.splitlines() if part.strip()]
    words = paragraphs[-1] if paragraphs else ""
    if len(words) > MAX_LAST_WORDS:
        words = f"…{words[-MAX_LAST_WORDS:]}"
    return f"No function fits this request. {words}".strip()
