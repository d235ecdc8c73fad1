"""The policy: a frozen base model with LoRA in training; switched off, it is the reference."""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from safetensors.torch import save_file
from torch import Tensor

from tooln1_agent.codec import Codec
from tooln1_agent.engines.local.model import base_name, load_base
from tooln1_agent.errors import AdapterError, ConfigError
from trainer.config import GrpoConfig
from trainer.distributed import shard
from trainer.vocabulary import check_head

_MERGE_BELOW = 1_000_000_000
"""Largest base, in weights, of which a merged copy is kept for sampling."""
_CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


class Policy:
    """A base model, its LoRA weights, and the codec that belongs to it. Never in dropout."""

    def __init__(
        self,
        model: Any,
        *,
        codec: Codec,
        base_model: str,
        merged: Any | None = None,
        recompute: bool = False,
    ) -> None:
        """Take a model with LoRA; `merged` is a copy of its base, whose weights may change.

        Args:
            recompute: its layers are set up to compute activations twice.
        """
        self.model = model
        self.codec = codec
        self.base_model = base_model
        self._merged = merged
        self._recompute = recompute

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        found: torch.device = next(self.model.parameters()).device
        return found

    @property
    def context_limit(self) -> int:
        """How many tokens the model was made for."""
        return int(getattr(self.model.config, "max_position_embeddings", 1 << 20))

    @property
    def base_parameters(self) -> int:
        """How many weights the base has."""
        return sum(p.numel() for n, p in self.model.named_parameters() if "lora_" not in n)

    def trainable(self) -> dict[str, Tensor]:
        """Return the LoRA weights by name, in a fixed order."""
        found = [(n, p) for n, p in self.model.named_parameters() if p.requires_grad]
        return dict(sorted(found))

    def set_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Overwrite the LoRA weights."""
        own = self.trainable()
        if own.keys() != weights.keys():
            raise AdapterError("these LoRA weights are not of this model or rank")
        with torch.no_grad():
            for name, parameter in own.items():
                parameter.copy_(weights[name])

    @torch.no_grad()
    def scale(self, factor: float) -> None:
        """Multiply what the LoRA changes of the base model."""
        for name, weight in self.trainable().items():
            if "lora_B" in name:
                weight.mul_(factor)

    @contextmanager
    def reference(self) -> Iterator[Any]:
        """Yield the base model alone, without gradients."""
        with torch.no_grad(), self.model.disable_adapter():
            yield self.model

    @contextmanager
    def learning(self) -> Iterator[None]:
        """Let layers compute activations twice, where that was asked for: only in train mode."""
        self.model.train(self._recompute)
        try:
            yield
        finally:
            self.model.eval()

    @torch.no_grad()
    def sampler(self) -> Any:
        """Return a model to sample from: the policy of this moment, LoRA merged into a copy.

        Decoding a small model is bound by the number of operations, and merging leaves one of
        three per layer. A large base is not copied; the policy itself is returned then.
        """
        if self._merged is None:
            return self.model
        for name, layer in self.model.get_base_model().named_modules():
            if hasattr(layer, "get_delta_weight"):
                weight = layer.base_layer.weight + layer.get_delta_weight("default")
                self._merged.get_submodule(name).weight.copy_(weight)
        return self._merged

    def save_adapter(self, directory: Path) -> None:
        """Write the LoRA weights in peft's layout; equal weights give equal bytes.

        The files name no path of this machine, and only safetensors and JSON are written.
        """
        directory.mkdir(parents=True, exist_ok=True)
        state = get_peft_model_state_dict(self.model, save_embedding_layers=False)
        tensors = {name: state[name].detach().cpu().contiguous() for name in sorted(state)}
        save_file(tensors, directory / _WEIGHTS, metadata={"format": "pt"})
        config = self.model.peft_config["default"].to_dict()
        config |= {"base_model_name_or_path": self.base_model, "inference_mode": True}
        plain = {key: _plain(value) for key, value in config.items()}
        (directory / _CONFIG).write_text(json.dumps(plain, indent=2, sort_keys=True) + "\n")


def load_policy(model_dir: Path, config: GrpoConfig, *, start: Path | None = None) -> Policy:
    """Load a base model and put LoRA on it: new (it changes nothing yet), or that of an adapter.

    Args:
        start: directory of the adapter to go on from.

    Raises ModelNotFound, AdapterError (it does not fit), ConfigError (its rank is another),
    UnsupportedModel.
    """
    base = load_base(model_dir)
    base.requires_grad_(False)
    if torch.cuda.is_available() and not config.shard:
        base.to("cuda")
    check_head(base)
    small = sum(weight.numel() for weight in base.parameters()) < _MERGE_BELOW and not config.shard
    sampled_in = getattr(torch, config.sampling_precision or config.precision)
    merged = copy.deepcopy(base).to(sampled_in) if small else None
    with _quiet():
        model = _new_lora(base, config) if start is None else _known_lora(base, config, start)
        if config.gradient_checkpointing:
            base.gradient_checkpointing_enable({"use_reentrant": False})
    if config.shard:
        shard(base)
        if torch.cuda.is_available():
            base.to("cuda")  # what stays whole
    model.eval()  # the prompt is shared, so dropout must be off; LoRA's own is 0
    codec = Codec.load(model_dir)
    return Policy(
        model,
        codec=codec,
        base_model=base_name(model_dir),
        merged=merged,
        recompute=config.gradient_checkpointing,
    )


def _new_lora(base: Any, config: GrpoConfig) -> Any:
    lora = LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha or 2 * config.lora_rank,
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        return get_peft_model(base, lora)


def _known_lora(base: Any, config: GrpoConfig, start: Path) -> Any:
    if not (start / _WEIGHTS).is_file():  # peft would look for it on the network
        raise AdapterError(f"adapter {start.name!r} has no {_WEIGHTS} in {str(start)!r}")
    try:
        model = PeftModel.from_pretrained(base, start, is_trainable=True)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise AdapterError(f"adapter {start.name!r} does not fit this model: {error}") from error
    known = model.peft_config["default"]
    if known.r != config.lora_rank:
        raise ConfigError(
            f"adapter {start.name!r} has rank {known.r}, not {config.lora_rank}; go on from it "
            f"with --lora-rank {known.r}, or start afresh with --from base"
        )
    if known.lora_dropout:
        raise ConfigError(f"adapter {start.name!r} was made with dropout; use --from base")
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what transformers is going to rename, ours and peft's; users cannot act on it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is deprecated", category=FutureWarning)
        yield


def _plain(value: Any) -> Any:
    """Make sets into sorted lists, so that the file does not depend on hash order."""
    return sorted(value) if isinstance(value, set | frozenset) else value
