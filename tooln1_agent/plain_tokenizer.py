"""A tokenizer that knows no added token: whatever a text spells, it is encoded as plain text.

Leaving the added tokens out is not enough. Where tokens like `</s>` are pieces of the model's own
vocabulary too, as in SentencePiece's, the model would find them in plain text; they are taken out
of it. What is encoded stands after a control token, never at the very beginning of a text.
"""

from __future__ import annotations

import json
from typing import Any, cast

from tooln1_agent.errors import ModelNotFound

_UNKNOWN = "\0unknown"
"""The name that the unknown token goes by; no merge makes it."""


def plain_tokenizer(spec: dict[str, Any]) -> Any:
    """Return a `tokenizers.Tokenizer` like that of a tokenizer.json, without its added tokens.

    Raises ModelNotFound where text could still become an added token.
    """
    from tokenizers import Tokenizer

    added = {token["id"]: token["content"] for token in spec["added_tokens"]}
    plain = {
        **spec,
        "added_tokens": [],
        "post_processor": None,
        "truncation": None,
        "padding": None,
        "pre_tokenizer": _in_the_middle(spec["pre_tokenizer"]),
        "model": _without(spec["model"], added),
    }
    tokenizer = Tokenizer.from_str(json.dumps(plain))
    controls = added.keys() - {_unknown(spec["model"])}
    for text in added.values():
        if not controls.isdisjoint(tokenizer.encode(f"{text} a{text}a").ids):
            raise ModelNotFound(
                f"this tokenizer reads {text!r} in plain text as a control token, even without "
                "its added tokens; it cannot keep what users write apart. Use another tokenizer"
            )
    return tokenizer


def _without(model: dict[str, Any], added: dict[int, str]) -> dict[str, Any]:
    """Take tokens out of the vocabulary of a model, and the merges that would make them."""
    vocab = model["vocab"]
    if isinstance(vocab, list):  # Unigram: the place is the id, and no text has an empty piece
        pieces = [
            ["", score] if at in added else [piece, score]
            for at, (piece, score) in enumerate(vocab)
        ]
        return {**model, "vocab": pieces}
    gone = {piece for piece, at in vocab.items() if at in added}
    if not gone:
        return model
    kept = {piece: at for piece, at in vocab.items() if piece not in gone}
    changed = {**model, "vocab": kept}
    if "merges" in model:
        changed["merges"] = [pair for pair in model["merges"] if gone.isdisjoint(_made_of(pair))]
    if model.get("unk_token") in gone:
        kept[_UNKNOWN], changed["unk_token"] = _unknown(model), _UNKNOWN
    return changed


def _unknown(model: dict[str, Any]) -> int | None:
    """Return the id that stands for what the vocabulary cannot write."""
    if isinstance(model["vocab"], list):
        return cast(int | None, model["unk_id"])
    return cast(int | None, model["vocab"].get(model.get("unk_token")))


def _made_of(pair: str | list[str]) -> tuple[str, str, str]:
    left, right = pair.split(" ") if isinstance(pair, str) else pair
    return left, right, left + right


def _in_the_middle(pre_tokenizer: Any) -> Any:
    """Take from a pre-tokenizer what it does at the beginning of a text only."""
    if isinstance(pre_tokenizer, dict):
        changed = {key: _in_the_middle(value) for key, value in pre_tokenizer.items()}
        if changed.get("prepend_scheme") == "first":
            changed["prepend_scheme"] = "never"
        return changed
    if isinstance(pre_tokenizer, list):
        return [_in_the_middle(each) for each in pre_tokenizer]
    return pre_tokenizer
