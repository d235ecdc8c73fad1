"""From the request on the wire to what the runtime works with, or a 400 that says what is wrong.

Two ways of use are told apart here. With `tools` in the request the client runs the calls; without,
the server's own tools run, and then the history may hold no tool messages: results of our tools
cannot come from outside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tool_registry.calls import ToolCall
from tool_registry.errors import InvalidTool
from tool_registry.tool import ToolSpec
from tool_registry.validation import check_spec
from tooln1_agent.config import ServeConfig
from tooln1_agent.messages import Message, Sampling
from tooln1_agent.server.bodies import check, loads
from tooln1_agent.server.problems import bad_request
from tooln1_agent.server.wire import NEUTRAL, ChatRequest, InputMessage


@dataclass(frozen=True, slots=True)
class ChatOrder:
    """A chat request that has been checked."""

    model: str
    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...]
    """The client's tools; empty in agent mode, and where it asked for no calls."""
    is_client_mode: bool
    sampling: Sampling
    stream: bool
    include_usage: bool
    no_train: bool


def read_order(body: Any, *, defaults: Sampling, config: ServeConfig) -> ChatOrder:
    """Check a chat request's body.

    Args:
        defaults: the agent's sampling, for what the request leaves open.

    Raises:
        ApiError: 400 that names the parameter at fault.
    """
    if not isinstance(body, dict):
        raise bad_request("the request body must be a JSON object", code="invalid_json")
    request = check(ChatRequest, _without_neutral(body))
    if len(request.messages) > config.max_messages:
        raise bad_request(
            f"messages holds {len(request.messages)} entries; at most {config.max_messages}",
            param="messages",
        )
    tools = _tools(request.tools, limit=config.max_tools)
    offered = _offered(request.tool_choice, tools)
    messages = read_messages(request.messages)
    if not tools:
        _refuse_tool_history(messages)
    metadata = request.metadata
    return ChatOrder(
        model=request.model,
        messages=messages,
        tools=offered,
        is_client_mode=bool(tools),
        sampling=_sampling(request, defaults),
        stream=bool(request.stream),
        include_usage=_include_usage(request),
        no_train=request.store is False or (metadata is not None and metadata.no_train),
    )


def read_messages(given: Sequence[InputMessage]) -> tuple[Message, ...]:
    """Return the history; each tool message must answer a call that stands before it."""
    messages: list[Message] = []
    known: set[str] = set()
    for index, message in enumerate(given):
        where = f"messages[{index}]"
        _check_role_fields(message, where)
        calls = _calls(message, where)
        known |= {call.id for call in calls}
        if message.role == "tool" and message.tool_call_id not in known:
            raise bad_request(
                f"{where}.tool_call_id {message.tool_call_id!r} answers no call of an assistant "
                "message before it",
                param=f"{where}.tool_call_id",
            )
        messages.append(
            Message(
                role="system" if message.role == "developer" else message.role,
                content=message.text,
                tool_calls=calls,
                tool_call_id=message.tool_call_id,
            )
        )
    return tuple(messages)


def _without_neutral(body: dict[str, Any]) -> dict[str, Any]:
    """Take out parameters at values that ask for nothing; refuse other values of them."""
    kept = {name: value for name, value in body.items() if name not in NEUTRAL}
    for name in body.keys() & NEUTRAL.keys():
        value, neutral = body[name], NEUTRAL[name]
        if value is not None and not any(value == n and type(value) is type(n) for n in neutral):
            if name.endswith("penalty") and value == 0:
                continue  # 0.0
            raise bad_request(
                f"unsupported value {value!r:.80} for {name!r}; leave it out or send "
                f"{' or '.join(map(repr, neutral))}",
                param=name,
                code="unsupported_value",
            )
    return kept


