"""The chat request on the wire: which parameters are taken, and which of their values.

A parameter that would change nothing at its default may be sent with that default, since many
clients do; with any other value it is refused by name, never ignored.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

_STRICT = ConfigDict(frozen=True, extra="forbid", strict=True)

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "modalities": (["text"],),
    "response_format": ({"type": "text"},),
    "service_tier": ("auto", "default"),
    "parallel_tool_calls": (True,),
    "n": (1,),
}
"""Parameters that have no effect here, and the values at which they ask for none."""


class TextPart(BaseModel):
    """One part of a message's content; only text is taken."""

    model_config = _STRICT

    type: Literal["text"]
    text: str


class InputFunction(BaseModel):
    """The function of a call in the history."""

    model_config = _STRICT

    name: str
    arguments: str
    """A JSON object, as text."""


class InputCall(BaseModel):
    """A call in the history."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    id: str = Field(min_length=1, max_length=128)
    type: Literal["function"] = "function"
    function: InputFunction


class InputMessage(BaseModel):
    """One message of the history. What our own answers carry may come back as it was."""

    model_config = _STRICT

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart] | None = None
    tool_calls: list[InputCall] | None = None
    tool_call_id: str | None = None
    name: str | None = None
    refusal: None = None
    annotations: list[Any] | None = Field(default=None, max_length=0)
    audio: None = None
    function_call: None = None

    @field_validator("content", mode="before")
    @classmethod
    def _content_is_text(cls, content: Any) -> Any:
        """Say in one sentence what a union's errors would say in several."""
        if content is None or isinstance(content, str):
            return content
        if not isinstance(content, list):
            raise ValueError("content must be a string, null, or a list of text parts")
        for part in content:
            kind = part.get("type") if isinstance(part, dict) else None
            if kind != "text":
                raise ValueError(f"content part of type {kind!r} is not supported; send text parts")
        return content

    @property
    def text(self) -> str:
        """The content as one string."""
        if isinstance(self.content, list):
            return "".join(part.text for part in self.content)
        return self.content or ""


class StreamOptions(BaseModel):
    """How a stream is written."""

    model_config = _STRICT

    include_usage: bool = False


class Metadata(BaseModel):
    """What the caller says about the request; other keys are refused, for nothing reads them."""

    model_config = _STRICT

    no_train: bool = False
    """Never learn from this interaction."""

    @field_validator("no_train", mode="before")
    @classmethod
    def _text_too(cls, value: Any) -> Any:
        """OpenAI's clients can only send strings here."""
        return {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value


class ChatRequest(BaseModel):
    """The body of `POST /v1/chat/completions`."""

    model_config = _STRICT

    model: str
    messages: list[InputMessage] = Field(min_length=1)
    tools: list[dict[str, Any]] | None = None
    tool_choice: Any = None
    temperature: float | None = Field(default=None, ge=0.0, le=2.0)
    top_p: float | None = Field(default=None, gt=0.0, le=1.0)
    top_k: int | None = Field(default=None, ge=1)
    max_tokens: int | None = Field(default=None, ge=1, le=65_536)
    max_completion_tokens: int | None = Field(default=None, ge=1, le=65_536)
    stop: str | list[str] | None = None
    seed: int | None = Field(default=None, ge=-(2**63), le=2**63 - 1)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = Field(default=None, max_length=256)
    store: bool | None = None
    metadata: Metadata | None = None

    @field_validator("stop", mode="before")
    @classmethod
    def _few_short_stops(cls, stop: Any) -> Any:
        listed = [stop] if isinstance(stop, str) else stop
        if listed is None:
            return None
        fits = isinstance(listed, list) and len(listed) <= 4
        if not fits or not all(isinstance(s, str) and 0 < len(s) <= 256 for s in listed):
            raise ValueError("stop must be a string or up to 4 strings of 1 to 256 characters")
        return listed
