"""Coverage-guided fuzzing of the parser and the rewards: see CONTRIBUTING.md for the command.

An input is a text and the places where it is cut. Whole, shortcut and pieces must give one reply,
the events of its calls must bear it out, nothing may raise, and a reward is 0.0 or 1.0. libFuzzer
itself reports hangs (`-timeout`).
"""

from __future__ import annotations

import json
import sys

import atheris

with atheris.instrument_imports(include=["tool_registry", "tooln1_agent"]):
    from tool_registry.calls import ToolCall
    from tool_registry.tool import ToolSpec
    from tooln1_agent.examples import AnyCall, Exact, NoCall, Possible, PossibleCall
    from tooln1_agent.parsing import Reply, StreamParser, parse
    from tooln1_agent.reply_events import (
        ArgumentDelta,
        CallFinished,
        CallStarted,
        CallsWithdrawn,
        Event,
    )
    from tooln1_agent.reward import score
    from tooln1_agent.verdict import complaint_about, verdict

TOOLS = (
    ToolSpec(
        name="f",
        parameters={
            "type": "object",
            "properties": {"x": {"type": "integer", "default": 1}, "y": {"type": "array"}},
        },
    ),
)
TARGETS = (
    Exact(alternatives=((ToolCall(name="f", arguments={"x": 1}),),)),
    Possible(calls=(PossibleCall(name="f", arguments={"x": [1, ""]}),)),
    NoCall(),
    AnyCall(),
)
_PIECES = (
    "<think>", "</think>", "<tool_call>", "</tool_call>", '[{"name": "f", "arguments": {"x": 1}}]',
    '{"name": "f", "arguments": ', '{"arguments": {"y": [1]}, "name": "g"}', ", ",
    "}", "]", "[", '"', "\\u", "\\", "NaN", "1e999", "\n", " ",
)  # fmt: skip


def build(data: atheris.FuzzedDataProvider) -> str:
    """Put a text together of our own pieces and of whatever the fuzzer thinks of."""
    parts: list[str] = []
    while data.remaining_bytes() and len(parts) < 40:
        choice = data.ConsumeIntInRange(0, len(_PIECES))
        if choice < len(_PIECES):
            parts.append(_PIECES[choice])
        else:
            parts.append(data.ConsumeUnicode(data.ConsumeIntInRange(0, 24)))
    return "".join(parts)


def bear_out(events: list[Event], reply: Reply) -> bool:
    """Tell whether the events of calls agree with each other and with the reply."""
    names: list[str] = []
    calls: list[ToolCall] = []
    written = ""
    withdrawn = False
    for event in events:
        match event:
            case CallStarted(position=position, name=name):
                ok = position == len(names) == len(calls)
                names.append(name)
                written = ""
            case ArgumentDelta(position=position, text=text):
                ok = position == len(calls) == len(names) - 1
                written += text
            case CallFinished(position=position, call=call):
                ok = position == len(calls) == len(names) - 1 and call.name == names[-1]
                ok = ok and json.loads(written) == call.arguments
                calls.append(call)
            case CallsWithdrawn():
                ok = not withdrawn
                withdrawn = True
            case _:
                continue
        if not ok or (withdrawn and not isinstance(event, CallsWithdrawn)):
            return False
    return not reply.calls if withdrawn else not reply.calls or tuple(calls) == reply.calls


def check(data: bytes) -> None:
    """Hold all ways of reading one text against each other."""
    provider = atheris.FuzzedDataProvider(data)
    step = provider.ConsumeIntInRange(1, 9)
    text = build(provider)
    pieces, whole = StreamParser(), StreamParser()
    events: list[Event] = []
    for start in range(0, len(text), step):
        events += pieces.feed(text[start : start + step])
    at_once = whole.feed(text)
    reply = parse(text)
    if not repr(pieces.close()) == repr(whole.close()) == repr(reply):
        raise AssertionError(f"the ways of reading disagree on {text!r} in pieces of {step}")
    if not (bear_out(events, reply) and bear_out(at_once, reply)):
        raise AssertionError(f"the events belie the reply to {text!r} in pieces of {step}")
    if verdict(reply) == "unusable":
        complaint_about(reply)
    for target in TARGETS:
        for form in ("strict", "tool_n1"):
            if score(text, tools=TOOLS, target=target, format=form).value not in (0.0, 1.0):
                raise AssertionError(f"no reward for {text!r}")


if __name__ == "__main__":
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()
