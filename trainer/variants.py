"""What of a run is chosen by name: the variant of the loss, the form of the shared prompt."""

from __future__ import annotations

from typing import Literal, NamedTuple

PrefixForm = Literal["tree", "cached", "packed", "flex"]
"""How the rollouts of a group share their prompt: see `prefix`."""

LossName = Literal["tool_n1", "grpo", "dr_grpo", "dapo", "cispo", "gspo"]


class Variant(NamedTuple):
    """What sets the named losses apart."""

    scale_advantages: bool = True
    """Divide advantages by the spread of their group."""
    surrogate: Literal["token", "completion", "weight"] = "token"
    """What the ratio of new to old probability is of, and what its clip does: of a token or of a
    whole completion, clipped with its gradient; or a token's, clipped as a mere weight."""
    clip_low: float = 0.2
    clip_high: float | None = None
    """Upper clip of the ratio; None takes the lower one."""
    normaliser: Literal["tokens", "completions", "max_tokens"] = "tokens"
    """A mean over all tokens of the step; over each completion's tokens and then over completions;
    or the sum divided by rollouts times their token limit."""


VARIANTS: dict[LossName, Variant] = {
    # Tool-N1 (arXiv 2505.00024) as it was run: mean over all tokens of the step.
    "tool_n1": Variant(),
    # GRPO (arXiv 2402.03300, equation 3): a completion counts the same however long it is.
    "grpo": Variant(normaliser="completions"),
    # Dr. GRPO (arXiv 2503.20783): neither length nor difficulty weighs a token.
    "dr_grpo": Variant(scale_advantages=False, normaliser="max_tokens"),
    # DAPO (arXiv 2503.14476): the upper clip is wider, so that rare tokens can grow.
    "dapo": Variant(clip_high=0.28),
    # CISPO (MiniMax-M1, arXiv 2506.13585, equations 4 and 5): every token keeps its gradient, and
    # there is no lower clip. The paper states no upper one; 5 is what others took.
    "cispo": Variant(surrogate="weight", clip_low=1.0, clip_high=4.0),
    # GSPO (arXiv 2507.18071, equations 5 and 7; clips of its section 5.1).
    "gspo": Variant(
        surrogate="completion", clip_low=3e-4, clip_high=4e-4, normaliser="completions"
    ),
}
