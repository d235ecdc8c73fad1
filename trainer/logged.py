"""Which logged replies may join the groups of their examples, and why the others may not.

Any policy can learn from a logged *prompt*, which is written and encoded anew. A logged *reply*
counts only with the log-probs that it was drawn with, so it has to be of this base, this tokenizer
and this very prompt, and has to come with them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from tooln1_agent.codec import Codec
from tooln1_agent.errors import UnknownRecord
from tooln1_agent.examples import Example
from tooln1_agent.messages import Completion
from tooln1_agent.replay.store import ReplayStore

Unusable = Literal[
    "not_served",  # nobody replied: the prompt was imported
    "other_base",  # another base model replied
    "other_tokenizer",  # its ids mean other text
    "other_prompt_version",  # it saw its prompt in another form
    "other_prompt",  # the prompt is not what it was: one of its tools was renewed
    "no_ids",  # without ids or log-probs: its engine gives none, or they were redacted
    "unknown_sampling",  # not drawn from the plain model, and its engine does not say from what
    "not_ended",  # cut by its limit, by a stop text, or by its caller
    "too_long",  # longer than a rollout may be
]


class Logged(BaseModel):
    """A reply that was served and may be learned from beside the rollouts of its example."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    example: str
    """Id of the example."""
    adapter: str | None
    """Who wrote it: a version, or the base alone."""
    completion_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    """Of each id, in nats, under what it was drawn from: all of 0.0 for a greedy reply."""


class LoggedReplies(NamedTuple):
    """What a store holds of replies to some examples."""

    usable: list[Logged]
    unusable: dict[Unusable, int]
    """How many are left out, by reason."""

    def line(self) -> str:
        """Say it in words."""
        said = f"logged replies that join their groups: {len(self.usable)}"
        if not self.unusable:
            return said
        reasons = ", ".join(f"{reason} {count}" for reason, count in self.unusable.items())
        return f"{said}; left out: {reasons} (their prompts are learned from all the same)"


def find_logged(
    store: ReplayStore,
    examples: Sequence[Example],
    *,
    base_model: str,
    codec: Codec,
    max_tokens: int,
) -> LoggedReplies:
    """Look for the reply to each example.

    Args:
        base_model: name of the base model in training; the codec is that model's.
        max_tokens: most tokens of a rollout.
    """
    usable = []
    unusable: Counter[Unusable] = Counter()
    for example in examples:
        reply = _reply(store, example, base_model=base_model, codec=codec)
        if not isinstance(reply, Completion):
            unusable[reply] += 1
            continue
        logged = _logged(reply, example, codec=codec, max_tokens=max_tokens)
        if isinstance(logged, Logged):
            usable.append(logged)
        else:
            unusable[logged] += 1
    return LoggedReplies(usable, dict(unusable.most_common()))


def _reply(
    store: ReplayStore, example: Example, *, base_model: str, codec: Codec
) -> Completion | Unusable:
    """Return what was served for an example, if it was of this model and form of prompt."""
    try:
        served = store.interaction(example.interaction or "")
    except UnknownRecord:
        return "not_served"
    if example.turn >= len(served.turns):
        return "not_served"
    if served.base_model != base_model:
        return "other_base"
    if served.tokenizer_hash != codec.hash:
        return "other_tokenizer"
    if served.prompt_version != codec.prompt_version:
        return "other_prompt_version"
    return served.turns[example.turn].completion


def _logged(
    reply: Completion, example: Example, *, codec: Codec, max_tokens: int
) -> Logged | Unusable:
    if not reply.prompt_ids or not reply.completion_ids or reply.logprobs is None:
        return "no_ids"
    if list(reply.prompt_ids) != codec.prompt_ids(example.messages, example.tools):
        return "other_prompt"
    logprobs = _drawn_with(reply)
    if logprobs is None:
        return "unknown_sampling"
    if reply.completion_ids[-1] not in codec.end_ids:
        return "not_ended"
    if len(reply.completion_ids) > max_tokens:
        return "too_long"
    return Logged(
        example=example.id,
        adapter=reply.adapter,
        completion_ids=reply.completion_ids,
        logprobs=logprobs,
    )


def _drawn_with(reply: Completion) -> tuple[float, ...] | None:
    """Return the log-probs of a reply under what it was drawn from; None where nobody knows."""
    if reply.sampling_logprobs is not None:
        return reply.sampling_logprobs
    if reply.sampling.temperature == 0:
        return (0.0,) * len(reply.completion_ids or ())
    return reply.logprobs if reply.sampling.is_plain else None
