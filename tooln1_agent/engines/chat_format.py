"""A conversation in plain chat messages, for servers that know nothing of our template.

Works with any server: one system message that holds the tools, calls as the text the model
itself wrote, results as user messages (a `tool` message would need the server's own calls before
it). Neighbours of one role are joined, since many chat templates refuse them.
"""

from __future__ import annotations

from collections.abc import Sequence

from tool_registry.tool import ToolSpec
from tooln1_agent.messages import Message
from tooln1_agent.parsing import CALL_CLOSE, CALL_OPEN
from tooln1_agent.prompt import calls_text, encodable, system_text

PROMPT_VERSION = "chat-1"
"""Names this form; stored with each interaction. Change it whenever a rendered byte changes."""


def chat_messages(messages: Sequence[Message], tools: Sequence[ToolSpec]) -> list[dict[str, str]]:
    """Return the request's `messages`."""
    names = {call.id: call.name for message in messages for call in message.tool_calls}
    chat = [{"role": "system", "content": system_text(messages, tools)}]
    for message in messages:
        if message.role == "system":
            continue
        role = "assistant" if message.role == "assistant" else "user"
        text = encodable(_text(message, names))
        if chat[-1]["role"] == role:
            chat[-1]["content"] += f"\n\n{text}"
        else:
            chat.append({"role": role, "content": text})
    return chat


def _text(message: Message, names: dict[str, str]) -> str:
    if message.role == "tool":
        name = names.get(message.tool_call_id or "")
        head = f"Result of {name}:" if name else "Note from the tool runner:"
        return f"{head}\n{message.content}"
    if message.tool_calls:
        return f"{message.content}{CALL_OPEN}{calls_text(message.tool_calls)}{CALL_CLOSE}"
    return message.content
