"""What goes into a model call and what comes out: messages, sampling settings, completions."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from tool_registry.calls import ToolCall

Role = Literal["system", "user", "assistant", "tool"]


class Message(BaseModel):
    """One message of a conversation, in the roles of the OpenAI chat format."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: Role
    content: str = ""
    """The text; empty for an assistant message that only calls tools."""
    tool_calls: tuple[ToolCall, ...] = ()
    """The calls of an assistant message."""
    tool_call_id: str | None = None
    """For a tool message: which call it answers."""


class Sampling(BaseModel):
    """How a completion is drawn. Greedy when `temperature` is 0."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: float = Field(default=0.0, ge=0.0, le=10.0)
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    top_k: int | None = Field(default=None, ge=1)
    """Draw from the likeliest so many tokens only; `top_p` then applies to what they make up."""
    max_tokens: int = Field(default=512, ge=1, le=65_536)
    """Upper bound on completion tokens."""
    seed: int | None = None
    stop: tuple[str, ...] = ()

    @property
    def is_plain(self) -> bool:
        """Whether tokens are drawn from just what the model says."""
        return self.temperature == 1 and self.top_p == 1 and self.top_k is None


class Usage(BaseModel):
    """Token counts of one or several model calls."""

    model_config = ConfigDict(frozen=True)

    prompt_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
        )


FinishReason = Literal["stop", "length", "cancelled"]


class Completion(BaseModel):
    """What the model sampled in one call.

    The ids and log-probs are there only where the engine deals in ids (`capability == "ids"`);
    then `logprobs[i]` belongs to `completion_ids[i]`, in nats, under the plain model
    (temperature 1), and the closing control token is included. `sampling_logprobs` are those of
    the same ids under what they were drawn from: after temperature, top-k and top-p, and 0.0 for
    the certain choice of greedy sampling. They are None where that is the plain model, and where
    the engine does not tell.
    """

    model_config = ConfigDict(frozen=True)

    text: str
    finish_reason: FinishReason = "stop"
    adapter: str | None = None
    """The adapter version that served the call; None is the base model alone."""
    prompt_ids: tuple[int, ...] | None = None
    completion_ids: tuple[int, ...] | None = None
    logprobs: tuple[float, ...] | None = None
    sampling_logprobs: tuple[float, ...] | None = None
    sampling: Sampling = Sampling()
    usage: Usage = Usage()
