"""What can be wrong with a reply, by name."""

from __future__ import annotations

from typing import Literal

Fault = Literal[
    "missing_think",  # the reply does not begin with a think block
    "empty_think",  # the think block holds only white space
    "unclosed_think",  # the think block never ends
    "empty_reply",  # nothing follows the thought
    "tag_in_answer",  # a plain answer that holds one of the four tags
    "unclosed_call",  # the text ends before </tool_call>
    "bad_json",  # what stands between the call tags is not one JSON value
    "duplicate_key",  # an object names a key twice
    "non_finite",  # NaN, Infinity or a number that overflows
    "huge_integer",  # an integer of more than 400 digits
    "lone_surrogate",  # a string that is not valid Unicode
    "too_deep",  # more than 64 brackets open at once
    "not_a_list",  # a JSON value other than a list of calls
    "bad_call",  # a list item that is not exactly {"name": str, "arguments": object}
    "trailing_text",  # something follows </tool_call>
    "too_long",  # the text is longer than the parser's limit; the rest was dropped
]
