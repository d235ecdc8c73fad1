"""A tokenizer that knows no added token: whatever a text spells, it is encoded as plain text.

Leaving the added tokens out is not enough. Where tokens like `</s>` are pieces of the model's own
vocabulary too, as in SentencePiece's, the model would find them in plain text; they are taken out
of it. What is encoded stands after a control token, never at the very beginning of a text.
"""

from __future__ import annotations

import json
from typing import Any

_UNKNOWN = "\0unknown"
"""The name that the unknown token goes by; no merge makes it."""


def plain_tokenizer(spec: dict[str, Any]) -> Any:
    """Return a `tokenizers.Tokenizer` like that of a tokenizer.json, without its added tokens.

    Of these only the unknown token is left, for what the vocabulary cannot write.
    """
    from tokenizers import Tokenizer

    added = frozenset(token["id"] for token in spec["added_tokens"])
    plain = {
        **spec,
        "added_tokens": [],
        "post_processor": None,
        "truncation": None,
        "padding": None,
        "pre_tokenizer": _in_the_middle(spec["pre_tokenizer"]),
        "model": _without(spec["model"], added),
    }
    return Tokenizer.from_str(json.dumps(plain))


def _without(model: dict[str, Any], added: frozenset[int]) -> dict[str, Any]:
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
        kept[_UNKNOWN], changed["unk_token"] = vocab[model["unk_token"]], _UNKNOWN
    return changed


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
