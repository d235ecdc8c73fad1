"""What the runtime asks of anything that runs a model."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from tool_registry.tool import ToolSpec
from tooln1_agent.errors import EngineError
from tooln1_agent.messages import Completion, Message, Sampling

Capability = Literal["ids", "text", "chat"]
"""What an engine deals in.

`ids`: prompt ids in, completion ids and log-probs out; the full loop.
`text`: rendered text in, text out. `chat`: chat messages in, text out; the tools are written into
the system message. Turns of `text` and `chat` can be labelled, but are not token-exact.
"""


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One model call: the conversation so far, the tools on offer, how to sample, who serves."""

    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...]
    sampling: Sampling = Sampling()
    adapter: str | None = None
    """Version of a loaded adapter; None is the base model alone. Fixed for the whole call."""


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What an interaction records of the engine that served it."""

    capability: Capability
    base_model: str
    """Name of the base model, equal for trainer, adapters and engine."""
    tokenizer_hash: str = ""
    prompt_version: str = ""
    """Names the template that prompts are written in; an adapter of another does not fit."""
    context_limit: int | None = None
    """Prompt and completion tokens together; None where the engine does not say."""


class Engine(Protocol):
    """Runs a model. All methods are called from one event loop."""

    @property
    def info(self) -> EngineInfo: ...

    def stream(self, request: ModelRequest) -> AsyncGenerator[str | Completion, None]:
        """Yield pieces of the completion's text as they are sampled, then the Completion.

        Closing the iterator cancels the call and frees its place.
        Raises ContextTooLong, EngineBusy, EngineDown.
        """
        ...

    async def load_adapter(self, version: str, path: Path) -> None:
        """Make an adapter available under its version; loading it again does nothing."""
        ...

    async def unload_adapter(self, version: str) -> None:
        """Forget an adapter once the calls that use it have ended."""
        ...

    async def start(self) -> None:
        """Get ready to serve (load weights, open connections); doing it again does nothing."""
        ...

    async def aclose(self) -> None: ...


async def complete(engine: Engine, request: ModelRequest) -> Completion:
    """Run one model call to its end."""
    async with aclosing(engine.stream(request)) as pieces:
        async for piece in pieces:
            if isinstance(piece, Completion):
                return piece
    raise EngineError("the engine ended its stream without a completion; this is a bug in it")
