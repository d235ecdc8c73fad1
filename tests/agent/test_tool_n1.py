"""The published Tool-N1 reward, quirk by quirk, beside ours."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tool_registry import ToolCall, ToolSpec
from tooln1_agent.examples import AnyCall, Exact, NoCall
from tooln1_agent.reward import score

CALL = '{"name": "a", "arguments": {"x": 1}}'
TOOLS = (
    ToolSpec(
        name="a",
        parameters={
            "type": "object",
            "properties": {"x": {"type": "number"}, "y": {"type": "string", "default": "no"}},
        },
    ),
)
TARGET = Exact(alternatives=((ToolCall(name="a", arguments={"x": 1}),),))


def both(text: str, target: Exact | NoCall = TARGET) -> tuple[float, float]:
    """The reward as published, and ours."""
    published = score(text, tools=TOOLS, target=target, format="tool_n1")
    return published.value, score(text, tools=TOOLS, target=target).value


@pytest.mark.parametrize(
    ("text", "published", "ours"),
    [
        (f"<think>t</think><tool_call>[{CALL}]</tool_call>", 1, 1),
        (f"<tool_call>[{CALL}]</tool_call>", 0, 0),
        # what it accepts and we do not
        (f"<tool_call>[{CALL}]</tool_call><think>t</think>", 1, 0),
        (f"<think></think><tool_call>[{CALL}]</tool_call>", 1, 0),
        (f"</think><tool_call>[{CALL}]</tool_call><think>", 1, 0),
        (f"<think><tool_call>[{CALL}]</tool_call></think>none", 1, 0),
        (f"<think>t</think><tool_call>[]</tool_call><tool_call>[{CALL}]</tool_call>", 1, 0),
        (f"<think>t</think>so<tool_call>[{CALL}]</tool_call>and more", 1, 0),
        (f"<think>t</think><tool_call>{CALL}</tool_call>", 1, 0),
        (f"<think>t</think><tool_call>{json.dumps(f'[{CALL}]')}</tool_call>", 1, 0),
        (f"<think>t</think><tool_call>[{CALL[:-1]}, \"id\": 2}}]</tool_call>", 1, 0),
        ('<think>t</think><tool_call>[{"name": "b", "name": "a", "arguments": {"x": 1}}]'
         "</tool_call>", 1, 0),
        # what we accept and it does not
        ('<think>t</think><tool_call>[{"name": "a", "arguments": {"x": 1.0}}]</tool_call>', 0, 1),
        ('<think>t</think><tool_call>[{"name": "a", "arguments": {"x": 1, "y": "no"}}]'
         "</tool_call>", 0, 1),
        # where it crashes
        ("<think>t</think><tool_call>1</tool_call>", 0, 0),
        (f"<think>t</think><tool_call>{'[' * 100_000}</tool_call>", 0, 0),
        (f"<think>t</think><tool_call>{'9' * 5000}</tool_call>", 0, 0),
    ],
)  # fmt: skip
def test_where_the_two_agree_and_where_not(text: str, published: float, ours: float) -> None:
    assert both(text) == (published, ours)


def test_a_closing_tag_inside_a_string_ends_the_published_block() -> None:
    call = ToolCall(name="a", arguments={"y": "</tool_call>"})
    listed = json.dumps([{"name": call.name, "arguments": call.arguments}])
    text = f"<think>t</think><tool_call>{listed}</tool_call>"
    assert both(text, Exact(alternatives=((call,),))) == (0, 1)


def test_a_refusal_in_prose_is_right_only_for_us() -> None:
    assert both("<think>t</think>No tool fits.", NoCall()) == (0, 1)
    assert both("<think>t</think><tool_call>[]</tool_call>", NoCall()) == (1, 1)


def test_only_what_follows_the_last_assistant_header_counts() -> None:
    right = f"<think>t</think><tool_call>[{CALL}]</tool_call>"
    assert both(f"{right}<|im_start|>assistant") == (0, 0)
    assert both(f"prompt<|im_start|>assistant\n{right}") == (1, 0)


def test_targets_that_the_reference_does_not_know_are_judged_by_ours() -> None:
    text = f"<tool_call>[{CALL}]</tool_call><think>t</think>"
    assert score(text, tools=TOOLS, target=AnyCall(), format="tool_n1").value == 1.0
    odd = text.replace('"a"', "[]")
    assert score(odd, tools=TOOLS, target=AnyCall(), format="tool_n1").value == 0.0


PIECES = st.sampled_from(
    ["<think>", "</think>", "<tool_call>", "</tool_call>", CALL, f"[{CALL}]", "[", "]", "null",
     '"', "x", "<|im_start|>assistant"]
)  # fmt: skip


@given(st.lists(PIECES | st.text(max_size=5), max_size=12).map("".join))
def test_no_text_raises(text: str) -> None:
    assert set(both(text)) <= {0.0, 1.0}


def test_many_opened_blocks_cost_linear_work() -> None:
    assert both("<tool_call>" * 200_000) == (0, 0)
