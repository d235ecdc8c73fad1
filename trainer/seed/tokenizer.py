"""The seed model's tokenizer: byte-level BPE with spaces, digits and JSON joints apart.

A word is the same token after a space, a quote or an underscore, so copying a value from a request
into a call is copying tokens. The words of the seed world are one token each, and so is what a
prompt repeats word for word (the template, the joints of a JSON Schema); other words are pieces.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from tooln1_agent.prompt import Segment
from tooln1_agent.renderers.families import MARK
from tooln1_agent.renderers.tooln1 import TOOLN1
from trainer.seed.words import vocabulary

CONTROL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>", "<tool_call>",
    "</tool_call>", "<tools>", "</tools>",
)  # fmt: skip
"""Added tokens. Their ids follow the BPE vocabulary, where no untrusted text can reach them."""

_TEMPLATE = (
    "system\n", "user\n", "assistant\n", "tool\n",
    "# Tools\nYou may call these functions:\n", "\nThink inside ",
    " first. Then either call functions with one JSON list, ",
    '[{"name": ..., "arguments": {...}}]',
    ", or, when no function fits or a required value is missing, answer in plain text.",
    " first, then answer in plain text.",
)  # fmt: skip
_SCHEMA = (
    '{"name": "', '", "description": "', '"description": "',
    '", "parameters": {"type": "object", "properties": {"',
    '", "parameters": {"type": "object", "properties": {}',
    '"}, "required": ["', '}, "required": ["',
    '": {"type": "', '": {"description": "', '": {"anyOf": [{"type": "', '"}, {"type": "',
    '"}], "description": "', '", "enum": ["', '", "items": {"type": "', '", "default": ',
    ', "default": ', '"type": "', '": {"',
    '"]}}', ', "additionalProperties": false', '"], "additionalProperties": false}}',
    ', "additionalProperties": false}}', '": {}, "', '": {}}', '"}}, "', '"]}, "', '"}], "',
    '"}}, "required": ["', '": {}}, "required": ["', '"]}}, "required": ["',
    '": {"type": "array", "items": {"type": "string"}', '", "items": {"type": "string"}',
    '": {"type": "array", "description": "', '": {"type": "string", "enum": ["',
    '": {"anyOf": [{"type": "integer"}, {"type": "string"}]',
    '", "anyOf": [{"type": "integer"}, {"type": "string"}]',
)  # fmt: skip
_TYPED = tuple(
    f'": {{"type": "{name}{end}'
    for name in ("string", "integer", "number", "boolean")
    for end in ('"}, "', '", "description": "', '"}}, "required": ["', '"')
)
_CALL = (
    '[{"name": "', '", "arguments": {"', '", "arguments": {}', '"}}]', '}}]', '"]}}]', '}]',
    '"}}, {"name": "', '}}, {"name": "', '"]}}, {"name": "', '": "', '", "', '": ["', '"], "',
    '": ', ', "', '"}, "', '}, "', '"}}', '}}', '{"', '"}', '"]', '["', "\n\n", "...",
)  # fmt: skip
_JOINTS = tuple(
    sorted(set(_TEMPLATE + _SCHEMA + _TYPED + _CALL), key=lambda text: (-len(text), text))
)
_WHOLE = (*_JOINTS, *sorted(vocabulary()))
"""What is one token whatever the BPE learns."""

_WORDS = r"\p{Lu}?\p{Ll}+|\p{L}|\p{N}|\s|[^\s\p{L}\p{N}]"
"""A word with at most one capital, else single letters, digits, spaces and signs."""


def train_tokenizer(texts: Iterable[str], *, vocab_size: int) -> Tokenizer:
    """Train the BPE on texts (without control tokens) and return the finished tokenizer."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = _pre_tokenizer()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,  # more merges than will fit beside the whole words
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    cut = re.compile("|".join(map(re.escape, (*CONTROL, *_JOINTS))))
    known = frozenset(_WHOLE)
    pieces = (
        word
        for text in texts
        for word in re.findall(r"[^\W\d_]+", cut.sub(" ", text))
        if word not in known
    )
    tokenizer.train_from_iterator(pieces, trainer)
    return _with_whole(tokenizer, vocab_size)


def save_tokenizer(tokenizer: Tokenizer, directory: Path) -> None:
    """Write `tokenizer.json` and the configuration that transformers reads beside it."""
    tokenizer.save(str(directory / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": None,
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "model_max_length": 4096,
        "clean_up_tokenization_spaces": False,
        MARK: TOOLN1.name,
    }
    (directory / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")


def reply_segments(think: str, calls: str, answer: str) -> tuple[Segment, ...]:
    """Return a reply as segments: `calls` is the JSON list, empty for a plain answer."""
    body = (
        (Segment("<tool_call>", True), Segment(calls, False), Segment("</tool_call>", True))
        if calls
        else (Segment(answer, False),)
    )
    return (
        Segment("<think>", True), Segment(think, False), Segment("</think>\n", True),
        *body, Segment("<|im_end|>", True),
    )  # fmt: skip


def _pre_tokenizer() -> pre_tokenizers.PreTokenizer:
    pattern = "|".join((*map(_escape, _JOINTS), _WORDS))
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def _escape(text: str) -> str:
    return re.sub(r"([\[\]{}().|?*+^$\\])", r"\\\1", text)


def _with_whole(tokenizer: Tokenizer, vocab_size: int) -> Tokenizer:
    """Number bytes, joints and words, then as many merges as fit, then the control tokens."""
    data: dict[str, Any] = json.loads(tokenizer.to_str())
    model = data["model"]
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    whole = [byte_level.pre_tokenize_str(text)[0][0] for text in _WHOLE]
    entries = dict.fromkeys([*sorted(pre_tokenizers.ByteLevel.alphabet()), *whole])
    room = vocab_size - len(CONTROL)
    merges: list[Any] = []
    for pair in model["merges"]:
        if len(entries) == room:
            break
        merges.append(pair)
        entries["".join(pair)] = None
    if len(entries) < room:
        raise ValueError(f"{room - len(entries)} ids are left unused: train on more text")
    model["vocab"] = {text: number for number, text in enumerate(entries)}
    model["merges"] = merges
    model["ignore_merges"] = True
    full = Tokenizer.from_str(json.dumps(data))
    full.decoder = decoders.ByteLevel()
    full.add_special_tokens(list(CONTROL))
    return full
