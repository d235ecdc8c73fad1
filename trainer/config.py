"""How a GRPO run is set up. One object, stored with the run, checked when it is built."""

from __future__ import annotations

import hashlib
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from trainer.variants import VARIANTS, LossName, PrefixForm

LoraRank = Literal[1, 8, 16, 32, 64, 128, 256, 320, 512]
"""The ranks that vLLM serves."""

_RATES = ((50_000_000, 3e-3), (1_000_000_000, 1e-4), (10_000_000_000, 2e-5))
_RATE_ABOVE = 1e-5


class GrpoConfig(BaseModel):
    """Everything that decides what a run computes. Defaults suit the seed model on a CPU."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    method: Literal["grpo", "sft", "sft+grpo"] = "grpo"
    """Learn from sampled rollouts, from the gold calls (see `sft`), or from these first."""
    sft_steps: int = Field(default=20, ge=1)
    """Of "sft+grpo": how many of its steps learn from the gold calls."""
    thoughts: Literal["short", "own"] = "short"
    """What is thought before the gold calls: a short sentence, or what the policy itself thinks
    when it is sampled, which costs as much as GRPO's sampling."""
    loss: LossName = "tool_n1"
    """Variant of the loss: see `variants`."""
    steps: int = Field(default=60, ge=1)
    """Most optimizer steps."""
    time_limit_s: float | None = Field(default=None, gt=0)
    """Stop after the step in which this much time has been spent training."""
    prompts_per_step: int = Field(default=16, ge=1)
    """Groups that one step learns from."""
    group_size: int = Field(default=8, ge=2)
    """Rollouts for each prompt."""
    refill: float = Field(default=1.0, ge=0.0, le=16.0)
    """How many further prompts may be sampled in place of flat groups, per prompt of the step."""
    refill_with: Literal["next", "unsure"] = "next"
    """Which prompts: the next in turn, or first those whose last group had spread, as they will
    likely have it again (Foster and Foerster, arXiv 2502.12272, sample for learnability)."""
    temperature: float = Field(default=1.0, gt=0.0, le=4.0)
    """Of sampling; the update takes log-probs at the same temperature."""
    max_tokens: int = Field(default=256, ge=1)
    """Longest rollout; one that reaches it scores 0. The gate allows as much."""
    context_limit: int | None = Field(default=None, ge=2)
    """Prompt and rollout together; by default what the model declares. Longer ones are left out."""
    learning_rate: float | None = Field(default=None, ge=0.0)
    """Of AdamW, constant; by default it follows from the model's size."""
    lora_rank: LoraRank = 16
    """Rank of the LoRA matrices, on all linear layers but the output."""
    lora_alpha: int | None = Field(default=None, ge=1)
    """Scale of the LoRA update times the rank; twice the rank by default."""
    adapter_scale: float = Field(default=1.0, gt=0.0, le=1.0)
    """What the adapter's change of the base model is multiplied by when training is over (WiSE-FT,
    arXiv 2109.01903): below 1 it keeps more of what the base model could do."""
    beta: float = Field(default=1e-3, ge=0.0)
    """Weight of the KL divergence from the base model; 0 saves the reference pass."""
    kl_on_flat: Literal["skip", "keep"] = "skip"
    """Whether groups without spread, which teach nothing else, still pay for their divergence."""
    imported_beta: float | None = Field(default=None, gt=0.0)
    """Weight of the divergence on prompts that come from imported data, whose groups then pay for
    it with spread or without: so the policy keeps what it could do there. Without it they are as
    others are."""
    clip_low: float | None = Field(default=None, gt=0.0, le=1.0)
    """How far below 1 the ratio of new to old probability may count; by default what the loss
    variant says."""
    clip_high: float | None = Field(default=None, gt=0.0)
    """How far above 1; by default what the loss variant says, or else as far as below."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of sampling and of the products in the update; the LoRA weights stay in float32. bfloat16
    is about twice as fast on a CPU that has it (flag amx_bf16 or avx512_bf16); the ratio of
    probabilities then corrects for the rounding."""
    sampling_precision: Literal["float32", "bfloat16"] | None = None
    """Of sampling alone, where this process samples; as `precision` if not given. Sampling is many
    small products, and on a CPU without AMX faster in float32."""
    updates_per_batch: int = Field(default=1, ge=1)
    """Optimizer steps on one batch of rollouts; 1 is on policy."""
    logged_replies: bool = False
    """Whether the reply that was served for an example joins its group, weighted by importance,
    where its log-probs are known (see `logged`)."""
    importance_cap: float = Field(default=2.0, ge=1.0)
    """Most that the probability of a logged reply, now over when it was drawn, may count."""
    importance_of: Literal["token", "completion"] = "token"
    """What that probability is of: of each token, or of all of the reply."""
    show_gold: bool = False
    """Whether a group that is all wrong is joined by the reply that its label asks for, where that
    names calls, after a thought of the policy's own (LUFFY, arXiv 2504.14945). A policy that is
    sure of a wrong reply learns nothing from its own rollouts."""
    max_grad_norm: float = Field(default=1.0, gt=0.0)
    """The gradient is scaled down to this norm."""
    max_kl: float = Field(default=10.0, gt=0.0)
    """Stop when the mean divergence from the base model is above so many nats a token."""
    weight_decay: float = Field(default=0.0, ge=0.0)
    """Of AdamW."""
    new_share: float = Field(default=0.5, ge=0.0, le=1.0)
    """Share of prompts labelled since the live adapter was trained, where there are both."""
    imported_share: float | None = Field(default=None, ge=0.0, le=1.0)
    """Share of prompts that come from imported data, where traffic gave examples too; as many as
    there are, if not given."""
    no_call_floor: float = Field(default=0.1, ge=0.0, le=0.9)
    """Least share of prompts whose right reply calls nothing, where there are any."""
    validation_share: float = Field(default=0.05, ge=0.0, le=0.5)
    """Share of the examples that is kept out of training and asked greedily from time to time;
    about 64 at most, and none where that makes fewer than 5."""
    validation_every: int = Field(default=10, ge=1)
    """Steps between two times; they are asked after the first step and the last one, too."""
    rows_per_batch: int = Field(default=128, ge=1)
    """Rollouts that are sampled together."""
    tokens_per_pass: int = Field(default=8192, ge=1)
    """Padded tokens of one forward and backward pass; the gradient does not depend on it. Halved
    for the rest of the run when memory runs out."""
    prefix_form: Literal["auto", "tree", "cached", "packed", "flex"] = "auto"
    """How the rollouts of a step share their prompts (see `prefix`): "auto" is "tree" on a CPU;
    elsewhere "packed" with gradient checkpointing or `shard`, and else "cached", which takes the
    least memory. "flex" is "packed" under FlexAttention, on a GPU."""
    gradient_checkpointing: bool = False
    """Compute activations twice instead of keeping them: less memory, a third more time."""
    shard: bool = False
    """Split the base model over the processes that train together, where it does not fit one
    device; what is computed stays the same. With one process there is nothing to split."""
    solved_share: float = Field(default=0.95, gt=0.0, le=1.0)
    """Stop when this share of groups is all right..."""
    solved_steps: int = Field(default=3, ge=1)
    """...in so many steps in a row."""
    flat_steps: int = Field(default=3, ge=1)
    """Stop after so many steps in a row in which no group had spread."""
    checkpoint_every: int = Field(default=5, ge=1)
    """Steps between checkpoints."""
    seed: int = Field(default=0, ge=0)
    """Of the order of examples, of sampling and of new LoRA weights."""
    shuffle_labels: bool = False
    """Give every example the target of another: a control, whose adapter must not pass the gate."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.updates_per_batch > 1 and self.temperature != 1.0:
            raise ValueError(
                f"updates_per_batch={self.updates_per_batch} at temperature={self.temperature}: "
                "the sampler's log-probs are those of temperature 1, so the ratio would be wrong; "
                "use one update per batch or temperature 1"
            )
        for name in ("logged_replies", "show_gold"):
            if self.updates_per_batch > 1 and getattr(self, name):
                raise ValueError(
                    f"updates_per_batch={self.updates_per_batch} with {name}: the log-probs of "
                    "such replies are those of the only update; use one update per batch"
                )
        if self.kl_on_flat == "keep" and self.beta == 0.0:
            raise ValueError("kl_on_flat='keep' with beta=0 keeps nothing; set beta or use 'skip'")
        if self.gradient_checkpointing and self.prefix_form == "cached":
            raise ValueError(
                "gradient_checkpointing drops the cache that prefix_form='cached' rests on; use "
                "prefix_form='auto'"
            )
        if self.shard and self.prefix_form == "cached":
            raise ValueError(
                "shard=True needs processes that run the model equally often, which they do not "
                "with prefix_form='cached'; use prefix_form='auto'"
            )
        if self.method == "sft+grpo" and self.sft_steps >= self.steps:
            raise ValueError(
                f"sft_steps={self.sft_steps} leaves none of steps={self.steps} to GRPO; lower it, "
                "or use method='sft'"
            )
        if self.context_limit is not None and self.context_limit <= self.max_tokens:
            raise ValueError(
                f"context_limit={self.context_limit} leaves no room for a prompt beside "
                f"max_tokens={self.max_tokens}; lower max_tokens"
            )
        return self

    @property
    def lower_clip(self) -> float:
        """Return the lower clip that holds: the set one, or the variant's."""
        return self.clip_low or VARIANTS[self.loss].clip_low

    @property
    def upper_clip(self) -> float:
        """Return the upper clip that holds: the set one, the variant's, or the lower one."""
        return self.clip_high or VARIANTS[self.loss].clip_high or self.lower_clip

    @property
    def imitation_steps(self) -> int:
        """Return how many of the steps learn from gold calls."""
        return {"grpo": 0, "sft": self.steps, "sft+grpo": self.sft_steps}[self.method]

    def form_on(self, device: str) -> PrefixForm:
        """Return the form of the shared prompt that holds on a device of this type."""
        if self.prefix_form != "auto":
            return self.prefix_form
        if device == "cpu":
            return "tree"
        return "packed" if self.gradient_checkpointing or self.shard else "cached"

    @property
    def prompt_limit(self) -> int:
        """Return the most prompts that one step may sample."""
        return self.prompts_per_step + int(self.refill * self.prompts_per_step)

    def hash(self) -> str:
        """Return 16 hex digits that name these settings."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]


def default_learning_rate(parameters: int) -> float:
    """Return the learning rate for LoRA on a model of this many parameters.

    Measured for models of 2 to 10 million; above that a cautious guess. (Tool-N1's 1e-6 is for
    all weights of a 7B model, and LoRA takes about ten times the rate of full training.)
    """
    return next((rate for size, rate in _RATES if parameters < size), _RATE_ABOVE)
