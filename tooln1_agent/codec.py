"""Messages to token ids and completions back to text, for one model directory.

Two tokenizers share one vocabulary: the model's own for what the template wrote, and a copy
without any added token for everything else, so that no untrusted text can become a control token
or a reply tag, whatever it spells.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tool_registry.tool import ToolSpec
from tooln1_agent.errors import ModelNotFound
from tooln1_agent.messages import Message
from tooln1_agent.prompt import PROMPT_VERSION, TURN_END, Segment, render


class Codec:
    """Encodes rendered prompts and decodes completions. Thread-safe; needs `tokenizers`."""

    def __init__(self, tokenizer_json: str) -> None:
        from tokenizers import Tokenizer

        plain: dict[str, Any] = json.loads(tokenizer_json)
        plain["added_tokens"] = []
        plain["post_processor"] = None
        plain["truncation"] = plain["padding"] = None
        self._full = Tokenizer.from_str(tokenizer_json)
        self._plain = Tokenizer.from_str(json.dumps(plain))
        self.hash: str = hashlib.sha256(tokenizer_json.encode()).hexdigest()[:16]
        """Identifies the tokenizer; stored with each interaction."""
        end = self._full.token_to_id(TURN_END)
        if end is None:
            raise ModelNotFound(
                f"this tokenizer has no {TURN_END!r} token; the ChatML renderer needs one. "
                "Use a model of a ChatML family (Qwen, the seed model)."
            )
        self.end_id: int = end
        """The id that closes a turn."""
        self.prompt_version: str = PROMPT_VERSION
        """Names the template of this model's prompts; stored with interactions and adapters."""

    @classmethod
    def load(cls, model_dir: str | Path) -> Codec:
        """Read `tokenizer.json` from a model directory; raises `ModelNotFound` if it is absent."""
        path = Path(model_dir) / "tokenizer.json"
        if not path.is_file():
            raise ModelNotFound(
                f"no tokenizer.json in {str(model_dir)!r}; expected a model directory in the "
                "Hugging Face layout (config.json, tokenizer.json, *.safetensors)"
            )
        return cls(path.read_text(encoding="utf-8"))

    @property
    def vocab_size(self) -> int:
        return int(self._full.get_vocab_size(with_added_tokens=True))

    def prompt_ids(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> list[int]:
        """Return the ids of a conversation, up to where the assistant's next reply begins."""
        return self.encode(render(messages, tools))

    def encode(self, segments: Iterable[Segment]) -> list[int]:
        """Encode segment by segment; a token never spans a border between segments."""
        ids: list[int] = []
        for text, trusted in segments:
            tokenizer = self._full if trusted else self._plain
            ids += tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Decode completion ids, special tokens kept, without the turn's closing token."""
        kept = list(ids)
        if kept and kept[-1] == self.end_id:
            kept.pop()
        return str(self._full.decode(kept, skip_special_tokens=False))
