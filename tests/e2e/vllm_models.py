"""A small random model that vLLM takes, random adapters for it, and what torch makes of both."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model

from tests.training.conftest import byte_tokenizer, random_model
from tooln1_agent.adapters import AdapterStore
from tooln1_agent.codec import Codec
from tooln1_agent.engines.local.model import base_name, load_base
from tooln1_agent.messages import Completion


def save_model(path: Path) -> Path:
    """Write a model with heads of 32, the smallest that vLLM knows on a CPU."""
    tokenizer = byte_tokenizer()
    model = random_model(vocab_size=tokenizer.get_vocab_size(), hidden_size=128)
    with torch.no_grad():  # so far apart that rounding does not change which token is likeliest
        for parameter in model.parameters():
            parameter.mul_(4 if parameter.ndim > 1 else 1)
    model.save_pretrained(path)
    tokenizer.save(str(path / "tokenizer.json"))
    return path


def add_adapter(store: AdapterStore, model_dir: Path, *, seed: int, rank: int = 8) -> str:
    """Add an adapter of random weights that changes what the model says; return its version."""
    staging = store.root.parent / f"staging-{seed}-{rank}"
    torch.manual_seed(seed)
    lora = LoraConfig(
        r=rank, lora_alpha=2 * rank, target_modules="all-linear", init_lora_weights=False
    )
    get_peft_model(load_base(model_dir), lora).save_pretrained(staging)
    adapter = store.add(
        staging,
        base_model=base_name(model_dir),
        parent=None,
        prompt_version=Codec.load(model_dir).prompt_version,
        trained_on={},
        config_hash="",
    )
    shutil.rmtree(staging)
    return adapter.version


class Torch:
    """The model in this process, to compare with."""

    def __init__(self, model_dir: Path) -> None:
        self._model_dir = model_dir
        self._models: dict[Path | None, Any] = {}

    def logprobs(self, completion: Completion, *, adapter: Path | None) -> list[float]:
        """Return the log-probs of a completion's ids, of the plain model or with an adapter."""
        assert completion.prompt_ids is not None
        assert completion.completion_ids is not None
        ids = [*completion.prompt_ids, *completion.completion_ids]
        start = len(completion.prompt_ids)
        with torch.inference_mode():
            logits = self._model(adapter)(torch.tensor([ids])).logits[0, start - 1 : -1]
        chosen = torch.tensor(completion.completion_ids).unsqueeze(-1)
        found: list[float] = logits.log_softmax(-1).gather(-1, chosen).squeeze(-1).tolist()
        return found

    def _model(self, adapter: Path | None) -> Any:
        if adapter not in self._models:
            from peft import PeftModel

            base = load_base(self._model_dir)
            self._models[adapter] = (
                base if adapter is None else PeftModel.from_pretrained(base, adapter).eval()
            )
        return self._models[adapter]


def furthest(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the largest difference between two rows of figures of one length."""
    return max(abs(a - b) for a, b in zip(one, other, strict=True))
