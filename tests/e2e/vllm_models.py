"""A small random model that vLLM takes, random adapters for it, and what torch makes of both."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from peft import PeftModel

from tests.training.conftest import byte_tokenizer, random_model
from tooln1_agent.adapters import AdapterStore
from tooln1_agent.engines.local.model import load_base
from tooln1_agent.examples import Example
from tooln1_agent.messages import Completion
from trainer.config import GrpoConfig
from trainer.policy import Policy, load_policy
from trainer.probe import make_probe


def save_model(path: Path, *, seed: int = 0) -> Path:
    """Write a random model that says ASCII, a character a token, and never comes to an end.

    Its heads are of 32, the smallest that vLLM knows on a CPU. One dimension of its hidden states
    is the same whatever it reads, and speaks against every other token.
    """
    tokenizer = byte_tokenizer()
    model = random_model(vocab_size=tokenizer.get_vocab_size(), hidden_size=128, seed=seed)
    text = [tokenizer.encode(chr(code)).ids[0] for code in range(32, 127)]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4 if parameter.ndim > 1 else 1)  # far apart, whatever rounding does
        embedding = model.model.embed_tokens.weight
        head = embedding.clone()
        embedding[:, 0] = 0.4
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight[0] = 0.0
            layer.mlp.down_proj.weight[0] = 0.0
        head[:, 0] = -90.0
        head[text, 0] = 0.0
    model.config.tie_word_embeddings = False
    model.lm_head.weight = torch.nn.Parameter(head)
    model.save_pretrained(path)
    tokenizer.save(str(path / "tokenizer.json"))
    return path


def add_adapter(
    store: AdapterStore,
    model_dir: Path,
    *,
    seed: int,
    rank: Literal[8, 16] = 8,
    probe_of: int | None = None,
) -> str:
    """Add an adapter of random weights that changes what the model says; return its version.

    Args:
        probe_of: the seed of the weights whose probe is put beside it; none if not given.
    """
    staging = store.root.parent / f"staging-{seed}-{rank}"
    policy = random_policy(model_dir, seed=seed, rank=rank)
    policy.save_adapter(staging)
    if probe_of is not None:
        example = Example.model_validate(
            {
                "id": "one",
                "messages": [{"role": "user", "content": "Light on."}],
                "tools": [],
                "target": {"kind": "no_call"},
                "split": "train",
                "source": "dataset",
                "created_at": "2026-03-01T00:00:00Z",
            }
        )
        make_probe(random_policy(model_dir, seed=probe_of), [example]).write(staging)
    adapter = store.add(
        staging,
        base_model=policy.base_model,
        parent=None,
        prompt_version=policy.codec.prompt_version,
        trained_on={},
        config_hash="",
    )
    shutil.rmtree(staging)
    return adapter.version


def random_policy(model_dir: Path, *, seed: int, rank: Literal[8, 16] = 8) -> Policy:
    """Return the model with LoRA weights that change every log-prob by much."""
    policy = load_policy(model_dir, GrpoConfig(lora_rank=rank))
    torch.manual_seed(seed)
    weights = {name: torch.randn_like(w) * 0.15 for name, w in policy.trainable().items()}
    for name, weight in weights.items():
        if "lora_B" in name and ("o_proj" in name or "down_proj" in name):
            weight[0] = 0.0  # what speaks against tokens that are no text stays as it is
    policy.set_weights(weights)
    return policy


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
            base = load_base(self._model_dir)
            self._models[adapter] = (
                base if adapter is None else PeftModel.from_pretrained(base, adapter).eval()
            )
        return self._models[adapter]


def furthest(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the largest difference between two rows of figures of one length."""
    return max(abs(a - b) for a, b in zip(one, other, strict=True))
