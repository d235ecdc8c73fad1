"""How a tool's value is shown to a model: as text, within a limit, safe to encode."""

from typing import Any, NamedTuple

from pydantic_core import to_json

__all__ = ["MIN_RESULT_CHARS", "Rendered", "cut", "render"]

MIN_RESULT_CHARS = 100
"""Below this the note on what was cut would be most of the text."""


class Rendered(NamedTuple):
    """Text for the model, and whether some of it was left out."""

    content: str
    truncated: bool


def render(value: Any) -> str:
    """A string as it is; anything else as JSON by pydantic's serializer.

    Raises:
        PydanticSerializationError: JSON has no form for the value.
    """
    return str.__str__(value) if isinstance(value, str) else to_json(value).decode()


def cut(text: str, *, limit: int) -> Rendered:
    """``text`` in at most ``limit`` characters; a note in its last line says what is missing.

    Args:
        limit: ``MIN_RESULT_CHARS`` or more.
    """
    if not text.isascii():  # half a surrogate pair would fail later, when stored or sent
        text = text.encode(errors="replace").decode()
    if len(text) <= limit:
        return Rendered(text, truncated=False)
    room = limit - len(_note(len(text), len(text)))
    return Rendered(text[:room] + _note(len(text) - room, len(text)), truncated=True)


def _note(left_out: int, total: int) -> str:
    return f"\n[cut: the last {left_out:,} of {total:,} characters are left out; ask for less]"
