"""Regular expressions from a schema, run so that no text can make them hang.

Python's ``re`` backtracks: a schema from a stranger with ``(a+)+$`` stops a worker for ever. The
Rust engine inside pydantic matches in time linear in the text. What it cannot do (look-around,
back-references) or what would be large when compiled is not checked at all: a call is never
refused on account of it.
"""

import math
import re
from functools import lru_cache

from pydantic import ValidationError
from pydantic_core import SchemaError, SchemaValidator, core_schema

__all__ = ["matches"]

MAX_PATTERN_CHARS = 512
MAX_REPETITION = 256
"""Of all counts in braces multiplied: ``(a{16}){16}`` is compiled into 256 copies of ``a``."""

_COUNTS = re.compile(r"\{(?:\d{1,9},)?(\d{1,9}),?\}")


def matches(pattern: str, text: str) -> bool:
    """Whether ``pattern`` is found anywhere in ``text``; True where it cannot be checked."""
    validator = _compiled(pattern)
    if validator is None:
        return True
    try:
        validator.validate_python(text)
    except ValidationError as error:
        return error.errors(include_url=False)[0]["type"] != "string_pattern_mismatch"
    return True


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> SchemaValidator | None:
    repetition = math.prod(max(int(count), 1) for count in _COUNTS.findall(pattern))
    if len(pattern) > MAX_PATTERN_CHARS or repetition > MAX_REPETITION:
        return None
    try:
        return SchemaValidator(core_schema.str_schema(pattern=pattern, regex_engine="rust-regex"))
    except SchemaError:
        return None
