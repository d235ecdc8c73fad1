"""Messages to token ids and completions back to text, for one model directory.

Control tokens come from the template's own text alone. Everything else, ours and others', is joined
to stretches that reach from one control token to the next, and each stretch is encoded with a
tokenizer that has no added token. That is what a tokenizer does with the whole text where nobody
has written a control token into it, so the ids are those that the model was trained on.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tool_registry.tool import ToolSpec
from tooln1_agent.errors import ModelNotFound
from tooln1_agent.messages import Message
from tooln1_agent.plain_tokenizer import plain_tokenizer
from tooln1_agent.prompt import Segment
from tooln1_agent.renderers.families import MARK, choose_renderer

_REPLY_TAGS = ("<think>", "</think>", "<tool_call>", "</tool_call>")


class Codec:
    """Encodes conversations and decodes completions. Thread-safe; needs `tokenizers`."""

    def __init__(self, tokenizer_json: str, *, renderer: str | None = None) -> None:
        """Read a tokenizer.json.

        Args:
            renderer: by its name; chosen by the added tokens if not given.

        Raises:
            ModelNotFound, ConfigError: no renderer fits, or the tokenizer cannot be used.
        """
        from tokenizers import Tokenizer

        spec: dict[str, Any] = json.loads(tokenizer_json)
        self._full = Tokenizer.from_str(tokenizer_json)
        self._plain = plain_tokenizer(spec)
        added = {token["content"]: token for token in spec["added_tokens"]}
        self._renderer = choose_renderer(added.keys(), name=renderer)
        self._controls = self._find_controls(added)
        longest_first = sorted(self._controls, key=lambda text: (-len(text), text))
        self._cut = re.compile(f"({'|'.join(map(re.escape, longest_first))})")
        vocabulary = self._full.get_vocab(with_added_tokens=False)
        self.byte_ids = frozenset(
            vocabulary[name] for byte in range(256) if (name := f"<0x{byte:02X}>") in vocabulary
        )
        """The ids that stand for single bytes, in vocabularies that have such."""
        self.hash: str = hashlib.sha256(tokenizer_json.encode()).hexdigest()[:16]
        """Identifies the tokenizer; stored with each interaction."""
        self.end_ids: tuple[int, ...] = tuple(
            added[text]["id"] for text in self._renderer.ends if text in added
        )
        """The ids that end a reply; the first closes a turn in the template."""
        self.prompt_version: str = self._renderer.version
        """Names the template of this model's prompts; stored with interactions and adapters."""

    @classmethod
    def load(cls, model_dir: str | Path) -> Codec:
        """Read a model directory's tokenizer, and the renderer that it names, if it does.

        Raises:
            ModelNotFound, ConfigError: there is no tokenizer.json, or it cannot be used.
        """
        path = Path(model_dir) / "tokenizer.json"
        if not path.is_file():
            raise ModelNotFound(
                f"no tokenizer.json in {str(model_dir)!r}; expected a model directory in the "
                "Hugging Face layout (config.json, tokenizer.json, *.safetensors)"
            )
        name = _named_renderer(path.with_name("tokenizer_config.json"))
        return cls(path.read_text(encoding="utf-8"), renderer=name)

    @property
    def end_id(self) -> int:
        """The id that closes a turn."""
        return self.end_ids[0]

    @property
    def vocab_size(self) -> int:
        return int(self._full.get_vocab_size(with_added_tokens=True))

    def prompt_ids(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> list[int]:
        """Return the ids of a conversation, up to where the assistant's next reply begins."""
        return self.encode(self._renderer.render(messages, tools))

    def encode(self, segments: Iterable[Segment]) -> list[int]:
        """Encode segments; only in trusted ones does text become control tokens."""
        ids: list[int] = []
        stretch: list[str] = []
        for text, trusted in segments:
            plain, *others = self._cut.split(text) if trusted else (text,)
            stretch.append(plain)
            for control, after in zip(others[::2], others[1::2], strict=True):
                ids += self._encode_plain(stretch)
                ids.append(self._controls[control])
                stretch = [after]
        return ids + self._encode_plain(stretch)

    def decode(self, ids: Sequence[int]) -> str:
        """Decode completion ids, special tokens kept, without the token that ended the reply."""
        kept = list(ids)
        if kept and kept[-1] in self.end_ids:
            kept.pop()
        return str(self._full.decode(kept, skip_special_tokens=False))

    def token(self, id_: int) -> str:
        """Return how the vocabulary writes a token, "" for an id that it lacks."""
        return str(self._full.id_to_token(id_) or "")

    def _encode_plain(self, stretch: Sequence[str]) -> list[int]:
        text = "".join(stretch)
        return list(self._plain.encode(text).ids) if text else []

    def _find_controls(self, added: Mapping[str, dict[str, Any]]) -> dict[str, int]:
        """Return the added tokens that stand for exactly their text, with their ids."""
        exact = {text: int(token["id"]) for text, token in added.items() if self._is_exact(token)}
        for text in (*self._renderer.controls, *_REPLY_TAGS):
            if text in added and text not in exact:
                raise ModelNotFound(
                    f"the added token {text!r} of this tokenizer takes in spaces around it, or "
                    "matches whole words or normalized text alone; it must be written exactly. Set "
                    "lstrip, rstrip, single_word and normalized to false in tokenizer.json"
                )
        return exact

    def _is_exact(self, token: dict[str, Any]) -> bool:
        """Whether an added token stands for exactly its text, wherever that is written."""
        if token["lstrip"] or token["rstrip"] or token["single_word"]:
            return False
        normalizer = self._full.normalizer
        if not token["normalized"] or normalizer is None:
            return True
        return bool(normalizer.normalize_str(token["content"]) == token["content"])


def _named_renderer(config: Path) -> str | None:
    """Return what a tokenizer_config.json names as the renderer; there need not be any."""
    if not config.is_file():
        return None
    try:
        told = json.loads(config.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelNotFound(f"{str(config)!r} is not JSON ({error}); mend or remove it") from error
    return told.get(MARK) if isinstance(told, dict) else None
