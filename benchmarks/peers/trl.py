"""TRL's GRPOTrainer on rollouts that are given: what our update is compared with.

Its settings stand here in full. They are the fastest that it has on a CPU for a model that fits:
no gradient checkpointing, no logging of completions, one pass for all rollouts of a step.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"  # `rollout_func` is marked as experimental

from datasets import Dataset
from peft import LoraConfig
from torch import Tensor
from transformers import PreTrainedTokenizerFast
from trl import GRPOConfig, GRPOTrainer

from benchmarks.peers.device import seconds
from tooln1_agent.codec import Codec
from tooln1_agent.examples import Example
from tooln1_agent.reward import score
from trainer.config import GrpoConfig
from trainer.rollout import Group, prompt_ids
from trainer.variants import LossName

LOSSES: dict[LossName, dict[str, Any]] = {
    "tool_n1": {"loss_type": "dapo"},
    "grpo": {"loss_type": "grpo"},
    "dr_grpo": {"loss_type": "dr_grpo", "scale_rewards": "none"},
    "dapo": {"loss_type": "dapo", "epsilon_high": 0.28},
    "cispo": {"loss_type": "cispo", "epsilon_high": 5.0},  # of the ratio itself, not of 1 + it
    "gspo": {
        "loss_type": "grpo",
        "importance_sampling_level": "sequence",
        "epsilon": 3e-4,
        "epsilon_high": 4e-4,
    },
}
"""What each of our loss variants is called there."""

SETTINGS: dict[str, Any] = {
    "use_cpu": True,
    "bf16": False,
    "gradient_checkpointing": False,
    "dataloader_pin_memory": False,
    "report_to": [],
    "logging_strategy": "no",
    "save_strategy": "no",
    "disable_tqdm": True,
    "shuffle_dataset": False,
    "lr_scheduler_type": "constant",
    "weight_decay": 0.0,
    "gradient_accumulation_steps": 1,
    "use_bias_correction_kl": False,  # the divergence as GRPO's paper has it
    "model_init_kwargs": {"dtype": "float32"},
}
EPSILON = 1e-4
"""What it adds to a group's standard deviation; ours is `trainer.advantage.EPSILON`."""


class Peer(GRPOTrainer):
    """GRPOTrainer that keeps the loss and the time of each of its passes."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self.losses: list[float] = []
        self.prepare_s: list[float] = []
        """Seconds of sampling and scoring."""
        self.update_s: list[float] = []
        """Seconds of forward and backward passes; its optimizer is not counted."""
        super().__init__(*args, **options)

    def compute_loss(self, *args: Any, **options: Any) -> Tensor:
        loss: Tensor = super().compute_loss(*args, **options)
        self.losses.append(loss.item())
        return loss

    def _prepare_inputs(self, *args: Any) -> Any:
        began = seconds()
        prepared = super()._prepare_inputs(*args)
        self.prepare_s.append(seconds() - began)
        return prepared

    def training_step(self, *args: Any) -> Tensor:
        began = seconds()
        loss: Tensor = super().training_step(*args)
        self.update_s.append(seconds() - began - self.prepare_s[-1])
        return loss


def make_peer(
    model_dir: Path,
    groups: Sequence[Group],
    config: GrpoConfig,
    *,
    out: Path,
    samples: bool = False,
    **changes: Any,
) -> Peer:
    """Return a trainer that takes these rollouts and their rewards at every step.

    Args:
        config: our settings, translated into its own.
        samples: let it sample rollouts of its own; the rewards stay those of the groups.
        changes: of its settings, over ours.
    """
    size = config.group_size
    tokenizer = _tokenizer(model_dir)
    texts = [f"{n}:" + tokenizer.decode(group.prompt_ids) for n, group in enumerate(groups)]

    def given(prompts: Sequence[str]) -> list[tuple[Group, int]]:
        """Return the group of each prompt, and how often it came before."""
        seen: Counter[str] = Counter()
        found = []
        for prompt in prompts:
            found.append((groups[int(prompt.partition(":")[0])], seen[prompt] % size))
            seen[prompt] += 1
        return found

    def rollouts(prompts: list[str], _: Any) -> dict[str, Any]:
        asked = given(prompts)
        return {
            "prompt_ids": [list(group.prompt_ids) for group, _ in asked],
            "completion_ids": [list(group.rollouts[n].completion_ids) for group, n in asked],
            "logprobs": None,
        }

    def rewards(prompts: list[str], **_: Any) -> list[float]:
        return [group.rewards[n] for group, n in given(prompts)]

    return Peer(
        model=str(model_dir),
        args=_arguments(config, out, prompts=len(groups), **changes),
        processing_class=tokenizer,
        reward_funcs=rewards,
        train_dataset=Dataset.from_list([{"prompt": text} for text in texts]),
        peft_config=_lora(config),
        rollout_func=None if samples else rollouts,
    )


def learning_peer(
    model_dir: Path, examples: Sequence[Example], config: GrpoConfig, *, out: Path, **changes: Any
) -> Peer:
    """Return a trainer that learns from these examples by our reward, sampling by itself.

    It takes `config.prompts_per_step` prompts a step, in an order of its own.
    """
    codec = Codec.load(model_dir)
    tokenizer = _tokenizer(model_dir)
    texts = [tokenizer.decode(prompt_ids(example, codec)) for example in examples]
    by_text = dict(zip(texts, examples, strict=True))

    def rewards(prompts: list[str], completion_ids: list[list[int]], **_: Any) -> list[float]:
        """Score the ids: of the text that it would give us, the control tokens are gone."""
        asked = [by_text[prompt] for prompt in prompts]
        return [
            score(codec.decode(ids), tools=example.tools, target=example.target).value
            for example, ids in zip(asked, completion_ids, strict=True)
        ]

    arguments = _arguments(config, out, prompts=config.prompts_per_step, **changes)
    return Peer(
        model=str(model_dir),
        args=arguments,
        processing_class=tokenizer,
        reward_funcs=rewards,
        train_dataset=Dataset.from_list([{"prompt": text} for text in by_text]),
        peft_config=_lora(config),
    )


def _arguments(config: GrpoConfig, out: Path, *, prompts: int, **changes: Any) -> GRPOConfig:
    """Translate our settings."""
    chosen = {
        "output_dir": str(out),
        "beta": config.beta,
        "learning_rate": config.learning_rate or 1e-6,
        "max_grad_norm": config.max_grad_norm,
        "num_generations": config.group_size,
        "max_completion_length": config.max_tokens,
        "num_iterations": config.updates_per_batch,
        "per_device_train_batch_size": config.group_size * prompts,
        "seed": config.seed,
    }
    return GRPOConfig(**SETTINGS | LOSSES[config.loss] | chosen | changes)


def _lora(config: GrpoConfig) -> LoraConfig:
    return LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha or 2 * config.lora_rank,
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )


def _tokenizer(model_dir: Path) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_file=str(model_dir / "tokenizer.json"),
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
    )
