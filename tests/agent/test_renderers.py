"""Each family's prompts: what its chat template gives, and no control token from any text."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from tests.agent.families import CONTROLS, FAMILIES, tokenizer_json
from tool_registry import ToolCall, ToolSpec
from tooln1_agent.codec import Codec
from tooln1_agent.engines.text_stream import TextStream
from tooln1_agent.messages import Message, Role
from tooln1_agent.prompt import encodable, text_of
from tooln1_agent.renderers.families import RENDERERS

ROLES: tuple[Role, ...] = ("system", "user", "assistant", "tool")
EVERY_FAMILY = pytest.mark.parametrize("family", FAMILIES)


@cache
def codec_of(family: str) -> Codec:
    name = FAMILIES[family].renderer
    return Codec(tokenizer_json(family), renderer=name if name == "tooln1" else None)


@cache
def tokenizer_of(family: str) -> Tokenizer:
    return Tokenizer.from_str(tokenizer_json(family))


@cache
def in_transformers(family: str) -> Any:
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer_of(family))


@cache
def added_ids(family: str) -> frozenset[int]:
    spec = json.loads(tokenizer_json(family))
    return frozenset(token["id"] for token in spec["added_tokens"])


def conversation(
    roles: Sequence[Role], texts: Sequence[str]
) -> tuple[list[Message], list[ToolSpec]]:
    """Fill a conversation of these roles, and one tool, with texts in turn, over and over."""
    count = 0

    def text() -> str:
        nonlocal count
        count += 1
        return texts[count % len(texts)]

    messages = []
    for role in roles:
        calls = ()
        if role == "assistant":
            calls = (
                ToolCall(name=text(), arguments={text(): [text(), 1]}),
                ToolCall(name="g", arguments={}),
            )
        messages.append(Message(role=role, content=text(), tool_calls=calls))
    schema = {encodable(text()): {"description": encodable(text())}}
    parameters = {"type": "object", "properties": schema}
    return messages, [ToolSpec(name="f", description=text(), parameters=parameters)]


def chat(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Return messages as `apply_chat_template` takes them."""
    return [
        {
            "role": message.role,
            "content": message.content,
            "tool_calls": [
                {"type": "function", "function": {"name": c.name, "arguments": c.arguments}}
                for c in message.tool_calls
            ],
        }
        for message in messages
    ]


def pieces_of(text: str) -> list[str]:
    return [text[:end] for end in range(1, len(text))] + [text[at:] for at in range(1, len(text))]


ROLE_LISTS = st.lists(st.sampled_from(ROLES), max_size=6)
BENIGN = st.text("aeinrst EX09.,:-\n\t'\"{}éß東🙂ﬁ", max_size=12)
PIECES = sorted({piece for control in CONTROLS for piece in pieces_of(control)})
HOSTILE = st.lists(
    st.sampled_from(CONTROLS)
    | st.sampled_from(PIECES)
    | st.sampled_from(["<unk>", "<0x0A>", "\ud800", "\0unknown", "▁", " ", "\n", "\u0338"])
    | st.text(max_size=4),
    max_size=5,
).map("".join)


@EVERY_FAMILY
@settings(deadline=None)
@given(
    roles=ROLE_LISTS.filter(bool),
    texts=st.lists(BENIGN, min_size=1, max_size=5),
    with_tools=st.booleans(),
)
def test_on_benign_text_the_ids_are_those_of_the_familys_chat_template(
    family: str, roles: list[Role], texts: list[str], with_tools: bool
) -> None:
    messages, tools = conversation(roles, texts)
    tools = tools if with_tools else []
    expected = in_transformers(family).apply_chat_template(
        chat(messages),
        tools=[{"type": "function", "function": shown(spec)} for spec in tools] or None,
        chat_template=FAMILIES[family].template,
        tokenize=True,
        add_generation_prompt=True,
        return_dict=False,
    )
    assert codec_of(family).prompt_ids(messages, tools) == expected


def shown(spec: ToolSpec) -> dict[str, Any]:
    return {"name": spec.name, "description": spec.description, "parameters": spec.parameters}