def _tools(given: list[dict[str, Any]] | None, *, limit: int) -> tuple[ToolSpec, ...]:
    if given is None:
        return ()
    if not given:
        raise bad_request(
            "tools is an empty list; leave it out to use the server's own tools", param="tools"
        )
    if len(given) > limit:
        raise bad_request(f"tools holds {len(given)} entries; at most {limit}", param="tools")
    specs: dict[str, ToolSpec] = {}
    for index, entry in enumerate(given):
        spec = _tool(entry, f"tools[{index}]")
        if spec.name in specs:
            raise bad_request(
                f"tools[{index}]: a tool named {spec.name!r} stands before; names must differ",
                param=f"tools[{index}].function.name",
            )
        specs[spec.name] = spec
    return tuple(specs.values())


def _tool(entry: dict[str, Any], where: str) -> ToolSpec:
    try:
        spec = ToolSpec.from_openai(entry)
        check_spec(spec)
    except InvalidTool as error:
        raise bad_request(f"{where}: {error}", param=where, code="invalid_tool") from error
    return spec


def _offered(choice: Any, tools: tuple[ToolSpec, ...]) -> tuple[ToolSpec, ...]:
    """Return the tools that the model is shown."""
    if choice not in (None, "auto", "none"):
        raise bad_request(
            f"unsupported value {choice!r:.80} for 'tool_choice'; send 'auto' or 'none'",
            param="tool_choice",
            code="unsupported_value",
        )
    if choice == "none" and not tools:
        raise bad_request(
            "tool_choice 'none' needs tools in the request; the server's own tools cannot be "
            "turned off by it",
            param="tool_choice",
        )
    return () if choice == "none" else tools


def _refuse_tool_history(messages: Sequence[Message]) -> None:
    for index, message in enumerate(messages):
        if message.tool_calls or message.role == "tool":
            raise bad_request(
                f"messages[{index}] belongs to a tool call, but the request brings no tools; the "
                "server's own tools are run by the server only, and their calls are not part of "
                "the history that a client sends",
                param=f"messages[{index}]",
            )


def _sampling(request: ChatRequest, defaults: Sampling) -> Sampling:
    if request.max_tokens is not None and request.max_completion_tokens is not None:
        raise bad_request(
            "max_tokens and max_completion_tokens mean the same; send one", param="max_tokens"
        )
    given = {
        "temperature": request.temperature,
        "top_p": request.top_p,
        "top_k": request.top_k,
        "max_tokens": request.max_tokens or request.max_completion_tokens,
        "seed": request.seed,
        "stop": None if request.stop is None else tuple(request.stop),
    }
    return defaults.model_copy(update={k: v for k, v in given.items() if v is not None})


def _include_usage(request: ChatRequest) -> bool:
    if request.stream_options is None:
        return False
    if not request.stream:
        raise bad_request("stream_options goes with stream: true only", param="stream_options")
    return request.stream_options.include_usage


def _check_role_fields(message: InputMessage, where: str) -> None:
    """Refuse fields that mean nothing for their role."""
    if message.tool_calls and message.role != "assistant":
        raise bad_request(
            f"{where}.tool_calls: only assistant messages call tools", param=f"{where}.tool_calls"
        )
    if (message.tool_call_id is not None) != (message.role == "tool"):
        raise bad_request(
            f"{where}.tool_call_id: tool messages have one, others have none",
            param=f"{where}.tool_call_id",
        )
    if message.name is not None and message.role != "tool":
        raise bad_request(
            f"{where}.name: unsupported parameter; participants have no names here",
            param=f"{where}.name",
            code="unsupported_parameter",
        )
    if message.content is None and not message.tool_calls:
        raise bad_request(f"{where}.content is required", param=f"{where}.content")


def _calls(message: InputMessage, where: str) -> tuple[ToolCall, ...]:
    calls = []
    for index, call in enumerate(message.tool_calls or ()):
        param = f"{where}.tool_calls[{index}].function.arguments"
        arguments = loads(call.function.arguments or "{}", what=param, param=param)
        if not isinstance(arguments, dict):
            raise bad_request(f"{param} must be a JSON object, as text", param=param)
        calls.append(ToolCall(id=call.id, name=call.function.name, arguments=arguments))
    return tuple(calls)
