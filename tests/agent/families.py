"""Real tokenizers of each family's style, trained here on a little text, and templates to match."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

TAGS = ("<think>", "</think>", "<tool_call>", "</tool_call>")
QWEN_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
QWEN_PLAIN = (*TAGS, "<tool_response>", "</tool_response>")
LLAMA_SPECIAL = (
    "<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>",
    "<|eom_id|>", "<|eot_id|>", "<|python_tag|>",
)  # fmt: skip
MISTRAL_SPECIAL = (
    "<s>", "</s>", "[INST]", "[/INST]", "[TOOL_CALLS]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]",
    "[TOOL_RESULTS]", "[/TOOL_RESULTS]",
)  # fmt: skip
CONTROLS = (*QWEN_SPECIAL, *QWEN_PLAIN, *LLAMA_SPECIAL, *MISTRAL_SPECIAL, "<tools>", "</tools>")
"""The control tokens and reply tags of all families."""

_TEXT = [
    "You may call these functions. Think first, then answer in plain text.",
    '[{"name": "weather", "arguments": {"city": "Rome", "days": 3}}]',
    '{"type": "function", "function": {"name": "f", "description": "", "parameters": {}}}',
    "system user assistant tool ipython # Tools: the quick brown fox, größer als 東京 12.50",
    "one\n\ntwo\n\n\nthree.\n\nfour.\n five\n\n six\n}\n\n{\n\n",
    "</s> </s> </s> <s> <s> [INST] [INST] [/INST] [/INST] <|im_end|> <tool_call> </tool_call>",
] * 4  # fmt: skip
_WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+"


def qwen() -> Tokenizer:
    """Byte-level BPE with NFC; reply tags are added tokens that are not special."""
    tokenizer = _byte_level(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.add_special_tokens(list(QWEN_SPECIAL))
    tokenizer.add_tokens([AddedToken(tag, normalized=False, special=False) for tag in QWEN_PLAIN])
    return tokenizer


def llama() -> Tokenizer:
    """Byte-level BPE that takes whole words first and adds a BOS itself; tags are plain text."""
    tokenizer = _byte_level(models.BPE(ignore_merges=True))
    tokenizer.add_special_tokens(list(LLAMA_SPECIAL))
    bos = "<|begin_of_text|>"
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", special_tokens=[(bos, tokenizer.token_to_id(bos))]
    )
    return tokenizer


def sentencepiece_bpe() -> Tokenizer:
    """Metaspace before the first word alone; the reply's tags were added for training."""
    tokenizer = _sentencepiece(pre_tokenizers.Metaspace(prepend_scheme="first", split=False))
    tokenizer.add_tokens([AddedToken(tag, normalized=False, special=False) for tag in TAGS])
    return tokenizer


def sentencepiece_spaced() -> Tokenizer:
    """Metaspace before every stretch."""
    return _sentencepiece(pre_tokenizers.Metaspace(prepend_scheme="always"))