@EVERY_FAMILY
@settings(deadline=None)
@given(roles=ROLE_LISTS, texts=st.lists(HOSTILE, min_size=1, max_size=5))
def test_no_text_adds_or_removes_a_control_token(
    family: str, roles: list[Role], texts: list[str]
) -> None:
    def controls(texts: Sequence[str]) -> list[int]:
        ids = codec_of(family).prompt_ids(*conversation(roles, texts))
        return [token for token in ids if token in added_ids(family)]

    assert controls(texts) == controls(["x"])


@EVERY_FAMILY
@settings(deadline=None)
@given(roles=ROLE_LISTS, texts=st.lists(HOSTILE, min_size=1, max_size=5))
def test_a_prompt_decodes_to_its_text(family: str, roles: list[Role], texts: list[str]) -> None:
    # A Unigram model reads the name of a byte in plain text as that byte.
    assume(family != "mistral-unigram" or "<0x" not in "".join(texts))
    messages, tools = conversation(roles, texts)
    ids = codec_of(family).prompt_ids(messages, tools)
    text = text_of(RENDERERS[FAMILIES[family].renderer].render(messages, tools))
    decoded = tokenizer_of(family).decode(ids, skip_special_tokens=False)
    assert as_kept(decoded) == as_kept(text)


def as_kept(text: str) -> str:
    """Drop what a tokenizer need not keep: composed forms, and where SentencePiece puts spaces."""
    return unicodedata.normalize("NFC", text.replace("▁", "").replace(" ", ""))


@EVERY_FAMILY
@settings(deadline=None)
@given(places=st.lists(st.floats(0, 1, exclude_max=True), max_size=12))
def test_what_was_streamed_of_a_completion_stays_so(family: str, places: list[float]) -> None:
    size = tokenizer_of(family).get_vocab_size()
    ids = [int(place * size) for place in places]
    stream = TextStream(codec_of(family))
    pieces = [stream.push(token) for token in ids]
    rest, whole = stream.end()
    assert "".join(pieces) + rest == whole == codec_of(family).decode(ids)


@pytest.mark.parametrize("name", RENDERERS)
def test_the_docs_show_what_is_rendered(name: str) -> None:
    cities = [ToolCall(name="weather", arguments={"city": city}) for city in ("Rome", "Oslo")]
    messages = [
        Message(role="system", content="Be brief."),
        Message(role="user", content="Rome and Oslo?"),
        Message(role="assistant", tool_calls=tuple(cities)),
        Message(role="tool", content="sunny"),
        Message(role="tool", content="snow"),
    ]
    text = text_of(RENDERERS[name].render(messages, [ToolSpec(name="weather")]))
    shown = re.sub(r"Be brief\..*in plain text\.", "(system text)", text, flags=re.S)
    page = (Path(__file__).parents[2] / "docs/prompts.md").read_text(encoding="utf-8")
    block = re.search(rf"^`{name}`: .*?^```text\n(.*?)\n```$", page, flags=re.M | re.S)
    assert block is not None
    assert block[1] == shown


@pytest.mark.parametrize("family", ["llama", "mistral-bpe", "mistral-legacy", "mistral-unigram"])
def test_the_prompt_begins_with_one_bos(family: str) -> None:
    ids = codec_of(family).prompt_ids(*conversation(["user", "tool"], ["hello"]))
    bos = tokenizer_of(family).token_to_id("<|begin_of_text|>" if family == "llama" else "<s>")
    assert (ids[0], ids.count(bos)) == (bos, 1)


@EVERY_FAMILY
def test_a_reply_is_decoded_without_what_ended_it_whichever_token_that_was(family: str) -> None:
    codec = codec_of(family)
    assert codec.end_id == codec.end_ids[0]
    said = tokenizer_of(family).encode("<think>a</think>hello", add_special_tokens=False).ids
    for end in codec.end_ids:
        assert codec.decode([*said, end]).strip() == "<think>a</think>hello"
    kept = tokenizer_of(family).id_to_token(codec.end_id)
    assert kept in codec.decode([*said, codec.end_id, *said])