def sentencepiece_legacy() -> Tokenizer:
    """A normalizer that puts a space before every stretch, and no pre-tokenizer."""
    tokenizer = _sentencepiece(pre_tokenizers.Metaspace(prepend_scheme="never", split=False))
    spec = json.loads(tokenizer.to_str())
    prepended = [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    made = Tokenizer.from_str(json.dumps({**spec, "pre_tokenizer": None}))
    made.normalizer = normalizers.Sequence(prepended)
    return made


def sentencepiece_unigram() -> Tokenizer:
    """Unigram with byte fallback, whose control tokens are pieces of score 0."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    trainer = trainers.UnigramTrainer(
        vocab_size=600, special_tokens=["<unk>", *MISTRAL_SPECIAL, *_BYTES], unk_token="<unk>",
        show_progress=False,
    )  # fmt: skip
    tokenizer.train_from_iterator(_TEXT, trainer)
    return _with_byte_fallback(tokenizer)


_BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def _byte_level(model: models.BPE) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(_TEXT, trainer)
    return tokenizer


def _sentencepiece(pre_tokenizer: pre_tokenizers.Metaspace) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=["<unk>", *_BYTES], show_progress=False
    )
    tokenizer.train_from_iterator(_TEXT, trainer)
    return _with_byte_fallback(_with_merged_controls(tokenizer))


def _with_merged_controls(tokenizer: Tokenizer) -> Tokenizer:
    """Add control tokens that the model itself would make of their letters, first of all."""
    spec = json.loads(tokenizer.to_str())
    vocab, merges = spec["model"]["vocab"], []
    for text in MISTRAL_SPECIAL:
        for end in range(1, len(text)):
            merges.append([text[:end], text[end]])
            for piece in (text[end], text[: end + 1]):
                vocab.setdefault(piece, len(vocab))
    spec["model"]["merges"] = [*merges, *(m for m in spec["model"]["merges"] if m not in merges)]
    made = Tokenizer.from_str(json.dumps(spec))
    made.add_special_tokens(list(MISTRAL_SPECIAL))
    return made


def _with_byte_fallback(tokenizer: Tokenizer) -> Tokenizer:
    spec = json.loads(tokenizer.to_str())
    spec["added_tokens"] = [t for t in spec["added_tokens"] if t["content"] not in _BYTES]
    spec["model"]["byte_fallback"] = True
    made = Tokenizer.from_str(json.dumps(spec))
    made.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return made


_SYSTEM = """
{%- set ns = namespace(head=0, body='') %}
{%- for m in messages %}{% if m.role == 'system' and (hoisted or ns.head == loop.index0) %}
{%- set ns.head = ns.head + 1 %}
{%- if m.content %}{% set ns.body = ns.body + m.content + '\n\n' %}{% endif %}
{%- endif %}{% endfor %}
{%- if tools %}
{%- set ns.body = ns.body + '# Tools\nYou may call these functions:\n<tools>\n' %}
{%- for t in tools %}
{%- set ns.body = ns.body + ((t.function if bare else t) | tojson) + '\n' %}{% endfor %}
{%- set ns.body = ns.body + '</tools>\nThink inside <think></think> first. Then either call '
 + 'functions with one JSON list, <tool_call>[{"name": ..., "arguments": {...}}]</tool_call>, or, '
 + 'when no function fits or a required value is missing, answer in plain text.' %}
{%- else %}
{%- set ns.body = ns.body + 'Think inside <think></think> first, then answer in plain text.' %}
{%- endif %}
{%- macro calls(m) %}{% if m.tool_calls %}<tool_call>[{% for c in m.tool_calls %}
{{- c.function | tojson }}{% if not loop.last %}, {% endif %}{% endfor %}]</tool_call>
{%- endif %}{% endmacro -%}
"""
_TOOLN1 = (
    "{%- set bare = true %}"
    + _SYSTEM
    + """{{- '<|im_start|>system\n' + ns.body + '<|im_end|>\n' }}
{%- for m in messages[ns.head:] %}
{{- '<|im_start|>' + m.role + '\n' + m.content + calls(m) + '<|im_end|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{% endif %}"""
)
_HERMES = (
    _SYSTEM
    + """{{- '<|im_start|>system\n' + ns.body + '<|im_end|>\n' }}
{%- set rest = messages[ns.head:] %}
{%- for m in rest %}
{%- if m.role == 'tool' %}
{%- if loop.first or loop.previtem.role != 'tool' %}{{- '<|im_start|>user' }}{% endif %}
{{- '\n<tool_response>\n' + m.content + '\n</tool_response>' }}
{%- if loop.last or loop.nextitem.role != 'tool' %}{{- '<|im_end|>\n' }}{% endif %}
{%- else %}
{{- '<|im_start|>' + m.role + '\n' + m.content }}
{%- if m.content and m.tool_calls %}{{- '\n' }}{% endif %}{{- calls(m) + '<|im_end|>\n' }}
{%- endif %}{% endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{% endif %}"""
)
_LLAMA = (
    _SYSTEM
    + """{{- '<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n' }}
{{- ns.body + '<|eot_id|>' }}
{%- for m in messages[ns.head:] %}
{{- '<|start_header_id|>' + ('ipython' if m.role == 'tool' else m.role) + '<|end_header_id|>\n\n' }}
{{- m.content + calls(m) + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"""
)
_MISTRAL = (
    "{%- set hoisted = true %}"
    + _SYSTEM
    + """{%- set rest = messages | rejectattr('role', 'equalto', 'system') | list %}
{%- set n = namespace(last=-1) %}
{%- for m in rest %}{% if m.role == 'user' and (loop.first or loop.previtem.role != 'user') %}
{%- set n.last = loop.index0 %}{% endif %}{% endfor %}
{{- '<s>' }}
{%- if n.last == -1 %}{{- '[INST] ' + ns.body + '[/INST]' }}{% endif %}
{%- for m in rest %}
{%- if m.role == 'user' %}
{%- if loop.first or loop.previtem.role != 'user' %}
{{- '[INST] ' + (ns.body + '\n\n' if loop.index0 == n.last else '') }}
{%- else %}{{- '\n\n' }}{% endif %}
{{- m.content }}
{%- if loop.last or loop.nextitem.role != 'user' %}{{- '[/INST]' }}{% endif %}
{%- elif m.role == 'tool' %}
{{- '[TOOL_RESULTS] ' + ({'content': m.content} | tojson) + '[/TOOL_RESULTS]' }}
{%- else %}{{- ' ' + m.content + calls(m) + '</s>' }}{% endif %}
{%- endfor %}"""
)


class Family(NamedTuple):
    """A tokenizer's style, and what its models' prompts look like."""

    renderer: str
    tokenizer: Callable[[], Tokenizer]
    template: str
    """The chat template, in Jinja, that our renderer has to agree with."""


FAMILIES = {
    "tooln1": Family("tooln1", qwen, _TOOLN1),
    "hermes": Family("hermes", qwen, _HERMES),
    "llama": Family("llama", llama, _LLAMA),
    "mistral-bpe": Family("mistral", sentencepiece_bpe, _MISTRAL),
    "mistral-spaced": Family("mistral", sentencepiece_spaced, _MISTRAL),
    "mistral-legacy": Family("mistral", sentencepiece_legacy, _MISTRAL),
    "mistral-unigram": Family("mistral", sentencepiece_unigram, _MISTRAL),
}


@cache
def tokenizer_json(family: str) -> str:
    """Return the tokenizer.json of a family; it is trained once a process."""
    return str(FAMILIES[family].tokenizer().to_str())
